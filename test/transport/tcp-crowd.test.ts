import { connect as dial, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import WebSocket from "ws";
import { peerName } from "../../packages/daemon/src/transport/address.ts";
import { removeRoot } from "../../packages/daemon/src/testing.ts";
import { selfSigned } from "../support/certificate.ts";
import { eventually } from "../support/eventually.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { request, say, startTcpDaemon, upgradeLines, way, type TcpDaemon, type TcpOptions } from "../support/tcp-daemon.ts";

/** How many may come by TCP, all together and from one address, and what is left for the owner. */
let daemon: TcpDaemon;
const held: { destroy(): unknown }[] = [];
const begin = async (options: TcpOptions): Promise<void> => {
  daemon = await startTcpDaemon(options);
};
afterEach(async () => {
  for (const each of held.splice(0)) each.destroy();
  expect(daemon.bugs).toEqual([]);
  await daemon.stop(0);
  await removeRoot(daemon.root);
});

/** A connection from an address of this machine that says nothing, or has become a WebSocket. */
async function hold(from: string, upgraded = false): Promise<Socket> {
  const socket = dial({ port: daemon.tcp.port, host: "127.0.0.1", localAddress: from });
  socket.on("error", () => undefined);
  held.push(socket);
  await new Promise((resolve) => socket.once("connect", resolve));
  if (!upgraded) return socket;
  const heard = new Promise((resolve) => socket.once("data", resolve));
  socket.write(request("/", [`Host: 127.0.0.1:${daemon.tcp.port}`, ...upgradeLines]));
  expect(String(await heard)).toContain("101 Switching");
  return socket;
}
const knock = (from: string, target: "/" | "/healthz" = "/") => {
  const lines = [`Host: 127.0.0.1:${daemon.tcp.port}`, ...(target === "/" ? upgradeLines : [])];
  return say(dial({ port: daemon.tcp.port, host: "127.0.0.1", localAddress: from }), request(target, lines));
};

test("B7 one address holds so many connections and no more, whether they have said a word or not; another address and the owner come in as before", async () => {
  await begin({ limits: { connections_per_peer_max: 4, hello_wait_ms: 60_000 } });
  const first = await hold("127.0.0.2", true);
  await hold("127.0.0.2", true);
  await hold("127.0.0.2");
  await hold("127.0.0.2");
  for (const target of ["/", "/healthz"] as const) {
    const { status, text } = await knock("127.0.0.2", target);
    expect([target, status]).toEqual([target, 429]);
    expect(text).toContain("limit connections_per_peer_max reached (4 connections), try again in 1000 ms");
    expect(text).toMatch(/retry-after: 1\r\n/i);
  }
  expect([(await knock("127.0.0.3")).status, (await knock("127.0.0.3", "/healthz")).status]).toEqual([101, 200]);
  const owner = await RawSocket.open(daemon.socketPath);
  owner.close();
  expect(daemon.counters.turnedAway.get("connections_per_peer_max")).toBe(2);
  first.destroy();
  await eventually("a place is free again", async () => (await knock("127.0.0.2")).status === 101);
});

test("B7 all of TCP holds so many, and the owner's places on the unix socket are others", async () => {
  await begin({ limits: { tcp_connections_max: 6, connections_per_peer_max: 3, connections_max: 2, hello_wait_ms: 60_000 } });
  for (const from of ["127.0.0.2", "127.0.0.3"]) for (const upgraded of [true, false, false]) await hold(from, upgraded);
  const { status, text } = await knock("127.0.0.4");
  expect([status, /limit tcp_connections_max reached \(6 connections\)/.test(text), /retry-after: 1\r\n/i.test(text)]).toEqual([503, true, true]);
  const owners = [await RawSocket.open(daemon.socketPath), await RawSocket.open(daemon.socketPath)];
  await expect(RawSocket.open(daemon.socketPath)).rejects.toThrow("503");
  for (const owner of owners) owner.close();
  expect(daemon.counters.turnedAway.get("tcp_connections_max")).toBe(1);
});

test("B7 who floods the door from one address is cut without a word beyond a few, and pushes out nobody", async () => {
  await begin({ limits: { connections_per_peer_max: 4, refused_connections_max: 3, hello_wait_ms: 60_000 } });
  const other = await hold("127.0.0.3");
  let cut = 0;
  const flood = await Promise.all(Array.from({ length: 40 }, () => hold("127.0.0.2")));
  for (const socket of flood) socket.once("close", () => (cut += 1)).resume();
  await eventually("those beyond are cut", () => cut === 40 - 7);
  expect([other.destroyed, daemon.counters.turnedAway.get("connections_per_peer_max")]).toEqual([false, 33]);
  other.write(request("/healthz", [`Host: 127.0.0.1:${daemon.tcp.port}`]));
  expect(String(await new Promise((resolve) => other.once("data", resolve)))).toContain("200 OK");
});

test.each([false, true])("B7 a connection over TCP that says nothing, or half a request, is cut when its time is over (TLS: %s)", async (tls) => {
  await begin({ limits: { hello_wait_ms: 2_000 }, ...(tls && { pair: selfSigned("IP:127.0.0.1") }) });
  const { port } = daemon.tcp;
  // Who became a client and says hello is there before all of them, and stays.
  const client = new WebSocket(`${tls ? "wss" : "ws"}://127.0.0.1:${port}/`, { rejectUnauthorized: false, perMessageDeflate: false });
  held.push({ destroy: () => client.terminate() });
  await new Promise((resolve, reject) => client.once("open", resolve).once("error", reject));
  const answered = async () => {
    client.send('{"id":1,"method":"query","params":{"path":"hello","input":{"protocol":{"min":1,"max":1}}}}');
    return String(await new Promise((resolve) => client.once("message", resolve).once("close", () => resolve("closed"))));
  };
  expect(await answered()).toContain("boot_id");
  // One that becomes a WebSocket and never says hello; ended by its own hand, or by the daemon.
  const mute = way(daemon);
  const muted = new Promise((resolve) => mute.once("close", resolve));
  mute.on("data", () => undefined).on("error", () => undefined);
  mute.write(request("/", [`Host: 127.0.0.1:${port}`, ...upgradeLines]));
  const [silent, half, garbage] = await Promise.all([
    say(await hold("127.0.0.2"), ""),
    say(way(daemon), `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nX-Never:`),
    say(await hold("127.0.0.2"), "\x16\x03\x01"),
    muted,
  ]);
  expect([[0, 408].includes(silent.status), [0, 408].includes(half.status), [0, 400].includes(garbage.status)]).toEqual([true, true, true]);
  expect(await answered()).toContain("boot_id");
});

test("B7 request line and headers are bounded", async () => {
  await begin({});
  const own = `Host: 127.0.0.1:${daemon.tcp.port}`;
  expect((await say(way(daemon), request("/healthz", [own, `X: ${"x".repeat(17_000)}`]))).status).toBe(431);
  expect((await say(way(daemon), request(`/${"x".repeat(17_000)}`, [own]))).status).toBe(431);
  expect((await say(way(daemon), request("/healthz", [own, ...Array.from({ length: 3_000 }, (_, n) => `X${n}: y`)]))).status).toBe(431);
});

test("an address counts as whom it belongs to: IPv4 in IPv6's clothes as IPv4, IPv6 by its first 64 bits", () => {
  expect(
    ["127.0.0.1", "::ffff:10.1.2.3", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::9", "2001:0DB8:1:2:ffff::", "::1", "fe80::1%eth0", "1::"].map(peerName),
  ).toEqual(["127.0.0.1", "10.1.2.3", "2001:db8:1:2::/64", "2001:db8:1:2::/64", "2001:db8:1:2::/64", "0:0:0:0::/64", "fe80:0:0:0::/64", "1:0:0:0::/64"]);
});
