import { readFileSync } from "node:fs";
import { allowedEnv, holdsSecret, isHostKey, limits, protocol, SessiondError } from "@sessiond/shared";
import type { CallOptions } from "../call-limit.ts";
import { Connection } from "../connection.ts";
import { Door } from "../door.ts";
import { Host } from "../host.ts";
import { Session } from "../session.ts";
import { scrape } from "./metrics.ts";
import { daemonPaths } from "./paths.ts";
import { unixSocket } from "./socket.ts";
import { startDaemon } from "./start.ts";

export interface ConnectOptions extends CallOptions {
  /** Start a daemon where none listens, now and after it was lost. True unless given. */
  readonly autoStart?: boolean | undefined;
  /** Also a daemon of an earlier protocol than this build speaks: only to tell it to go, which each understands. */
  readonly olderToo?: true | undefined;
  /** What a started daemon is told: one that a client started leaves when idle, one started by hand never. `client` unless given. */
  readonly startedBy?: "client" | "hand" | undefined;
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

const defaultName = "sessiond client";

/**
 * Finds the daemon, or starts it, and takes the host key from its file.
 *
 * @throws SessiondError `daemon_unreachable` with the reason, `protocol_mismatch`, `unauthenticated` when there is no host key
 *         to read, `timeout`, `cancelled`
 */
export async function connect(options: ConnectOptions = {}): Promise<Host> {
  const door = doorOf(options);
  const calls = new Connection(door);
  try {
    await calls.open(options);
    // The daemon makes the key at its first start: there is none to read before it answered.
    const { socket, hostKeyFile } = daemonPaths(options.env, options);
    const hostKey = readHostKey(hostKeyFile);
    const metrics = (signal: AbortSignal): Promise<string> => scrape(socket, hostKey, signal);
    return new Host({ door, calls, hostKey, metrics, clientName: options.clientName ?? defaultName, env: envForTools(options.env ?? process.env) });
  } catch (error) {
    calls.close();
    throw error;
  }
}

/** A session by its token alone; needs no host key. @throws SessiondError `unauthenticated`, `daemon_unreachable`, … */
export function sessionFromToken(token: string, options: ConnectOptions = {}): Promise<Session> {
  return Session.fromToken(token, {
    door: doorOf(options),
    clientName: options.clientName ?? defaultName,
    timeoutMs: options.timeoutMs,
    signal: options.signal,
  });
}

/** Picked without being asked, so it must not be why a start is refused: what is too long or holds a secret stays here. */
function envForTools(env: NodeJS.ProcessEnv): Record<string, string> {
  const fits = ([, value]: [string, string]): boolean => value.length <= limits.env_value_chars_max && !holdsSecret(value);
  return Object.fromEntries(Object.entries(allowedEnv(env)).filter(fits));
}

function doorOf(options: ConnectOptions): Door {
  const { bin, stateDir, runtimeDir, startedBy } = options;
  const env = options.env ?? process.env;
  return new Door({
    dial: unixSocket(daemonPaths(env, options).socket),
    ...(options.olderToo && { speaks: { min: 1, max: protocol.max } }),
    start: options.autoStart === false ? undefined : (answers, signal) => startDaemon({ env, bin, stateDir, runtimeDir, startedBy }, answers, signal),
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
