import { createServer } from "node:http";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { WebSocketServer } from "ws";
import { Connection, Door } from "@sessiond/client";
import { unixSocket } from "@sessiond/client/node";
import { limits } from "@sessiond/shared";
import { attach, attached, failure } from "../support/attached-seat.ts";
import { Inbox, resumedAt, sessionId, token, WirePeer } from "../support/wire-peer.ts";

/** A daemon that takes connections, answers probes, and does not do what it is asked. Its client's time is the test's. */
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Upgrades and says nothing more, not even hello. */
async function mute(path: string): Promise<{ came: Inbox<null>; end: () => Promise<void> }> {
  const came = new Inbox<null>();
  const http = createServer();
  const sockets = new WebSocketServer({ server: http });
  sockets.on("connection", () => came.put(null));
  await new Promise<void>((resolve) => http.listen(path, resolve));
  return {
    came,
    end: async () => {
      for (const client of sockets.clients) client.terminate();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}

/** Time goes on, in steps, until that has happened. */
async function passing<T>(ms: number, awaited: Promise<T>): Promise<T> {
  let over = false;
  void awaited.finally(() => (over = true)).catch(() => undefined);
  for (let at = 0; at < ms && !over; at += 500) {
    await vi.advanceTimersByTimeAsync(500);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return awaited;
}

test(
  "B34 a daemon that takes the connection and says no hello is given up in time and tried again; the call ends saying that nobody answered",
  { timeout: 30_000 },
  async () => {
    await using peer = await WirePeer.listen();
    await peer.stop();
    const daemon = await mute(peer.socket);
    const calls = new Connection(new Door({ dial: unixSocket(peer.socket) }));
    const asking = failure(calls.call("session_info", { session_id: sessionId }, { token }, { timeoutMs: 3 * limits.hello_wait_ms }));
    await daemon.came.next();
    await passing(limits.hello_wait_ms + 1_000, daemon.came.next());
    const error = await passing(3 * limits.hello_wait_ms, asking);
    expect(error).toMatchObject({ code: "daemon_unreachable", detail: { reason: "the daemon took the connection and does not answer" } });
    calls.close();
    await daemon.end();
  },
);

test("B34 a seat whose daemon comes back mute asks again in time, and is live when there is an answer", { timeout: 30_000 }, async () => {
  await using peer = await WirePeer.listen();
  const { seat, session } = await attached(peer);
  await peer.stop();
  const daemon = await mute(peer.socket);
  await passing(2_500, daemon.came.next());
  await passing(limits.hello_wait_ms + 2_500, daemon.came.next());
  expect(seat.connection).toBe("reconnecting");
  await daemon.end();
  await peer.start();
  const again = await passing(5_000, attach(peer));
  await again.item(resumedAt(10));
  while (seat.connection !== "live") await seat.changed();
  void session.close();
});

test("B34 a seat that is not given back is asked for again on another connection, however well the first answers probes", { timeout: 30_000 }, async () => {
  await using peer = await WirePeer.listen();
  const { seat, request, session } = await attached(peer);
  request.peer.drop();
  const hanging = await passing(2_500, attach(peer));
  const again = await passing(limits.call_timeout_ms + 3_000, attach(peer));
  expect(again.input["cursor"]).toBe("1:10");
  expect(again.input.auth).toEqual(hanging.input.auth);
  await again.item(resumedAt(10));
  while (seat.connection !== "live") await seat.changed();
  void session.close();
});

test("B34 a call that hangs ends in `timeout`; of one that changes something it says that it may have happened", { timeout: 30_000 }, async () => {
  await using peer = await WirePeer.listen();
  const calls = new Connection(new Door({ dial: unixSocket(peer.socket) }));
  await calls.open();
  const link = await peer.sockets.next();
  const session = { session_id: sessionId };
  const minting = failure(calls.call("mint_token", { ...session, right: "view", label: "x" }, { token }));
  const reading = failure(calls.call("session_info", session, { token }));
  const [minted, read] = [await link.requests.next(), await link.requests.next()];
  expect([minted.verb, read.verb]).toEqual(["mint_token", "session_info"]);
  const [changed, unchanged] = await passing(limits.call_timeout_ms + 1_000, Promise.all([minting, reading]));
  expect(changed).toMatchObject({ code: "timeout", detail: { timeout_ms: limits.call_timeout_ms, verb: "mint_token", outcome: "it may have happened" } });
  expect(changed.message).toContain("it may have happened");
  expect([unchanged.code, unchanged.detail]).toEqual(["timeout", { timeout_ms: limits.call_timeout_ms }]);
  // Neither was sent twice.
  expect(link.requests.size + peer.sockets.size).toBe(0);
  calls.close();
});
