import type { Socket } from "node:net";
import { frameOf, upgradeText, type Entrance, type Upgrade } from "./entrance.ts";

/**
 * A peer that says any bytes it is given and understands what comes back: an HTTP answer, then WebSocket frames. It
 * answers pings as any client does, so that it is closed for what it said and not for its silence.
 */
export interface Ended {
  /** Of the WebSocket's close frame; null where none came. */
  readonly code: number | null;
  /** Of the HTTP answer; 0 where none came. */
  readonly status: number;
  readonly error: string | null;
}

export class RawPeer {
  readonly ended: Promise<Ended>;
  /** The HTTP answer's head. */
  head = "";
  code: number | null = null;
  isOver = false;
  onText: (text: string) => void = () => undefined;
  onPong: () => void = () => undefined;
  readonly #socket: Socket;
  #waiting: (() => void)[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #parts: Buffer[] = [];
  #upgraded = false;
  #error: string | null = null;

  constructor(entrance: Entrance) {
    this.#socket = entrance.dial();
    this.#socket.on("error", (error: NodeJS.ErrnoException) => (this.#error = error.code ?? error.message));
    this.#socket.on("data", (bytes) => this.#take(bytes));
    this.ended = new Promise((resolve) =>
      this.#socket.once("close", () => {
        this.isOver = true;
        this.#wake();
        resolve({ code: this.code, status: this.status, error: this.#error });
      }),
    );
  }

  /** Resolves when it is a WebSocket. */
  static async upgraded(entrance: Entrance, upgrade?: Upgrade): Promise<RawPeer> {
    const peer = new RawPeer(entrance);
    peer.say(upgradeText(entrance, upgrade));
    await peer.until(() => peer.status !== 0);
    if (peer.status !== 101) throw new Error(`no WebSocket: ${peer.head || "closed without a word"}`);
    return peer;
  }

  get status(): number {
    return Number(/^HTTP\/1\.1 (\d{3})/.exec(this.head)?.[1] ?? 0);
  }

  say(bytes: Buffer | string): void {
    if (this.#socket.writable) this.#socket.write(bytes);
  }

  ping(): void {
    this.say(frameOf("", { opcode: 9 }));
  }

  /** Its side of the connection is done; what the other has to say still comes. */
  finish(): void {
    this.#socket.end();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.destroy();
  }

  /** Resolves when this holds, or the connection is over; looked at after all that comes. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds() && !this.isOver) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #take(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    if (this.head === "") this.#takeHead();
    if (this.#upgraded) while (this.#takeFrame());
    this.#wake();
  }

  #takeHead(): void {
    const end = this.#rest.indexOf("\r\n\r\n");
    if (end < 0) return;
    this.head = this.#rest.toString("latin1", 0, end);
    this.#upgraded = this.status === 101;
    this.#rest = this.#rest.subarray(end + 4);
  }

  #takeFrame(): boolean {
    const bytes = this.#rest;
    if (bytes.length < 2) return false;
    const short = (bytes[1] ?? 0) & 0x7f;
    const start = short === 127 ? 10 : short === 126 ? 4 : 2;
    if (bytes.length < start) return false;
    const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
    if (bytes.length < start + length) return false;
    const payload = bytes.subarray(start, start + length);
    this.#rest = bytes.subarray(start + length);
    this.#takeWhole((bytes[0] ?? 0) & 0xf, (bytes[0] ?? 0) >= 0x80, payload);
    return true;
  }

  #takeWhole(opcode: number, fin: boolean, payload: Buffer): void {
    if (opcode === 9) return this.say(frameOf(payload, { opcode: 10 }));
    if (opcode === 10) return this.onPong();
    if (opcode === 8) {
      this.code = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
      this.say(frameOf(payload, { opcode: 8 }));
      return;
    }
    this.#parts.push(payload);
    if (!fin) return;
    const [only] = this.#parts;
    const text = (this.#parts.length === 1 ? (only ?? payload) : Buffer.concat(this.#parts)).toString("utf8");
    this.#parts = [];
    this.onText(text);
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
