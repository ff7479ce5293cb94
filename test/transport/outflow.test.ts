import { once } from "node:events";
import { createServer, connect, type AddressInfo, type Socket } from "node:net";
import { expect, test } from "vitest";
import { outflowOf } from "../../packages/daemon/src/transport/open-sockets.ts";

/** A socket whose peer reads nothing, under a handle that a later Node might have. */
const strip = (socket: Socket, handle: object | null): Socket =>
  new Proxy(socket, { get: (of, name) => (name === "_handle" ? handle : Reflect.get(of, name, of)) });

test.each([
  ["has neither number", {}],
  ["has one of them", { bytesWritten: 9 }],
  ["has words", { bytesWritten: "9", writeQueueSize: "x" }],
  ["is gone", null],
])("B33 what has left a socket whose handle %s is told all the same, in bytes: less than was said, until it has left", async (_name, handle) => {
  const server = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const peers: Socket[] = [];
  server.on("connection", (peer) => void peers.push(peer));
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  try {
    await once(socket, "connect");
    const outflow = outflowOf(strip(socket, handle));
    await new Promise((sent) => socket.write("small", sent));
    expect([outflow.said(), outflow.taken()]).toEqual([5, 5]);
    // More than any system keeps between the two.
    const large = 64 * 1_048_576;
    const left = new Promise((sent) => socket.write(Buffer.alloc(large), sent));
    expect([outflow.said(), outflow.taken()]).toEqual([5 + large, 5]);
    await expect.poll(() => peers.length).toBe(1);
    peers[0]?.resume();
    await left;
    expect(outflow.taken()).toBe(5 + large);
  } finally {
    socket.destroy();
    for (const peer of peers) peer.destroy();
    server.close();
  }
});
