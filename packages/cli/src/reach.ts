import { isSessiondError, type Host } from "@sessiond/client";
import { connect, type ConnectOptions } from "@sessiond/client/node";
import { onLeave } from "./leaving.ts";
import { Failure } from "./exit-codes.ts";

/** The daemon, for one command: found, or started where the command may act; closed when the command leaves. */
export async function reach(command: string, options: ConnectOptions = {}): Promise<Host> {
  const host = await connect({ clientName: `sessiond ${command}, pid ${process.pid}`, ...options });
  onLeave(() => host.close());
  return host;
}

/** The daemon that runs, for a command that only looks: none is started. @throws Failure no_daemon */
export async function find(command: string, options: ConnectOptions = {}): Promise<Host> {
  try {
    return await reach(command, { ...options, autoStart: false });
  } catch (error) {
    if (isSessiondError(error, "daemon_unreachable") && error.detail["nobody"] === true)
      throw new Failure("no_daemon", "No daemon runs. `sessiond up` starts one; so does `sessiond run`.");
    throw error;
  }
}
