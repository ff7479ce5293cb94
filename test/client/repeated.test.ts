import type { Seat, SessionEvent } from "@sessiond/shared";
import { describe, expect, test } from "vitest";
import { attach, attached, atSeq, failure, seqOf, take, until, type Attached } from "../support/attached-seat.ts";
import { batchOf, frameOf, resumedAt, seatId, sessionId, snapshotAt, turnId, WirePeer, type PeerRequest, type PeerSocket } from "../support/wire-peer.ts";

/** Calls of seats and handles whose link broke after they were sent, and streams that come back: a daemon that never was so unkind. */
const other = (name: string): string => `seat_${name.repeat(22)}`;
const promptId = `prm_${"P".repeat(22)}`;
const ruleId = `rul_${"R".repeat(22)}`;
const seatOf = (seat_id: string, role: Seat["role"], label: string): Seat => ({ seat_id, role, label, connected: true, since: 1 });
const us = (role: Seat["role"]): Seat => seatOf(seatId, role, "test");
const anna = seatOf(other("a"), "driver", "anna");
const ben = seatOf(other("b"), "driver", "ben");
const by = { seat_id: seatId, label: "test" };

const frames = (seq: number, ...events: SessionEvent[]) => batchOf(events.map((event, index) => frameOf(seq + index, event)));
const changed = (from: string | null, to: string | null): SessionEvent => ({ type: "driver_changed", from, to, cause: "forced" });

/** A viewer beside a driver, at seq 10. */
const looking = (peer: WirePeer): Promise<Attached> => attached(peer, snapshotAt(10, { role: "viewer", state: { seats: [anna, us("viewer")] } }));

/** The calls' connection, at its first call. */
const callers = (peer: WirePeer): Promise<PeerSocket> => peer.sockets.next();

async function called(socket: PeerSocket, verb: string): Promise<PeerRequest> {
  const request = await socket.requests.next();
  expect(request.verb).toBe(verb);
  return request;
}

/** The call is sent, its link breaks, and it is sent again. */
async function sentTwice(peer: WirePeer, verb: string): Promise<PeerRequest> {
  const first = await callers(peer);
  const { input } = await called(first, verb);
  first.drop();
  const again = await called(await callers(peer), verb);
  expect(again.input).toEqual(input);
  return again;
}

describe("take_driver", () => {
  test("B14 by force that was too late names who drives now, and does not throw out whom it did not mean", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session, request } = await looking(peer);
    const taking = seat.takeDriver({ how: "force" });
    const calls = await callers(peer);
    const first = await called(calls, "take_driver");
    expect(first.input).toMatchObject({ how: "force", driver_seat_id: anna.seat_id });
    first.answer({ seq: 10, became: "unchanged", driver: ben });
    const second = await called(calls, "take_driver");
    expect(second.input).toMatchObject({ how: "force", driver_seat_id: ben.seat_id });
    second.answer({ seq: 12, became: "unchanged", driver: null });
    await request.item(frames(11, { type: "seat_left", seat_id: anna.seat_id, role: "driver", cause: "detach" }, { type: "seat_resumed", seat_id: seatId }));
    const third = await called(calls, "take_driver");
    expect(third.input).toMatchObject({ how: "if_free" });
    expect(third.input["driver_seat_id"]).toBeUndefined();
    third.answer({ seq: 13, became: "driver", driver: us("driver") });
    await request.item(frames(13, changed(null, seatId)));
    expect((await taking).role).toBe("driver");
    void session.close();
  });

  test("B14 repeated after a lost link is done when it had been done, though nothing changed by the repeat", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session, request } = await looking(peer);
    const taking = seat.takeDriver({ how: "force" });
    const again = await sentTwice(peer, "take_driver");
    again.answer({ seq: 11, became: "unchanged", driver: us("driver") });
    await request.item(frames(11, changed(anna.seat_id, seatId)));
    expect((await taking).role).toBe("driver");
    void session.close();
  });

  test("B16 is not over before the seat's own state has it", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session, request } = await looking(peer);
    let over = false;
    const taking = seat.takeDriver().then((taken) => ((over = true), taken));
    (await called(await callers(peer), "take_driver")).answer({ seq: 12, became: "driver", driver: us("driver") });
    await request.item(frames(11, { type: "seat_left", seat_id: anna.seat_id, role: "driver", cause: "detach" }));
    await atSeq(seat, 11);
    expect(over).toBe(false);
    await request.item(frames(12, changed(null, seatId)));
    expect((await taking).role).toBe("driver");
    void session.close();
  });

  test("B15 B16 that overtakes its own seat after a restart is made again when the seat is back", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session, request } = await looking(peer);
    request.peer.drop();
    await until(seat, () => seat.connection === "reconnecting");
    const taking = seat.takeDriver();
    // The stream's and the calls' connection come in whatever order they like.
    const both = [await peer.sockets.next(), await peer.sockets.next()];
    const asked = await Promise.all(both.map((socket) => socket.requests.next()));
    const stream = asked.find(({ verb }) => verb === "attach");
    const early = asked.find(({ verb }) => verb === "take_driver");
    stream?.started();
    early?.refuse("not_attached");
    await stream?.item(resumedAt(10, "viewer"));
    const late = await early?.peer.requests.next();
    expect(late?.verb).toBe("take_driver");
    late?.answer({ seq: 11, became: "driver", driver: us("driver") });
    await stream?.item(frames(11, changed(anna.seat_id, seatId)));
    expect((await taking).role).toBe("driver");
    void session.close();
  });

  test("B1 with a seat that the daemon does not know is refused, once", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session } = await looking(peer);
    const refused = failure(seat.takeDriver());
    const calls = await callers(peer);
    (await called(calls, "take_driver")).refuse("not_attached");
    expect((await refused).code).toBe("not_attached");
    expect(calls.requests.size).toBe(0);
    void session.close();
  });
});

describe("attach", () => {
  test("B14 forces once: who comes back after a lost link throws nobody out", async () => {
    await using peer = await WirePeer.listen();
    const { session } = await attached(peer);
    const attaching = session.attach({ as: "driver", force: true });
    const first = await attach(peer);
    expect(first.input).toMatchObject({ role: "driver", force: true });
    await first.item(snapshotAt(10));
    await attaching;
    first.peer.drop();
    const again = await attach(peer);
    expect(again.input).toMatchObject({ role: "driver", cursor: "1:10" });
    expect("force" in again.input).toBe(false);
    void session.close();
  });

  test("B32 a snapshot in mid-stream replaces the state, and is an event", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session, request } = await attached(peer);
    const events = seat.events[Symbol.asyncIterator]();
    await request.item(frames(11, { type: "queue_released", by }));
    await request.item({ ...snapshotAt(40, { role: "viewer" }), reset: "too_old" } as ReturnType<typeof snapshotAt>);
    await request.item(frames(41, { type: "queue_released", by }));
    await atSeq(seat, 41);
    const taken = await take(events, 4);
    expect(taken.map(seqOf)).toEqual([10, 11, 40, 41]);
    expect(taken[2]).toMatchObject({ type: "snapshot", reset: "too_old" });
    expect([seat.role, seat.cursor, seat.connection]).toEqual(["viewer", "1:41", "live"]);
    void session.close();
  });
});

describe("a call that was done before its link broke", () => {
  test("B16 yield_driver counts as done when the repeat finds another driver; a first one does not", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session, request } = await attached(peer, snapshotAt(10, { state: { seats: [us("driver")] } }));
    const yielding = seat.yieldDriver();
    const again = await sentTwice(peer, "yield_driver");
    await request.item(frames(11, changed(seatId, null)));
    again.refuse("not_driver");
    await yielding;
    await until(seat, () => seat.role === "viewer");
    const refused = failure(seat.yieldDriver());
    (await called(again.peer, "yield_driver")).refuse("not_driver");
    expect((await refused).code).toBe("not_driver");
    void session.close();
  });

  test("B29 forget_rule counts as done when the repeat finds no rule; a first one does not", async () => {
    await using peer = await WirePeer.listen();
    const { session } = await attached(peer);
    const forgetting = session.forgetRule(ruleId);
    const again = await sentTwice(peer, "forget_rule");
    again.refuse("not_found", { what: "rule" });
    await forgetting;
    const refused = failure(session.forgetRule(ruleId));
    (await called(again.peer, "forget_rule")).refuse("not_found", { what: "rule" });
    expect((await refused).code).toBe("not_found");
    void session.close();
  });

  test("B23 edit_prompt counts as done when this seat's own edit is in the stream, and only then", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session, request } = await attached(peer);
    const edit = (text: string): SessionEvent => ({ type: "prompt_edited", prompt_id: promptId, parts: [{ type: "text", text }], by });
    const editing = seat.editPrompt(promptId, "mine");
    const again = await sentTwice(peer, "edit_prompt");
    await request.item(frames(11, edit("mine"), { type: "prompt_delivered", prompt_id: promptId, turn_id: turnId }));
    await atSeq(seat, 12);
    again.refuse("prompt_gone", { outcome: "delivered" });
    expect(await editing).toEqual({ seq: 11 });

    const unseen = failure(seat.editPrompt(promptId, "never arrived"));
    await called(again.peer, "edit_prompt");
    again.peer.drop();
    const repeated = await called(await callers(peer), "edit_prompt");
    await request.item(frames(13, edit("another's")));
    await atSeq(seat, 13);
    repeated.refuse("prompt_gone", { outcome: "delivered" });
    expect((await unseen).code).toBe("prompt_gone");
    void session.close();
  });

  test("B21 add_system_message is not sent twice: the error says that it may have happened", async () => {
    await using peer = await WirePeer.listen();
    const { seat, session } = await attached(peer);
    const adding = failure(seat.addSystemMessage("a note"));
    const calls = await callers(peer);
    const request = await called(calls, "add_system_message");
    expect(request.input).toMatchObject({ session_id: sessionId, text: "a note" });
    calls.drop();
    expect(await adding).toMatchObject({ code: "daemon_unreachable", detail: { verb: "add_system_message" } });
    expect(peer.sockets.size).toBe(0);
    void session.close();
  });
});
