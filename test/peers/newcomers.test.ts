import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import type { Host } from "@sessiond/client";
import { eventually } from "../support/eventually.ts";
import { PeersHome } from "../support/peers-home.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { SickPeer } from "../support/sick-peer.ts";

/** A hello that never comes: each way of not saying it has its end, and none of them costs those who do say it. */
let home: PeersHome;
let host: Host;
const peers: SickPeer[] = [];
const open = async (listens = true): Promise<SickPeer> => {
  const peer = await SickPeer.open(home.socket, { listens });
  peers.push(peer);
  return peer;
};
const begin = async (hello_wait_ms: number): Promise<void> => {
  home = new PeersHome({ hello_wait_ms });
  host = await home.begin();
};
afterEach(async () => {
  for (const peer of peers.splice(0)) peer.end();
  await home.close();
});

test("B7 B34 a connection that says nothing, half an upgrade, or nothing after it, is cut when its time for a hello is over; who says it stays", async () => {
  await begin(700);
  const client = await RawSocket.open(home.socket);
  let cut = false;
  void client.closed.then(() => (cut = true));
  const hello = await client.call("query", "hello", '{"protocol":{"min":1,"max":1}}');
  expect(hello.error).toBeUndefined();
  const before = home.descriptors;
  const [silent, half, slow, upgraded] = await Promise.all([open(), open(), open(), open()]);
  half.halfUpgrade();
  upgraded.upgrade();
  // A byte now and then does not earn it more time.
  slow.say("GET / HTTP/1.1\r\nX-Slow: ");
  const dribble = setInterval(() => slow.say("y"), 100);
  try {
    await Promise.all([silent, half, slow, upgraded].map((peer) => peer.closed));
  } finally {
    clearInterval(dribble);
  }
  const tooSlow = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n";
  expect([silent, half, slow].map(({ received }) => received)).toEqual([tooSlow, tooSlow, tooSlow]);
  expect(upgraded.received).toContain("101 Switching Protocols");
  // The close frame, with 1008.
  expect(upgraded.received).toContain("\u0003\u00f0hello_wait_ms");
  // Who came before them, and said hello.
  expect([cut, (await host.status()).connections]).toEqual([false, 2]);
  await eventually("their descriptors are given back", () => home.descriptors <= before);
  client.close();
});

test("B7 a plain request whose peer keeps the connection is cut as well", async () => {
  await begin(300);
  const peer = await open();
  // An answer that asks to keep the line, and a peer that keeps it.
  peer.say("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
  await peer.closed;
  expect(peer.received).toContain("200 OK");
});

test("B7 connections that say nothing are bounded in number: the oldest goes, and a client comes in meanwhile at any time", async () => {
  // Long enough that none of them goes by time alone before all have come.
  await begin(4_000);
  const before = home.descriptors;
  const first = await open();
  let most = 0;
  for (let count = 1; count < limits.newcomers_max + 100; count++) {
    await open();
    if (count % 50 === 0) most = Math.max(most, home.descriptors);
  }
  await first.closed;
  expect(Math.max(most, home.descriptors)).toBeLessThanOrEqual(before + limits.newcomers_max + 8);
  const other = await home.connect({ autoStart: false });
  expect((await other.status()).connections).toBe(2);
  await eventually("the others are gone too", () => home.descriptors <= before + 2);
});
