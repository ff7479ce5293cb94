import { connect, type Socket } from "node:net";

/** A way in, and what an HTTP request has to call it by. The whole suite runs once through each. */
export interface Entrance {
  readonly name: "unix" | "tcp";
  readonly host: string;
  dial(): Socket;
}

export const unixEntrance = (path: string): Entrance => ({ name: "unix", host: "localhost", dial: () => connect(path) });

/** Each time from another of the loopback's addresses: one alone may hold too few connections. */
export function tcpEntrance(port: number): Entrance {
  let dialled = 0;
  return {
    name: "tcp",
    host: `127.0.0.1:${port}`,
    dial: () => connect({ port, host: "127.0.0.1", localAddress: `127.0.1.${1 + (dialled++ % 200)}` }),
  };
}

export interface Upgrade {
  readonly target?: string;
  /** Whole lines, beside the usual ones. */
  readonly more?: readonly string[];
}

export const upgradeLines = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];

/** The request that becomes a WebSocket. */
export const upgradeText = ({ host }: Entrance, { target = "/", more = [] }: Upgrade = {}): string =>
  `GET ${target} HTTP/1.1\r\n${[`Host: ${host}`, ...upgradeLines, ...more].join("\r\n")}\r\n\r\n`;

export interface FrameShape {
  readonly opcode?: number;
  readonly fin?: boolean;
  readonly rsv?: number;
  readonly masked?: boolean;
  /** What the header says instead of the payload's own length. */
  readonly length?: bigint;
  /** So many bytes of length as the largest needs. */
  readonly long?: boolean;
}

const mask = Buffer.from([0x5a, 0x17, 0xc3, 0x08]);

/** One WebSocket frame, as a client sends it unless told otherwise. */
export function frameOf(payload: Buffer | string, { opcode = 1, fin = true, rsv = 0, masked = true, length, long = false }: FrameShape = {}): Buffer {
  const bytes = Buffer.from(payload);
  const said = length ?? BigInt(bytes.length);
  const head = long || said > 0xffffn ? Buffer.alloc(10) : Buffer.alloc(said > 125n ? 4 : 2);
  head[0] = (fin ? 0x80 : 0) | rsv | opcode;
  head[1] = (masked ? 0x80 : 0) | (head.length === 10 ? 127 : head.length === 4 ? 126 : Number(said));
  if (head.length === 10) head.writeBigUInt64BE(said, 2);
  else if (head.length === 4) head.writeUInt16BE(Number(said), 2);
  if (!masked) return Buffer.concat([head, bytes]);
  for (let at = 0; at < bytes.length; at++) bytes[at] = (bytes[at] ?? 0) ^ (mask[at & 3] ?? 0);
  return Buffer.concat([head, mask, bytes]);
}
