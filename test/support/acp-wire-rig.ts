import { limits, type Limits } from "@sessiond/shared";
import { JsonRpcPeer, type PeerOptions } from "@sessiond/shared/acp";

/** A message as it stood on the wire. */
export type Said = Record<string, unknown>;

export interface WireRig {
  readonly peer: JsonRpcPeer;
  /** What the peer has said, in order. */
  readonly said: Said[];
  /** Bugs that it reported. */
  readonly bugs: unknown[];
  /** Lets it hear messages, one a line. */
  hear(...messages: (object | string)[]): void;
  /** The answers to this id. */
  answers(id: unknown): Said[];
}

const encoder = new TextEncoder();
export const bytesOf = (...messages: (object | string)[]): Uint8Array =>
  encoder.encode(messages.map((message) => `${typeof message === "string" ? message : JSON.stringify(message)}\n`).join(""));

/** A peer whose other end is the test. It answers each request with its params, and takes notifications, unless told otherwise. */
export function wireRig({ limits: own, ...options }: Partial<Omit<PeerOptions, "limits">> & { limits?: Partial<Limits> } = {}): WireRig {
  const said: Said[] = [];
  const bugs: unknown[] = [];
  const peer = new JsonRpcPeer({
    write: (line) => void said.push(JSON.parse(line) as Said),
    onRequest: (_method, params) => params,
    onNotification: () => {},
    report: (bug) => void bugs.push(bug),
    ...options,
    limits: { ...limits, ...own },
  });
  return {
    peer,
    said,
    bugs,
    hear: (...messages) => peer.receive(bytesOf(...messages)),
    answers: (id) => said.filter((message) => message["method"] === undefined && message["id"] === id),
  };
}

export const request = (id: unknown, method = "echo", params: unknown = {}): Said => ({ jsonrpc: "2.0", id, method, params });
export const notification = (method: string, params: unknown = {}): Said => ({ jsonrpc: "2.0", method, params });
/** When everything that is ready to run has run. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
