import { createHash } from "node:crypto";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { SocketWire } from "../../packages/client/src/node/socket-wire.ts";
import type { WireEnd } from "../../packages/client/src/wire.ts";

/** A daemon at the other end of a slow line: one message takes longer than a probe may stay unanswered. */
const undo: (() => unknown)[] = [];
afterEach(() => {
  for (const each of undo.splice(0).toReversed()) each();
});

/** Says a message of 64 kB piece by piece, nothing between, and answers no probe. @returns its address */
async function slowDaemon(pieces: number, everyMs: number): Promise<string> {
  const server = createServer((socket) => {
    undo.push(() => socket.destroy());
    socket.on("error", () => undefined);
    socket.once("data", (head) => {
      const [, key = ""] = /sec-websocket-key: (\S+)/i.exec(String(head)) ?? [];
      const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
      drip(socket);
    });
  }).listen(0, "127.0.0.1");
  undo.push(() => server.close());
  await new Promise((listening) => server.once("listening", listening));
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`;

  function drip(socket: Socket): void {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(pieces * 1_000));
    socket.write(Buffer.concat([Buffer.from([0x81, 127]), length]));
    let said = 0;
    const timer = setInterval(() => {
      socket.write("x".repeat(1_000));
      if (++said === pieces) clearInterval(timer);
    }, everyMs);
    undo.push(() => clearInterval(timer));
  }
}

test("B34 a long message over a slow line is heard while it is under way; silence after it is not, and the link is given up", async () => {
  const url = await slowDaemon(70, 20);
  let received = 0;
  const end = await new Promise<WireEnd>((resolve) => {
    const wire: SocketWire = new SocketWire(
      { url, over: {}, unopened: () => ({ code: 1006, reason: "" }) },
      { opened: () => wire.heartbeat(200, 200), received: (text) => void (received = text.length), closed: resolve },
    );
  });
  expect([received, end]).toMatchObject([70_000, { code: 1006 }]);
});
