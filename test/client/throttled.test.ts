import { limits, type VerbName } from "@sessiond/shared";
import { Connection, Door } from "@sessiond/client";
import { unixSocket } from "@sessiond/client/node";
import { afterEach, describe, expect, test, vi } from "vitest";
import { Backoff } from "../../packages/client/src/backoff.ts";
import { attach, attached, failure } from "../support/attached-seat.ts";
import { sessionId, snapshotAt, token, WirePeer, type PeerRequest, type PeerSocket } from "../support/wire-peer.ts";

/** A call that was one too many: nothing was done, so the library makes it again when the daemon says that it may. */
const session = { session_id: sessionId };
const dialling = (peer: WirePeer): Connection => new Connection(new Door({ dial: unixSocket(peer.socket) }));
const tooMany = (request: PeerRequest, retry_after_ms?: number): void =>
  request.refuse("rate_limited", {
    limit: "calls_per_token_per_minute_max",
    value: 60_000,
    unit: "calls a minute with this token or key",
    ...(retry_after_ms !== undefined && { retry_after_ms }),
  });

afterEach(() => void vi.useRealTimers());

describe("a call that was one too many", () => {
  test("B7 is made again, unchanged, whatever the verb: also one that is never repeated otherwise", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    const minting = calls.call("mint_token", { ...session, right: "view", label: "x" }, { token });
    const socket = await peer.sockets.next();
    const first = await socket.requests.next();
    tooMany(first, 1);
    const second = await socket.requests.next();
    expect([second.verb, second.input]).toEqual(["mint_token" satisfies VerbName, first.input]);
    tooMany(second, 2);
    (await socket.requests.next()).answer({ token: "t", record: {} });
    expect(await minting).toEqual({ token: "t", record: {} });
    calls.close();
  });

  test("B7 is told to its caller at once where the wait is longer than its time, with the limit and the time to come again, and is not made again", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    const asking = calls.call("session_info", session, { token });
    const socket = await peer.sockets.next();
    tooMany(await socket.requests.next(), limits.call_timeout_ms + 1);
    const error = await failure(asking);
    expect(error.message).toBe(
      `More than 60000 calls a minute with this token or key (limit calls_per_token_per_minute_max); try again in ${limits.call_timeout_ms + 1} ms.`,
    );
    // The next call is the next thing that is heard.
    const next = calls.call("list_tokens", session, { token });
    const heard = await socket.requests.next();
    expect(heard.verb).toBe("list_tokens");
    heard.answer({ tokens: [] });
    await next;
    calls.close();
  });

  test("B7 whose refusal names no time, and a clean-up's one try, are not made again", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    let socket: PeerSocket | undefined;
    for (const [options, ms] of [
      [{}, undefined],
      [{}, -1],
      [{ once: true }, 1],
    ] as const) {
      const asking = calls.call("session_info", session, { token }, options);
      socket ??= await peer.sockets.next();
      tooMany(await socket.requests.next(), ms);
      expect((await failure(asking)).code).toBe("rate_limited");
    }
    calls.close();
  });

  test("B7 waits no longer than its caller: who gives it up hears that at once", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    const giving = new AbortController();
    const asking = calls.call("session_info", session, { token }, { signal: giving.signal });
    tooMany(await (await peer.sockets.next()).requests.next(), 20_000);
    setImmediate(() => giving.abort());
    expect((await failure(asking)).code).toBe("cancelled");
    calls.close();
  });

  test("B7 that wants a seat is made again as well, and the seat is taken", async () => {
    await using peer = await WirePeer.listen();
    const seating = attached(peer, snapshotAt(10));
    // `attached` answers the first try; the stream breaks, and the next one is one too many.
    const { seat, request, session: handle } = await seating;
    request.peer.drop();
    const refused = await attach(peer);
    tooMany(refused, 1);
    const again = await attach(peer);
    await again.item(snapshotAt(11));
    while (seat.state.seq < 11) await seat.changed();
    void handle.close();
  });
});

test("B7 the pause between tries is never shorter than what was asked for", async () => {
  vi.useFakeTimers();
  const backoff = new Backoff();
  for (let each = 0; each < 20; each++) {
    let over = false;
    const waiting = backoff.wait(new AbortController().signal, 700).then(() => (over = true));
    await vi.advanceTimersByTimeAsync(700);
    expect(over).toBe(false);
    await vi.advanceTimersByTimeAsync(limits.redial_ms_max);
    expect(over).toBe(true);
    await waiting;
  }
});
