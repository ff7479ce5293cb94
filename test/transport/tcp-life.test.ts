import { createServer, type AddressInfo } from "node:net";
import { connect } from "@sessiond/client/node";
import { limits as defaults } from "@sessiond/shared";
import { afterEach, expect, test } from "vitest";
import { Counters } from "../../packages/daemon/src/counters.ts";
import { removeRoot, startTestDaemon, testEnv } from "../../packages/daemon/src/testing.ts";
import { TcpPlace } from "../../packages/daemon/src/transport/tcp-place.ts";
import { whole } from "../support/amount.ts";
import { DaemonHome } from "../support/daemon-home.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { configured, say, startTcpDaemon, way, type TcpDaemon, type TcpOptions } from "../support/tcp-daemon.ts";

/** The TCP door's life: it opens with the unix socket and closes with it, and a start without it is none. */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each();
});
const begin = async (options?: TcpOptions): Promise<TcpDaemon> => {
  const daemon = await startTcpDaemon(options);
  undo.push(async () => {
    expect(daemon.bugs).toEqual([]);
    await daemon.stop(0);
    await removeRoot(daemon.root);
  });
  return daemon;
};
const url = ({ tcp }: TcpDaemon): string => `ws://127.0.0.1:${tcp.port}/`;
const hello = '{"protocol":{"min":1,"max":1}}';

test("B6 the host key is nobody's over TCP: every verb refuses it there as it refuses a stranger, and the owner's socket takes it as before", async () => {
  const daemon = await begin();
  const [outside, owner] = [await RawSocket.open(url(daemon)), await RawSocket.open(daemon.socketPath)];
  undo.push(() => [outside, owner].map((socket) => socket.close()));
  expect((await outside.call("query", "hello", hello)).error).toBeUndefined();
  const auth = { host_key: daemon.hostKey };
  const verbs = [
    ["query", "daemon_status", {}],
    ["query", "list_sessions", {}],
    ["query", "list_keys", {}],
    ["mutation", "rotate_host_key", {}],
    ["mutation", "shut_down", {}],
    ["mutation", "start_or_get_for_workdir", { workdir: "/nowhere" }],
  ] as const;
  for (const [kind, verb, input] of verbs) {
    const stranger = await outside.call(kind, verb, JSON.stringify(input));
    const asOwner = await outside.call(kind, verb, JSON.stringify({ ...input, auth }));
    expect([verb, asOwner.error?.data.code]).toEqual([verb, "unauthenticated"]);
    expect(asOwner).toEqual(stranger);
  }
  expect((await owner.call("query", "daemon_status", JSON.stringify({ auth }))).error).toBeUndefined();
});

test("B40 B6 a drain closes both doors: who is connected is told, and nobody comes in any more; the same port is taken again by the next start", async () => {
  const daemon = await begin();
  const { port } = daemon.tcp;
  const sockets = [await RawSocket.open(url(daemon)), await RawSocket.open(daemon.socketPath)];
  for (const socket of sockets) await socket.call("query", "hello", hello);
  const silent = say(way(daemon), "");
  await daemon.stop(0);
  await expect(RawSocket.open(url(daemon))).rejects.toThrow("ECONNREFUSED");
  expect([await Promise.all(sockets.map((socket) => socket.closed)), (await silent).status]).toEqual([[1001, 1001], 0]);
  const next = await begin({ root: daemon.root, table: `listen = "127.0.0.1:${port}"` });
  expect(next.tcp.port).toBe(port);
});

test("B41 who is connected by TCP uses the daemon: one that a client started stays for it, and leaves when it has gone", async () => {
  const clock = new FakeClock();
  const limits = { idle_exit_ms: 60_000, heartbeat_ms: 1_000_000 };
  const daemon = await begin({ clock, startedBy: "client", limits });
  let over = false;
  void daemon.stopped.then(() => (over = true));
  const socket = await RawSocket.open(url(daemon));
  await socket.call("query", "hello", hello);
  clock.advance(200_000);
  const answer = await Promise.race([socket.call("query", "hello", hello), socket.closed]);
  expect([answer, over, daemon.door.connections]).toEqual([{ data: expect.objectContaining({ protocol: 1 }) as object }, false, 1]);
  socket.close();
  await socket.closed;
  await expect.poll(() => daemon.door.connections).toBe(0);
  clock.advance(60_001);
  await daemon.stopped;
});

test("B36 B6 a connection that fails while it is accepted ends no daemon: it is logged, and the next one comes in", async () => {
  const daemon = await startTcpDaemon();
  undo.push(async () => {
    await daemon.stop(0);
    await removeRoot(daemon.root);
  });
  // As Node tells of what accept() says when the network went down meanwhile.
  const error = Object.assign(new Error("accept EHOSTUNREACH"), { code: "EHOSTUNREACH" });
  expect(daemon.door.server.emit("error", error)).toBe(true);
  expect(daemon.bugs).toEqual([error]);
  const socket = await RawSocket.open(daemon.socketPath);
  expect((await socket.call("query", "hello", hello)).error).toBeUndefined();
  socket.close();
});

test("B6 where TCP fails by the owner's own setting there is no daemon at all: no socket, no lock; mended, the same folder starts", async () => {
  const root = await configured({ table: 'listen = "192.0.2.77:0"' });
  await expect(startTestDaemon({ root })).rejects.toMatchObject({ code: "config_invalid" });
  await expect(connect({ env: testEnv(root), autoStart: false })).rejects.toMatchObject({ code: "daemon_unreachable" });
  await begin({ root });
});

/** A port that somebody has, until it is let go. */
async function squatted(): Promise<{ port: number; letGo(): Promise<unknown> }> {
  const taken = createServer().listen(0, "127.0.0.1");
  await new Promise((listening) => taken.once("listening", listening));
  undo.push(() => taken.close());
  return { port: (taken.address() as AddressInfo).port, letGo: () => new Promise((closed) => taken.close(closed)) };
}

test("B41 B42 who takes the TCP port first keeps nobody from the unix socket: the status tells of it, and the port is taken as soon as it is free", async () => {
  const clock = new FakeClock();
  const squatter = await squatted();
  const daemon = await startTestDaemon({ clock, listen: `127.0.0.1:${squatter.port}`, model: { name: "practice" } });
  undo.push(() => removeRoot(daemon.root));
  undo.push(() => daemon.stop(0));
  const status = () => daemon.call("daemon_status", {}, { host_key: daemon.hostKey });
  const told = expect.stringContaining(`another program listens on 127.0.0.1:${squatter.port}`) as string;
  expect(await status()).toMatchObject({ tcp: null, problems: [{ what: told, mend: expect.stringContaining("takes the port by itself") as string }] });
  const owner = await RawSocket.open(daemon.socketPath);
  undo.push(() => owner.close());
  expect((await owner.call("query", "hello", hello)).error).toBeUndefined();
  await squatter.letGo();
  await expect
    .poll(
      async () => {
        clock.advance(defaults.tcp_retry_ms);
        return status();
      },
      { timeout: 10_000 },
    )
    .toMatchObject({ tcp: { port: squatter.port }, problems: [] });
  const socket = await RawSocket.open(`ws://127.0.0.1:${squatter.port}/`);
  expect((await socket.call("query", "hello", hello)).error).toBeUndefined();
  await daemon.stop(0);
  expect(await socket.closed).toBe(1001);
  await expect(RawSocket.open(`ws://127.0.0.1:${squatter.port}/`)).rejects.toThrow("ECONNREFUSED");
});

test("B40 B41 a daemon that has stopped waits for no port any more, and one that it got in that moment it gives back", async () => {
  const squatter = await squatted();
  const listen = `127.0.0.1:${squatter.port}`;
  const clock = new FakeClock();
  const after = clock.after.bind(clock);
  let waiting = 0;
  clock.after = (ms, run) => {
    const cancel = after(ms, run);
    if (ms !== 4_321) return cancel;
    waiting += 1;
    return () => ((waiting -= 1), cancel());
  };
  const daemon = await startTestDaemon({ clock, listen, limits: { tcp_retry_ms: 4_321 } });
  undo.push(() => removeRoot(daemon.root));
  expect(waiting).toBe(1);
  await daemon.stop(0);
  expect(waiting).toBe(0);
  await squatter.letGo();
  const add = (): never => expect.unreachable("it was opened");
  const settings = { address: "127.0.0.1", port: squatter.port, hosts: [], origins: [], tls: null };
  const place = new TcpPlace(settings, { clock, limits: defaults, counters: new Counters(), note: () => undefined, add });
  const opening = place.open();
  place.close();
  await opening;
  const next = createServer().listen(squatter.port, "127.0.0.1");
  undo.push(() => next.close());
  await new Promise((listening, failed) => next.once("listening", listening).once("error", failed));
});

test("B6 B41 a daemon that a client starts opens the door that the configuration names, and says in its log where", async () => {
  const home = new DaemonHome('[model]\nname = "practice"\n[tcp]\nlisten = "127.0.0.1:0"\n');
  undo.push(() => home.close());
  const host = await home.connect();
  const { tcp, started_by } = await host.status();
  expect([started_by, tcp?.address, tcp?.tls]).toEqual(["client", "127.0.0.1", false]);
  expect(home.logged("listening")).toMatchObject([{ tcp: { address: "127.0.0.1", port: tcp?.port, tls: false } }]);
  const socket = await RawSocket.open(`ws://127.0.0.1:${tcp?.port}/`);
  expect((await socket.call("query", "hello", hello)).error).toBeUndefined();
  socket.close();
});

// Four starts that fail, with pauses between them.
test.runIf(whole)("B41 B42 a daemon that a client starts and that cannot open the door says why to that client", async () => {
  const other = new DaemonHome('[model]\nname = "practice"\n[tcp]\nlisten = "192.0.2.77:0"\n');
  undo.push(() => other.close());
  await expect(other.connect()).rejects.toMatchObject({
    code: "daemon_unreachable",
    message: expect.stringContaining("this machine has no such address") as string,
  });
});
