import { readApiKey, SessiondError } from "@sessiond/shared";
import type { CallOptions } from "./call-limit.ts";
import { Connection } from "./connection.ts";
import { Door } from "./door.ts";
import { Host } from "./host.ts";
import { webSocketDial } from "./page-socket.ts";
import type { Dial } from "./wire.ts";

export interface RemoteOptions extends CallOptions {
  /** `wss://host:port`; on the same machine also `ws://127.0.0.1:port`. */
  readonly url: string;
  /** `ssdk_…`. A secret; it goes to that address and nowhere else. */
  readonly apiKey: string;
  /** The label of seats and tokens that get none: 1 to 64 characters. */
  readonly clientName?: string | undefined;
}

/** The label of whoever gives none. */
export const defaultName = "sessiond client";

/**
 * A daemon over TCP, held by an API key: what the key may not do is refused by the daemon. None is started where
 * nobody listens. The host key is no key for this, and is not sent.
 *
 * @param dial  how the address is reached; by the page's own WebSocket unless given
 * @throws SessiondError `unsupported` for an address that is none, `unauthenticated` without an API key, `daemon_unreachable`,
 *         `protocol_mismatch`, `timeout`, `cancelled`
 */
export async function connectTo({ url, apiKey, clientName = defaultName, ...calling }: RemoteOptions, dial?: Dial): Promise<Host> {
  // Before anybody is dialled: another secret in its place must not leave.
  if (readApiKey(apiKey) === null) throw new SessiondError("unauthenticated", { reason: "over TCP an API key is needed (ssdk_…), whole and nothing else" });
  const door = new Door({ dial: dial ?? webSocketDial(url) });
  const calls = new Connection(door);
  try {
    await calls.open(calling);
    return new Host({ door, calls, auth: { api_key: apiKey }, clientName });
  } catch (error) {
    calls.close();
    throw error;
  }
}
