import { randomBytes } from "node:crypto";
import { readSync } from "node:fs";
import { connect, type Socket } from "node:net";

/**
 * A peer that does less than any WebSocket library would: it says as much as it is told to, and takes from its socket
 * no byte that the test does not take, so that the kernel's buffer is all there is between it and the daemon.
 */
export interface SickSeat {
  readonly sessionId: string;
  readonly token: string;
  readonly label: string;
}

const upgrade = ["GET / HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

export class SickPeer {
  readonly #socket: Socket;
  /** Resolves when the other side has closed; seen only by one that `listens`. */
  readonly closed: Promise<void>;
  received = "";

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
    socket.on("error", () => undefined);
  }

  /** @param listens  false: it never reads */
  static open(path: string, { listens }: { listens: boolean }): Promise<SickPeer> {
    const socket = connect(path);
    const peer = new SickPeer(socket);
    if (listens) socket.on("data", (bytes) => (peer.received += bytes.toString("latin1")));
    else socket.pause();
    return new Promise((resolve, reject) => socket.once("connect", () => resolve(peer)).once("error", reject));
  }

  say(text: string): void {
    this.#socket.write(text);
  }

  halfUpgrade(): void {
    this.say(`${upgrade.join("\r\n")}\r\n`);
  }

  upgrade(): void {
    this.say(`${[...upgrade, key].join("\r\n")}\r\n\r\n`);
  }

  /** A whole viewer, as far as the daemon can tell. */
  attach({ sessionId, token, label }: SickSeat): void {
    const input = { session_id: sessionId, role: "viewer", label, auth: { token, seat_secret: label.padEnd(24, "_") } };
    this.upgrade();
    this.#socket.write(masked(JSON.stringify({ id: 1, method: "subscription", params: { path: "attach", input } })));
  }

  /** Take one byte from the kernel. @returns false when there is none, or the other side has gone */
  takeByte(): boolean {
    const { fd } = (this.#socket as unknown as { _handle: { fd: number } | null })._handle ?? { fd: -1 };
    if (fd < 0) return false;
    try {
      return readSync(fd, Buffer.alloc(1), 0, 1, null) === 1;
    } catch {
      return false;
    }
  }

  end(): void {
    this.#socket.destroy();
  }
}

/** A text frame as a client has to send it. */
function masked(text: string): Buffer {
  const payload = Buffer.from(text);
  const mask = randomBytes(4);
  const head = Buffer.alloc(4);
  head.writeUInt8(0x81, 0);
  head.writeUInt8(0x80 | 126, 1);
  head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, mask, payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0))]);
}
