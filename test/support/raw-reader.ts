import { WebSocket } from "ws";

/** A reader on a real unix socket without the client library, a viewer or a watcher of all sessions: it can stop reading, and keeps nothing but numbers. */
export interface RawAttach {
  readonly socketPath: string;
  readonly sessionId: string;
  readonly token: string;
  readonly label: string;
  readonly cursor?: string;
  /** False: it answers no probe, as a peer that is gone. */
  readonly autoPong?: boolean;
}

export interface RawWatch {
  readonly socketPath: string;
  readonly hostKey: string;
  readonly cursor?: string;
}

/** Verb and input of the one subscription. */
function subscription(options: RawAttach | RawWatch): { path: string; input: object } {
  const cursor = options.cursor === undefined ? {} : { cursor: options.cursor };
  if ("hostKey" in options) return { path: "watch_sessions", input: { ...cursor, auth: { host_key: options.hostKey } } };
  const { sessionId, token, label } = options;
  return { path: "attach", input: { session_id: sessionId, role: "viewer", label, ...cursor, auth: { token, seat_secret: label.padEnd(24, "_") } } };
}

interface Reply {
  readonly error?: { readonly data: { readonly code: string } };
  readonly result?: { readonly type: string; readonly data?: { readonly data: { type: string; cursor: string; head: number; frames?: { seq: number }[] } } };
}

export class RawReader {
  readonly #socket: WebSocket;
  /** Types of the items, in order. */
  readonly types: string[] = [];
  /** Seq of the newest frame, and of the newest that the session had when it was sent. */
  seq = 0;
  head = 0;
  cursor = "";
  frames = 0;
  /** How often it was asked whether it is there. */
  probes = 0;
  /** What went wrong with the order, if anything. */
  gap: string | null = null;
  error: string | null = null;
  close: { code: number; reason: string } | null = null;
  #watchers: (() => void)[] = [];

  constructor(options: RawAttach | RawWatch) {
    this.#socket = new WebSocket(`ws+unix://${options.socketPath}:/`, {
      perMessageDeflate: false,
      autoPong: !("autoPong" in options) || options.autoPong !== false,
    });
    const params = subscription(options);
    this.#socket.on("open", () => this.#socket.send(JSON.stringify({ id: 1, jsonrpc: "2.0", method: "subscription", params })));
    this.#socket.on("message", (text: Buffer) => this.#take(JSON.parse(text.toString("utf8")) as Reply));
    this.#socket.on("close", (code, reason) => {
      this.close = { code, reason: reason.toString() };
      this.#wake();
    });
    this.#socket.on("ping", () => {
      this.probes += 1;
      this.#wake();
    });
    this.#socket.on("error", () => undefined);
  }

  /** Take nothing any more from the socket. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.terminate();
  }

  async until(condition: (reader: RawReader) => boolean): Promise<void> {
    while (!condition(this)) await new Promise<void>((resolve) => this.#watchers.push(resolve));
  }

  #take(reply: Reply): void {
    if (reply.error !== undefined) this.error = reply.error.data.code;
    const item = reply.result?.data?.data;
    if (item !== undefined) {
      this.types.push(item.type);
      if (item.type !== "batch") this.seq = Number(item.cursor.split(":")[1]);
      for (const frame of item.frames ?? []) {
        if (frame.seq !== this.seq + 1) this.gap ??= `${this.seq} then ${frame.seq}`;
        this.seq = frame.seq;
        this.frames += 1;
      }
      this.cursor = item.cursor;
      this.head = item.head;
    }
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#watchers.splice(0)) wake();
  }
}
