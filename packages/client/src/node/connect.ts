import { readFileSync } from "node:fs";
import { allowedEnv, holdsSecret, isHostKey, isSessiondError, limits, protocol, SessiondError } from "@sessiond/shared";
import type { CallOptions } from "../call-limit.ts";
import { connectTo, defaultName, type RemoteOptions } from "../connect-to.ts";
import { Connection } from "../connection.ts";
import { Door } from "../door.ts";
import { Host } from "../host.ts";
import { HeldHostKey } from "../host-key.ts";
import { Session } from "../session.ts";
import { scrape } from "./metrics.ts";
import { daemonPaths } from "./paths.ts";
import { unixSocket } from "./socket.ts";
import { startDaemon } from "./start.ts";
import { tcpSocket, type TcpOptions } from "./tcp.ts";

export interface ConnectOptions extends CallOptions {
  /** Start a daemon where none listens, now and after it was lost. True unless given. */
  readonly autoStart?: boolean | undefined;
  /** Also a daemon of an earlier protocol than this build speaks: only to tell it to go, which each understands. */
  readonly olderToo?: true | undefined;
  /** What a started daemon is told: one that a client started leaves when idle, one started by hand never. `client` unless given. */
  readonly startedBy?: "client" | "hand" | undefined;
  /** Where a started daemon listens on TCP beside its socket, `address:port`; as its configuration says unless given. One that runs is left as it is. */
  readonly listen?: string | undefined;
  /** The daemon's file, or the `sessiond` command beside it; else `SESSIOND_BIN`, the package beside this one, PATH. */
  readonly bin?: string | undefined;
  /** The daemon's own directories, where they are not those of the XDG rules. */
  readonly stateDir?: string | undefined;
  readonly runtimeDir?: string | undefined;
  /** The label of seats and tokens that get none: 1 to 64 characters. */
  readonly clientName?: string | undefined;
  /**
   * Where paths and programs are looked up, what a started daemon inherits, and of which the
   * allowed part (PATH, VIRTUAL_ENV, …; never a credential) goes with each start, for its tools;
   * this process's unless given.
   */
  readonly env?: NodeJS.ProcessEnv | undefined;
}

/** With `url`: over TCP, by an API key; no daemon is started, and no host key is read or sent. */
export interface ConnectRemotely extends RemoteOptions, TcpOptions {}

/**
 * Finds the daemon, or starts it, and takes the host key from its file. With `url`: the daemon that listens there, by an API key.
 *
 * @throws SessiondError `daemon_unreachable` with the reason, `protocol_mismatch`, `unauthenticated` when there is no host key
 *         to read, or no API key given, `unsupported` for an address that is none, `timeout`, `cancelled`
 */
export async function connect(options: ConnectOptions | ConnectRemotely = {}): Promise<Host> {
  if ("url" in options) return connectTo(options, tcpSocket(options));
  const door = doorOf(options);
  const calls = new Connection(door);
  try {
    await calls.open(options);
    // The daemon makes the key at its first start: there is none to read before it answered.
    const { socket, hostKeyFile } = daemonPaths(options.env, options);
    const auth = new HeldHostKey(() => readHostKey(hostKeyFile));
    const metrics = (signal: AbortSignal): Promise<string> => scrapeWith(auth, socket, signal);
    return new Host({ door, calls, auth, metrics, clientName: options.clientName ?? defaultName, env: envForTools(options.env ?? process.env) });
  } catch (error) {
    calls.close();
    throw error;
  }
}

/** How a session is reached by its token over TCP. */
export interface TokenRemotely extends Omit<RemoteOptions, "apiKey">, TcpOptions {}

/** A session by its token alone; needs no host key. @throws SessiondError `unauthenticated`, `daemon_unreachable`, … */
export async function sessionFromToken(token: string, options: ConnectOptions | TokenRemotely = {}): Promise<Session> {
  return Session.fromToken(token, {
    door: "url" in options ? new Door({ dial: tcpSocket(options) }) : doorOf(options),
    clientName: options.clientName ?? defaultName,
    timeoutMs: options.timeoutMs,
    signal: options.signal,
  });
}

async function scrapeWith(auth: HeldHostKey, socket: string, signal: AbortSignal): Promise<string> {
  const shown = auth.host_key;
  try {
    return await scrape(socket, shown, signal);
  } catch (error) {
    if (!isSessiondError(error, "unauthenticated") || !auth.replaced(shown)) throw error;
    return scrape(socket, auth.host_key, signal);
  }
}

/** Picked without being asked, so it must not be why a start is refused: what is too long or holds a secret stays here. */
function envForTools(env: NodeJS.ProcessEnv): Record<string, string> {
  const fits = ([, value]: [string, string]): boolean => value.length <= limits.env_value_chars_max && !holdsSecret(value);
  return Object.fromEntries(Object.entries(allowedEnv(env)).filter(fits));
}

function doorOf(options: ConnectOptions): Door {
  const { bin, stateDir, runtimeDir, startedBy, listen } = options;
  const env = options.env ?? process.env;
  return new Door({
    dial: unixSocket(daemonPaths(env, options).socket),
    ...(options.olderToo && { speaks: { min: 1, max: protocol.max } }),
    start: options.autoStart === false ? undefined : (answers, signal) => startDaemon({ env, bin, stateDir, runtimeDir, startedBy, listen }, answers, signal),
  });
}

function readHostKey(file: string): string {
  try {
    const key = readFileSync(file, "utf8").trim();
    if (isHostKey(key)) return key;
  } catch (error) {
    throw new SessiondError("unauthenticated", { reason: `no host key could be read from ${file}` }, { cause: error });
  }
  throw new SessiondError("unauthenticated", { reason: `${file} holds no host key` });
}
