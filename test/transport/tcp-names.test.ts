import { verbs } from "@sessiond/shared";
import { expect, test } from "vitest";
import { hostAuth } from "../support/gate-world.ts";
import { request, say, tcpDaemons, upgradeLines, way, type TcpDaemon } from "../support/tcp-daemon.ts";

/** Who may speak to the TCP door at all: by the name it is called, and the page that it says it comes from. Before any credential. */
const begin = tcpDaemons();

type Headers = readonly string[];
/** A page and a WebSocket asked for with these headers: both statuses. */
async function both(daemon: TcpDaemon, headers: Headers): Promise<[number, number]> {
  const page = await say(way(daemon), request("/healthz", headers));
  const socket = await say(way(daemon), request("/", [...headers, ...upgradeLines]));
  return [page.status, socket.status];
}
const calls = (daemon: TcpDaemon): number => [...daemon.counters.calls.keys()].filter((verb) => verb in verbs && verb !== "daemon_status").length;

test("B6 over TCP only the names with the port that the door goes by are answered, page and WebSocket alike; every other Host is refused unseen", async () => {
  const daemon = await begin({ table: 'listen = "127.0.0.1:0"\nhosts = ["box.example:9443", "Short.example", "usual.example:443"]' });
  const { port } = daemon.tcp;
  const own = [
    `127.0.0.1:${port}`,
    `localhost:${port}`,
    `LocalHost:${port}`,
    "box.example:9443",
    `short.example:${port}`,
    "usual.example:443",
    "usual.example",
  ];
  for (const host of own) expect([host, ...(await both(daemon, [`Host: ${host}`]))]).toEqual([host, 200, 101]);
  const foreign: Headers[] = [
    ["localhost"],
    ["127.0.0.1"],
    [`127.0.0.1:${port + 1}`],
    [`127.0.0.1.:${port}`],
    [`localhost.:${port}`],
    [`127.1:${port}`],
    [`2130706433:${port}`],
    [`[::1]:${port}`],
    [`evil.example:${port}`],
    [`127.0.0.1:${port}.evil.example`],
    [`user@127.0.0.1:${port}`],
    [`127.0.0.1:0${port}`],
    ["box.example"],
    [`box.example:${port}`],
    [""],
    [`127.0.0.1:${port}, evil.example`],
  ].map(([host = ""]) => [`Host: ${host}`]);
  for (const headers of foreign) expect([headers, ...(await both(daemon, headers))]).toEqual([headers, 403, 403]);
  expect(daemon.counters.turnedAway.get("host")).toBe(2 * foreign.length);
  expect(calls(daemon)).toBe(0);
});

test("B6 a second Host, no Host and a Host inside the request line do not help", async () => {
  const daemon = await begin();
  const { port } = daemon.tcp;
  const own = `Host: 127.0.0.1:${port}`;
  expect(await both(daemon, [own, own])).toEqual([403, 403]);
  expect(await both(daemon, [own, "Host: evil.example"])).toEqual([403, 403]);
  expect(await both(daemon, ["Host: evil.example", own])).toEqual([403, 403]);
  expect((await say(way(daemon), request("/healthz", ["X: y"], "1.0"))).status).toBe(403);
  expect((await say(way(daemon), request("/healthz", ["X: y"]))).status).toBe(400);
  for (const target of [`http://evil.example/healthz`, `http://127.0.0.1:${port}/healthz`, `//127.0.0.1:${port}/`, "*", "/x", "/healthz/", "/healthz?x"]) {
    expect([target, (await say(way(daemon), request(target, [own]))).status]).toEqual([target, 404]);
    expect([target, (await say(way(daemon), request(target, [own, ...upgradeLines]))).status]).toEqual([target, 404]);
  }
  // No subprotocol is offered, and none is taken.
  const { status, text } = await say(way(daemon), request("/", [own, ...upgradeLines, "Sec-WebSocket-Protocol: trpc, bearer"]));
  expect([status, /sec-websocket-protocol|extensions/i.test(text)]).toEqual([101, false]);
});

test("B6 a page is refused unless its origin is this door's own or listed, whatever else it says", async () => {
  const daemon = await begin({ table: 'listen = "127.0.0.1:0"\nhosts = ["box.example:9443"]\norigins = ["https://App.example:443", "http://localhost:3000"]' });
  const { port } = daemon.tcp;
  const host = `Host: 127.0.0.1:${port}`;
  for (const origin of [`http://127.0.0.1:${port}`, "https://app.example", "http://localhost:3000"])
    expect([origin, ...(await both(daemon, [host, `Origin: ${origin}`]))]).toEqual([origin, 200, 101]);
  const foreign = [
    "null",
    "",
    "http://127.0.0.1",
    `https://127.0.0.1:${port}`,
    `ws://127.0.0.1:${port}`,
    // One of the door's names, and not the one that this request called it by.
    `http://localhost:${port}`,
    "http://box.example:9443",
    "https://app.example.evil.example",
    "https://app.example:8443",
    "http://app.example",
    "https://app.example/",
    "https://app.example, https://evil.example",
    "file://",
  ];
  for (const origin of foreign) expect([origin, ...(await both(daemon, [host, `Origin: ${origin}`]))]).toEqual([origin, 403, 403]);
  expect(await both(daemon, [host, "Origin: https://app.example", "Origin: https://evil.example"])).toEqual([403, 403]);
  // A listed page is no other name of the door.
  expect(await both(daemon, ["Host: app.example", "Origin: https://app.example"])).toEqual([403, 403]);
  expect(daemon.counters.turnedAway.get("origin")).toBe(2 * (foreign.length + 1));
  expect(calls(daemon)).toBe(0);
});

test("B6 what a browser says was sent from another site is refused, with no Origin too, unless its origin is listed", async () => {
  const daemon = await begin({ table: 'listen = "127.0.0.1:0"\norigins = ["https://app.example"]' });
  const { port } = daemon.tcp;
  const host = `Host: 127.0.0.1:${port}`;
  const site = (...values: string[]): Headers => [host, ...values.map((value) => `Sec-Fetch-Site: ${value}`)];
  for (const value of ["same-origin", "none"]) expect(await both(daemon, site(value))).toEqual([200, 101]);
  const foreign = [site("cross-site"), site("same-site"), site("something-new"), site(""), site("none", "cross-site")];
  for (const headers of foreign) expect([headers, ...(await both(daemon, headers))]).toEqual([headers, 403, 403]);
  expect(await both(daemon, [...site("cross-site"), `Origin: http://127.0.0.1:${port}`])).toEqual([403, 403]);
  expect(await both(daemon, [...site("cross-site"), "Origin: https://app.example"])).toEqual([200, 101]);
  expect(daemon.counters.turnedAway.get("fetch_site")).toBe(2 * (foreign.length + 1));
});

test("B6 /healthz alone is open over TCP and says only that the daemon is up: /metrics is not there, and the host key counts for nothing", async () => {
  const daemon = await begin();
  const { port } = daemon.tcp;
  const lines = [`Host: 127.0.0.1:${port}`, `Authorization: Bearer ${daemon.hostKey}`];
  const health = await say(way(daemon), request("/healthz", lines));
  expect([health.status, /\r\n\r\n(?:3\r\n)?ok\n/.test(health.text)]).toEqual([200, true]);
  for (const target of ["/metrics", "/", "/daemon_status", "/trpc/hello"]) {
    const { status, text } = await say(way(daemon), request(target, lines));
    expect([target, status, text.includes("not found")]).toEqual([target, 404, true]);
  }
  expect([...daemon.counters.calls.keys()]).toEqual(["daemon_status"]);
  expect((await daemon.call("daemon_status", {}, hostAuth(daemon))).tcp).toEqual({
    address: "127.0.0.1",
    port,
    tls: false,
    hosts: [`127.0.0.1:${port}`, `localhost:${port}`],
  });
});
