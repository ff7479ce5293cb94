import { homedir, tmpdir, userInfo } from "node:os";
import { join } from "node:path";

/** Where a daemon lives. The daemon's own configuration keeps the same rule; shared has no Node code. */
export interface DaemonPaths {
  /** Holds the socket and the lock; 0700. */
  readonly runtimeDir: string;
  readonly stateDir: string;
  readonly socket: string;
  readonly hostKeyFile: string;
}

export function daemonPaths(env: NodeJS.ProcessEnv = process.env, given: { stateDir?: string | undefined; runtimeDir?: string | undefined } = {}): DaemonPaths {
  const runtimeDir = given.runtimeDir ?? (env["XDG_RUNTIME_DIR"] ? join(env["XDG_RUNTIME_DIR"], "sessiond") : join(tmpdir(), `sessiond-${userInfo().uid}`));
  const stateDir = given.stateDir ?? join(env["XDG_STATE_HOME"] || join(env["HOME"] || homedir(), ".local", "state"), "sessiond");
  return { runtimeDir, stateDir, socket: join(runtimeDir, "sock"), hostKeyFile: join(stateDir, "host-key") };
}
