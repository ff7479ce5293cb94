import { homedir, tmpdir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { SessiondError } from "@sessiond/shared";

/** Where a daemon lives. The daemon's own configuration keeps the same rule; shared has no Node code. */
export interface DaemonPaths {
  /** Holds the socket and the lock; 0700. */
  readonly runtimeDir: string;
  readonly stateDir: string;
  readonly socket: string;
  readonly hostKeyFile: string;
}

/** Given directories count from here; of the XDG variables only absolute paths do, as their rules say. */
export function daemonPaths(
  env: NodeJS.ProcessEnv = process.env,
  given: { readonly stateDir?: string | undefined; readonly runtimeDir?: string | undefined } = {},
): DaemonPaths {
  const runtimeHome = absolute(env["XDG_RUNTIME_DIR"]);
  const stateHome = absolute(env["XDG_STATE_HOME"]) ?? join(env["HOME"] ?? home(), ".local", "state");
  const runtimeDir = given.runtimeDir ?? (runtimeHome === undefined ? join(tmpdir(), `sessiond-${process.getuid?.() ?? 0}`) : join(runtimeHome, "sessiond"));
  const stateDir = given.stateDir ?? join(stateHome, "sessiond");
  return { runtimeDir: resolve(runtimeDir), stateDir: resolve(stateDir), socket: resolve(runtimeDir, "sock"), hostKeyFile: resolve(stateDir, "host-key") };
}

/** @throws SessiondError daemon_unreachable  for an account that has none */
function home(): string {
  try {
    return homedir();
  } catch (error) {
    throw new SessiondError("daemon_unreachable", { reason: "this account has no home directory: set HOME, or XDG_STATE_HOME" }, { cause: error });
  }
}

const absolute = (path: string | undefined): string | undefined => (path !== undefined && isAbsolute(path) ? path : undefined);
