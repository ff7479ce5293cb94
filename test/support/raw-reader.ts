import { WebSocket } from "ws";

/** A viewer on a real unix socket without the client library: it can stop reading, and keeps nothing but numbers. */
export interface RawAttach {
  readonly socketPath: string;
  readonly sessionId: string;
  readonly token: string;
  readonly label: string;
  readonly cursor?: string;
}

interface Reply {
  readonly error?: { readonly data: { readonly code: string } };
  readonly result?: { readonly type: string; readonly data?: { readonly data: { type: string; cursor: string; head: number; frames?: { seq: number }[] } } };
}

export class RawReader {
  readonly #socket: WebSocket;
  /** Seq of the newest frame, and of the newest that the session had when it was sent. */
  seq = 0;
  head = 0;
  cursor = "";
  frames = 0;
  /** What went wrong with the order, if anything. */
  gap: string | null = null;
  error: string | null = null;
  close: { code: number; reason: string } | null = null;
  #watchers: (() => void)[] = [];

  constructor({ socketPath, sessionId, token, label, cursor }: RawAttach) {
    this.#socket = new WebSocket(`ws+unix://${socketPath}:/`, { perMessageDeflate: false });
    const auth = { token, seat_secret: label.padEnd(24, "_") };
    const input = { session_id: sessionId, role: "viewer", label, auth, ...(cursor !== undefined && { cursor }) };
    this.#socket.on("open", () => this.#socket.send(JSON.stringify({ id: 1, jsonrpc: "2.0", method: "subscription", params: { path: "attach", input } })));
    this.#socket.on("message", (text: Buffer) => this.#take(JSON.parse(text.toString("utf8")) as Reply));
    this.#socket.on("close", (code, reason) => {
      this.close = { code, reason: reason.toString() };
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
