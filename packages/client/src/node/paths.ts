import { homedir, tmpdir, userInfo } from "node:os";
import { isAbsolute, join, resolve } from "node:path";

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
  const stateHome = absolute(env["XDG_STATE_HOME"]) ?? join(env["HOME"] ?? homedir(), ".local", "state");
  const runtimeDir = given.runtimeDir ?? (runtimeHome === undefined ? join(tmpdir(), `sessiond-${userInfo().uid}`) : join(runtimeHome, "sessiond"));
  const stateDir = given.stateDir ?? join(stateHome, "sessiond");
  return { runtimeDir: resolve(runtimeDir), stateDir: resolve(stateDir), socket: resolve(runtimeDir, "sock"), hostKeyFile: resolve(stateDir, "host-key") };
}

const absolute = (path: string | undefined): string | undefined => (path !== undefined && isAbsolute(path) ? path : undefined);
