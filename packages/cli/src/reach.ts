import { isSessiondError, type Host, type Session } from "@sessiond/client";
import { connect, sessionFromToken, type ConnectOptions } from "@sessiond/client/node";
import { Failure } from "./exit-codes.ts";
import { onLeave } from "./leaving.ts";
import { apiKeyIn, authorityIn } from "./secret-files.ts";

/** Where the daemon is, where it is not this account's own on this machine. The command line says so, and nothing else does. */
export interface ReachFlags {
  readonly url?: string;
  readonly apiKeyFile?: string;
  readonly ca?: string;
}

/** The daemon, for one command: found, or started where the command may act; closed when the command leaves. One elsewhere is never started. */
export async function reach(command: string, flags: ReachFlags = {}, options: ConnectOptions = {}): Promise<Host> {
  const remote = remoteOf(flags);
  const clientName = nameOf(command);
  if (remote !== null && flags.apiKeyFile === undefined)
    throw new Failure("usage", "A daemon elsewhere wants an API key: --api-key-file FILE. Its owner makes one with `sessiond key create`.");
  const host = await (remote === null ? connect({ clientName, ...options }) : connect({ clientName, ...remote, apiKey: apiKeyIn(flags.apiKeyFile ?? "") }));
  onLeave(() => host.close());
  return host;
}

/** The daemon that runs, for a command that only looks: none is started. @throws Failure no_daemon */
export async function find(command: string, flags: ReachFlags = {}, options: ConnectOptions = {}): Promise<Host> {
  try {
    return await reach(command, flags, { ...options, autoStart: false });
  } catch (error) {
    if (flags.url === undefined && isSessiondError(error, "daemon_unreachable") && error.detail["nobody"] === true)
      throw new Failure("no_daemon", "No daemon runs. `sessiond up` starts one; so does `sessiond run`.");
    throw error;
  }
}

/** A session by its token alone. */
export async function reachSession(command: string, token: string, flags: ReachFlags): Promise<Session> {
  if (flags.apiKeyFile !== undefined) throw new Failure("usage", "The token is the credential; give no --api-key-file beside it.");
  const session = await sessionFromToken(token, { clientName: nameOf(command), ...remoteOf(flags) });
  onLeave(() => session.close());
  return session;
}

/**
 * What a command asks of a session without a seat: by the host key as it is; by an API key with a token for the
 * moment, because by itself a key learns nothing of what goes on in a session.
 */
export const handleOf = async (host: Host, sessionId: string, right: "view" | "control"): Promise<ReturnType<Host["session"]> | Session> =>
  host.heldBy === "API key" ? host.openSession(sessionId, { right }) : host.session(sessionId);

const nameOf = (command: string): string => `sessiond ${command}, pid ${process.pid}`;

function remoteOf({ url, apiKeyFile, ca }: ReachFlags): { url: string; ca?: string } | null {
  if (url !== undefined) return { url, ...(ca !== undefined && { ca: authorityIn(ca) }) };
  if (apiKeyFile !== undefined || ca !== undefined) throw new Failure("usage", "Say where the daemon is: --url wss://host:port.");
  return null;
}
