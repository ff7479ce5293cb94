import { Connection, Door, DriverSeat, Session } from "@sessiond/client";
import { unixSocket } from "@sessiond/client/node";
import { limits, type SessionEvent } from "@sessiond/shared";
import { describe, expect, test } from "vitest";
import { atSeq, attach, attached, failure, range, seqOf, take, until } from "../support/attached-seat.ts";
import {
  batchOf,
  chunks,
  frameOf,
  resumedAt,
  seatId,
  sessionId,
  snapshotAt,
  stateAt,
  token,
  turnId,
  WirePeer,
  type PeerRequest,
} from "../support/wire-peer.ts";

const promptId = `prm_${"P".repeat(22)}`;
const by = { seat_id: seatId, label: "test" };

const event = (seq: number, ...events: SessionEvent[]) => batchOf(events.map((each, index) => frameOf(seq + index, each)));
describe("a seat", () => {
  test("B31 events are the state and then every frame, once, though batches overlap across reconnects", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request, session } = await attached(peer);
    const events = seat.events[Symbol.asyncIterator]();
    await request.item(batchOf(chunks(11, 14)));
    await atSeq(seat, 14);
    request.peer.drop();

    const again = await attach(peer);
    expect(again.input["cursor"]).toBe("1:14");
    expect(again.input.auth).toEqual(request.input.auth);
    expect(String(again.input.auth?.["seat_secret"]).length).toBeGreaterThanOrEqual(32);
    await again.item(resumedAt(14));
    // What it has is sent once more, mixed with what it has not.
    await again.item(batchOf(chunks(12, 17)));
    await again.item(batchOf(chunks(17, 18)));

    const taken = await take(events, 9);
    expect(taken.map(seqOf)).toEqual(range(10, 18));
    expect(taken.map(({ type }) => type)).toEqual(["snapshot", ...range(11, 18).map(() => "frame")]);
    expect(seat.state.messages.at(-1)?.text.trim()).toBe(range(11, 18).join(" "));
    expect([seat.connection, seat.cursor, seat.head, seat.seatId, seat.role]).toEqual(["live", "1:18", 18, seatId, "driver"]);
    void session.close();
  });

  test("B15 the seat is taken up again when the daemon comes back", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session } = await attached(peer);
    await peer.stop();
    await until(seat, () => seat.connection === "reconnecting");
    await peer.start();
    await (await attach(peer)).item(resumedAt(10));
    await until(seat, () => seat.connection === "live");
    void session.close();
  });

  test("B32 a reset replaces the state, and the reader is told why", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request } = await attached(peer);
    const events = seat.events[Symbol.asyncIterator]();
    request.peer.drop();
    const again = await attach(peer);
    await again.item(snapshotAt(40, { reset: "beyond_end" }));
    await again.item(batchOf(chunks(41, 41)));
    const [first, reset, frame] = await take(events, 3);
    expect([first && seqOf(first), reset, frame && seqOf(frame)]).toEqual([10, { type: "snapshot", state: stateAt(40), reset: "beyond_end" }, 41]);
    void seat.detach();
  });

  test("nothing is queued while nobody reads; a reader begins with the state as it is then", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request, session } = await attached(peer);
    const count = 2 * limits.client_events_max;
    for (let from = 11; from <= 10 + count; from += 64) void request.item(batchOf(chunks(from, from + 63)));
    await atSeq(seat, 10 + count);
    const events = seat.events[Symbol.asyncIterator]();
    await request.item(batchOf(chunks(11 + count, 12 + count)));
    expect((await take(events, 3)).map(seqOf)).toEqual(range(10 + count, 12 + count));
    // One reader at a time; a next one after it.
    expect(() => seat.events[Symbol.asyncIterator]()).toThrow(/one reader at a time/);
    await events.return?.();
    expect((await take(seat.events[Symbol.asyncIterator](), 1)).map(seqOf)).toEqual([12 + count]);
    void session.close();
  });

  test("the closing word of its connection is the end of its stream too", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request } = await attached(peer);
    request.peer.ws.close(4000, "token_ended");
    expect((await seat.ended)?.code).toBe("token_ended");
  });

  test.each(["moved", "token_ended", "session_stopped", "unauthenticated", "not_attached"] as const)(
    "ended with %s, it is over and is not taken up again",
    async (code) => {
      await using peer = await WirePeer.listen();
      const { seat, request } = await attached(peer);
      const events = seat.events[Symbol.asyncIterator]();
      request.refuse(code);
      expect((await seat.ended)?.code).toBe(code);
      expect(seat.connection).toBe("ended");
      expect((await events.next()).value?.type).toBe("snapshot");
      if (code === "session_stopped") expect(await events.next()).toEqual({ done: true, value: undefined });
      else expect((await failure(events.next())).code).toBe(code);
      await request.peer.closed;
      expect(peer.sockets.size).toBe(0);
    },
  );

  test("B35 a stream that completes after session_stopped ends the seat; one that completes before is taken up again", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request } = await attached(peer);
    request.complete();
    const again = await attach(peer);
    await again.item(resumedAt(10));
    await again.item(event(11, { type: "session_stopped", life: 1, by }));
    again.complete();
    expect((await seat.ended)?.code).toBe("session_stopped");
  });

  test.each([
    ["its own error", (request: PeerRequest) => request.refuse("slow_consumer")],
    ["the closing word of its connection", (request: PeerRequest) => request.peer.ws.close(4000, "slow_consumer")],
  ])("B33 cut off as slow_consumer by %s, it attaches again with its cursor", async (_, cut) => {
    await using peer = await WirePeer.listen();
    const { seat, request, session } = await attached(peer);
    cut(request);
    const again = await attach(peer);
    expect(again.input["cursor"]).toBe("1:10");
    await again.item(resumedAt(10));
    await until(seat, () => seat.connection === "live");
    void session.close();
  });

  test("B40 after shutting_down it only redials: nobody starts the daemon that was told to go", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request, session, starts } = await attached(peer);
    request.refuse("shutting_down");
    const draining = await attach(peer);
    draining.refuse("shutting_down");
    await peer.stop();
    // A call fails in its time, and starts nothing either.
    expect((await failure(session.info({ timeoutMs: 1_000 }))).code).toBe("daemon_unreachable");
    expect(starts()).toBe(0);
    await peer.start();
    await (await attach(peer)).item(resumedAt(10));
    await until(seat, () => seat.connection === "live");
    expect(starts()).toBe(0);
    void session.close();
  });

  test("B41 where the daemon vanished without a word, it is started again", async () => {
    await using peer = await WirePeer.listen();
    const door = new Door({ dial: unixSocket(peer.socket), start: () => peer.start() });
    const session = new Session(sessionId, { calls: new Connection(door), token, workdir: "/w", clientName: "test", ownCalls: true });
    const attaching = session.attach({ as: "viewer" });
    await (await attach(peer)).item(snapshotAt(10, { role: "viewer" }));
    const seat = await attaching;
    await peer.stop();
    await (await attach(peer)).item(resumedAt(10, "viewer"));
    await until(seat, () => seat.connection === "live");
    void session.close();
  });

  test("B14 a refused attach is the caller's, and nothing is tried again", async () => {
    await using peer = await WirePeer.listen();
    const session = new Session(sessionId, { calls: new Connection(new Door({ dial: unixSocket(peer.socket) })), token, workdir: "/w", clientName: "test" });
    const attaching = failure(session.attach({ as: "driver" }));
    const request = await attach(peer);
    request.refuse("driver_taken", { driver: "vim" });
    expect(await attaching).toMatchObject({ code: "driver_taken", detail: { driver: "vim" } });
    await request.peer.closed;
    expect(peer.sockets.size).toBe(0);
  });

  test("B14 with a fallback the seat is what the daemon gave", async () => {
    await using peer = await WirePeer.listen();
    const session = new Session(sessionId, { calls: new Connection(new Door({ dial: unixSocket(peer.socket) })), token, workdir: "/w", clientName: "test" });
    const attaching = session.attach({ as: "driver", fallback: "viewer", label: "other" });
    const request = await attach(peer);
    expect(request.input).toMatchObject({ role: "driver", fallback: "viewer", label: "other" });
    await request.item(snapshotAt(10, { role: "viewer" }));
    const seat = await attaching;
    expect([seat.role, seat instanceof DriverSeat]).toEqual(["viewer", false]);
    void session.close();
  });

  test("B15 detach tells the daemon and ends the seat for good, whichever answer comes first", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request } = await attached(peer);
    const leaving = seat.detach();
    const goodbye = await (await peer.sockets.next()).requests.next();
    expect([goodbye.verb, goodbye.input.auth]).toEqual(["detach", request.input.auth]);
    // The stream's end overtakes the answer.
    request.complete();
    expect(await seat.ended).toBeNull();
    goodbye.answer({ seq: 11 });
    await leaving;
    await request.peer.closed;
    expect(peer.sockets.size).toBe(0);
  });
});

describe("a prompt", () => {
  const accepted: SessionEvent = {
    type: "prompt_accepted",
    prompt_id: promptId,
    parts: [{ type: "text", text: "go" }],
    digest: "d",
    when_busy: "queue",
    became: "started",
    by,
  };
  const delivered: SessionEvent = { type: "prompt_delivered", prompt_id: promptId, turn_id: turnId };
  const started: SessionEvent = { type: "turn_started", turn_id: turnId, prompt_ids: [promptId] };
  const said: SessionEvent = { type: "agent_message_chunk", turn_id: turnId, message_id: "m", content: { type: "text", text: "done" } };
  const ended: SessionEvent = { type: "turn_ended", turn_id: turnId, stop_reason: "end_turn" };
  const turn = { promptId, turnId, stopReason: "end_turn", text: "done" };
  const ok = { session_id: sessionId, seq: 11, prompt_id: promptId, became: "started" };

  /** The `send_prompt` that a seat made. */
  async function sent(peer: WirePeer): Promise<PeerRequest> {
    const request = await (await peer.sockets.next()).requests.next();
    expect(request.verb).toBe("send_prompt");
    return request;
  }

  test("B18 settles when its turn ends, though the frames overtake the answer", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request, session } = await attached(peer);
    const prompting = seat.prompt("go", { promptId });
    const call = await sent(peer);
    expect(call.input).toMatchObject({ prompt_id: promptId, parts: [{ type: "text", text: "go" }], when_busy: "queue" });
    await request.item(event(11, accepted, started, delivered, said, ended));
    await atSeq(seat, 15);
    call.answer(ok);
    expect(await prompting).toEqual(turn);
    void session.close();
  });

  test("settles across a lost link", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request, session } = await attached(peer);
    const prompting = seat.prompt("go", { promptId });
    (await sent(peer)).answer(ok);
    await request.item(event(11, accepted, started, delivered));
    await atSeq(seat, 13);
    request.peer.drop();
    const again = await attach(peer);
    await again.item(resumedAt(13));
    await again.item(event(14, said, ended));
    expect(await prompting).toEqual(turn);
    void session.close();
  });

  test("settles from the transcript when a reset skipped its turn's end", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request, session } = await attached(peer);
    const prompting = seat.prompt("go", { promptId });
    const call = await sent(peer);
    call.answer(ok);
    await request.item(event(11, accepted, started, delivered));
    await atSeq(seat, 13);
    request.peer.drop();
    const again = await attach(peer);
    await again.item(snapshotAt(30, { reset: "beyond_end" }));
    const reading = await call.peer.requests.next();
    expect([reading.verb, reading.input["after"]]).toEqual(["session_data", 10]);
    reading.answer({
      frames: [accepted, started, delivered, said, ended].map((each, index) => frameOf(11 + index, each)),
      more: true,
      cursor: "1:15",
      head: 30,
    });
    expect(await prompting).toMatchObject({ promptId, turnId, stopReason: "end_turn" });
    void session.close();
  });

  test("B18 looks in the transcript however often that fails while its seat lives", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session } = await attached(peer, snapshotAt(30));
    const prompting = seat.prompt("go", { promptId });
    const call = await sent(peer);
    call.answer(ok);
    // A page that took too long, and a disk in trouble: neither says what became of the prompt.
    for (const code of ["timeout", "storage_failed"] as const) (await call.peer.requests.next()).refuse(code);
    const reading = await call.peer.requests.next();
    expect([reading.verb, reading.input["after"]]).toEqual(["session_data", 10]);
    reading.answer({ frames: [accepted, started, delivered, ended].map((each, index) => frameOf(11 + index, each)), more: true, cursor: "1:14", head: 30 });
    expect(await prompting).toEqual({ promptId, turnId, stopReason: "end_turn" });
    void session.close();
  });

  test("B21 sent again under an old id, settles with what became of it then", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session } = await attached(peer, snapshotAt(30));
    const prompting = seat.prompt("go", { promptId });
    const call = await sent(peer);
    call.answer(ok);
    const reading = await call.peer.requests.next();
    expect(reading.input["after"]).toBe(10);
    reading.answer({ frames: [accepted, started, delivered, ended].map((each, index) => frameOf(11 + index, each)), more: true, cursor: "1:14", head: 30 });
    expect(await prompting).toEqual({ promptId, turnId, stopReason: "end_turn" });
    void session.close();
  });

  test.each([
    ["withdrawn", { type: "prompt_withdrawn", prompt_id: promptId, by }],
    ["discarded", { type: "prompt_discarded", prompt_id: promptId, cause: "stop" }],
  ] as const)("B19 %s, it fails with prompt_gone and that outcome", async (outcome, gone) => {
    await using peer = await WirePeer.listen();
    const { seat, request, session } = await attached(peer);
    const prompting = failure(seat.prompt("go", { promptId }));
    (await sent(peer)).answer({ ...ok, became: "queued" });
    await request.item(event(11, accepted, gone));
    expect(await prompting).toMatchObject({ code: "prompt_gone", detail: { outcome } });
    void session.close();
  });

  test("a refusal, the seat's end and its own signal end the waiting", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request } = await attached(peer);
    const refused = failure(seat.prompt("go"));
    const call = await sent(peer);
    call.refuse("queue_full", { depth: 32, limit: 32 });
    expect((await refused).code).toBe("queue_full");

    const controller = new AbortController();
    const cancelled = failure(seat.prompt("go", { signal: controller.signal }));
    (await call.peer.requests.next()).answer(ok);
    controller.abort();
    expect((await cancelled).code).toBe("cancelled");

    const orphaned = failure(seat.prompt("go"));
    (await call.peer.requests.next()).answer(ok);
    request.refuse("moved");
    expect((await orphaned).code).toBe("moved");
  });

  test("with no answer but its frames here, it counts as sent", async () => {
    await using peer = await WirePeer.listen();
    const { seat, request, session } = await attached(peer);
    const prompting = seat.prompt("go", { promptId });
    const call = await sent(peer);
    await request.item(event(11, accepted, started, delivered));
    await atSeq(seat, 13);
    call.refuse("timeout");
    // Answered on the same connection after it, so the refusal has been heard.
    const asking = session.info();
    (await call.peer.requests.next()).answer({ seq: 13 });
    await asking;
    await request.item(event(14, said, ended));
    expect(await prompting).toEqual(turn);
    void session.close();
  });
});
