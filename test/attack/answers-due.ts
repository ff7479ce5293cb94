import type { Said } from "./mutators.ts";

/**
 * What a message must be answered with, by the rules of tRPC's WebSocket protocol: the ids, as JSON, each so often as it is
 * called. What is no request at all is answered under `null`; the stop of a stream is no call, and an empty batch has none.
 */
export interface Due {
  readonly ids: readonly string[];
  /** The calls in it, as the daemon has to understand them. */
  readonly calls: readonly Call[];
}

export interface Call {
  readonly id: unknown;
  readonly method: string;
  readonly path: string;
  readonly input: unknown;
}

const unread: Due = { ids: ["null"], calls: [] };
const kinds: readonly unknown[] = ["query", "mutation", "subscription"];

export function answersDue({ bytes, binary }: Said, callsMax: number): Due {
  if (binary) return unread;
  const text = bytes.toString();
  if (text === "PONG") return { ids: [], calls: [] };
  if (text === "PING") return { ids: ["PONG"], calls: [] };
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    return unread;
  }
  const entries: unknown[] = Array.isArray(message) ? message : [message];
  if (entries.length > callsMax || !entries.every(isRequest)) return unread;
  const requests = entries as Record<string, unknown>[];
  const answered = requests.filter(({ id, method }) => method !== "subscription.stop" || id === null);
  const calls = requests
    .filter(({ id, method }) => method !== "subscription.stop" && id !== null)
    .map(({ id, method, params }) => ({ id, method: String(method), ...(params as { path: string; input: unknown }) }));
  return { ids: answered.map(({ id }) => JSON.stringify(id)), calls };
}

function isRequest(entry: unknown): boolean {
  if (!isObject(entry)) return false;
  const { id, jsonrpc, method, params } = entry;
  if (id !== null && typeof id !== "string" && typeof id !== "number") return false;
  if (jsonrpc !== undefined && jsonrpc !== "2.0") return false;
  if (method === "subscription.stop") return true;
  if (!kinds.includes(method) || !isObject(params)) return false;
  return typeof params["path"] === "string" && (params["lastEventId"] === undefined || typeof params["lastEventId"] === "string");
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
