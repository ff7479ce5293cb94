import type { SeatEvent } from "@sessiond/client";
import { describe, expect, test } from "vitest";
import { failure, range, seqOf, take } from "../support/attached-seat.ts";
import { seededChance } from "../support/chance.ts";
import { FoldedSeat, type AskedPage } from "../support/folded-seat.ts";
import { chunks } from "../support/wire-peer.ts";

/** A reader whose queue of four is taken, and who is missing 14 to 30. */
async function behind(): Promise<{ seat: FoldedSeat; next: Promise<IteratorResult<SeatEvent, undefined>>; page: AskedPage }> {
  const seat = new FoldedSeat(10, 4);
  seat.fold(30);
  expect((await take(seat.events, 4)).map(seqOf)).toEqual(range(10, 13));
  const next = seat.events.next();
  const page = await seat.pages.next();
  expect(page.after).toBe(13);
  return { seat, next, page };
}

const seqsOf = async (first: Promise<IteratorResult<SeatEvent, undefined>>, seat: FoldedSeat, count: number): Promise<number[]> => {
  const { value } = await first;
  return [...(value ? [seqOf(value)] : []), ...(await take(seat.events, count - 1)).map(seqOf)];
};

describe("a reader that fell behind", () => {
  test("B31 reads what it missed by pages until they meet the stream, then follows it again", async () => {
    const { seat, next, page } = await behind();
    page.give(chunks(14, 20));
    expect(await seqsOf(next, seat, 7)).toEqual(range(14, 20));
    const more = seat.events.next();
    const second = await seat.pages.next();
    expect(second.after).toBe(20);
    // The stream goes on while the page is under way.
    seat.fold(32);
    second.give(chunks(21, 32));
    expect(await seqsOf(more, seat, 12)).toEqual(range(21, 32));
    seat.fold(34);
    expect((await take(seat.events, 2)).map(seqOf)).toEqual([33, 34]);
    expect(seat.pages.size).toBe(0);
  });

  test("B31 gets a frame once that the page had before the stream brought it, and never before its seat's state has it", async () => {
    const { seat, next, page } = await behind();
    page.give(chunks(14, 40));
    expect(await seqsOf(next, seat, 17)).toEqual(range(14, 30));
    const more = seat.events.next();
    seat.fold(42);
    expect(await seqsOf(more, seat, 4)).toEqual(range(31, 34));
  });

  test("B31 that asked for several at once gets each once, in order, from one page", async () => {
    const { seat, next, page } = await behind();
    const others = [seat.events.next(), seat.events.next()];
    page.give(chunks(14, 30));
    const taken = await Promise.all([next, ...others]);
    expect(taken.map(({ value }) => value && seqOf(value))).toEqual([14, 15, 16]);
    expect(seat.pages.size).toBe(0);
  });

  test("B32 learns of a reset at once, and a page of the log before it is not for it", async () => {
    const { seat, next, page } = await behind();
    seat.reset(20);
    page.give(chunks(14, 30));
    seat.fold(21);
    const { value } = await next;
    expect(value).toMatchObject({ type: "snapshot", reset: "unknown_epoch", state: { seq: 20 } });
    expect((await take(seat.events, 1)).map(seqOf)).toEqual([21]);
  });

  test("B32 with resets in its full queue keeps the newest only", async () => {
    const seat = new FoldedSeat(10, 4);
    seat.fold(30);
    for (const seq of [40, 50, 60]) seat.reset(seq);
    expect((await take(seat.events, 5)).map(seqOf)).toEqual([10, 11, 12, 13, 60]);
    seat.fold(61);
    expect((await take(seat.events, 1)).map(seqOf)).toEqual([61]);
  });

  test("B47 is told by a snapshot when what it missed is kept merged alone, and reads pages again where they are whole", async () => {
    const { seat, next, page } = await behind();
    page.give(chunks(14, 30), 20);
    expect(await next).toMatchObject({ value: { type: "snapshot", reset: "too_old", state: { seq: 30 } } });
    seat.fold(31);
    expect((await take(seat.events, 1)).map(seqOf)).toEqual([31]);
    const whole = await behind();
    whole.page.give(chunks(14, 30), 13);
    expect(await seqsOf(whole.next, whole.seat, 17)).toEqual(range(14, 30));
  });

  test("B32 is told by a snapshot when what it missed is not kept", async () => {
    const { seat, next, page } = await behind();
    page.give(chunks(20, 30));
    expect((await next).value).toMatchObject({ type: "snapshot", reset: "too_old", state: { seq: 30 } });
    seat.fold(31);
    expect((await take(seat.events, 1)).map(seqOf)).toEqual([31]);
  });

  test.each([
    ["session_stopped", undefined],
    [null, undefined],
    ["moved", "moved"],
    ["token_ended", "token_ended"],
  ] as const)("B31 B35 of a seat that ended with %s gets the rest of its life first", async (code, thrown) => {
    const { seat, next, page } = await behind();
    seat.finish(code);
    page.give(chunks(14, 30));
    expect(await seqsOf(next, seat, 17)).toEqual(range(14, 30));
    if (thrown === undefined) expect(await seat.events.next()).toEqual({ done: true, value: undefined });
    else expect((await failure(seat.events.next())).code).toBe(thrown);
    expect(await seat.events.next()).toEqual({ done: true, value: undefined });
  });

  test.each([
    ["the token has ended", "token_ended", "unauthenticated", "token_ended"],
    ["the page is refused while the seat lives", undefined, "unauthenticated", "unauthenticated"],
    ["the last frames of a stopped session cannot be read", "session_stopped", "storage_failed", "storage_failed"],
  ] as const)("B32 is told, never silently cut short, when %s", async (_, end, refusal, thrown) => {
    const { seat, next, page } = await behind();
    if (end !== undefined) seat.finish(end);
    page.refuse(refusal);
    expect((await failure(next)).code).toBe(thrown);
  });

  test("that left its seat, and closed what it would read by, is at the end", async () => {
    const { seat, next, page } = await behind();
    seat.finish(null);
    page.refuse("daemon_unreachable");
    expect(await next).toEqual({ done: true, value: undefined });
  });

  test("asks again for a page that cannot be had now, while its seat lives", async () => {
    const { seat, next, page } = await behind();
    page.refuse("timeout");
    const second = await seat.pages.next();
    second.refuse("storage_failed");
    const third = await seat.pages.next();
    expect([second.after, third.after]).toEqual([13, 13]);
    third.give(chunks(14, 30));
    expect(await seqsOf(next, seat, 17)).toEqual(range(14, 30));
  });

  test("that goes while a page is under way waits for nothing, and makes room for the next", async () => {
    const { seat, next, page } = await behind();
    await seat.events.return?.();
    expect(await next).toEqual({ done: true, value: undefined });
    expect(page.signal?.aborted).toBe(true);
  });
});

test("B31 in whatever order frames, pages, resets and reads come, a reader has the state and each frame after it once", async () => {
  for (let seed = 1; seed <= 200; seed++) {
    const chance = seededChance(seed);
    const some = (below: number): number => Math.floor(chance.upTo(below));
    const seat = new FoldedSeat(10, 1 + some(6));
    const reads: Promise<IteratorResult<SeatEvent, undefined>>[] = [];
    // The page may be ahead of the stream, as the calls' connection is.
    const answer = async (): Promise<void> => {
      const { after, give } = await seat.pages.next();
      give(chunks(after + 1, Math.min(after + 1 + some(8), seat.state.seq + some(4))));
    };
    for (let step = 0; step < 60; step++) {
      const what = some(10);
      if (what < 4) seat.fold(seat.state.seq + 1 + some(5));
      else if (what < 8) reads.push(seat.events.next());
      else if (what < 9 && seat.pages.size > 0) await answer();
      else if (some(6) === 0) seat.reset(Math.max(1, seat.state.seq - 5 + some(20)));
      for (let turns = some(4); turns > 0; turns--) await Promise.resolve();
    }
    // Everything is read to the end.
    let reading = true;
    const all = (async () => {
      const taken = await Promise.all(reads);
      for (;;) {
        const { value } = taken.at(-1) ?? {};
        if (value !== undefined && seqOf(value) === seat.state.seq) break;
        taken.push(await seat.events.next());
      }
      return taken;
    })().finally(() => (reading = false));
    while (reading) {
      if (seat.pages.size > 0) await answer();
      // A last frame, for reads that were asked for beyond what there was.
      else if (reads.length > 0) seat.fold(seat.state.seq + 1);
      await new Promise((resolve) => setImmediate(resolve));
    }
    let last = -1;
    for (const { value } of await all) {
      if (value === undefined) throw new Error("it ended");
      if (value.type === "frame" && value.frame.seq !== last + 1) throw new Error(`seed ${seed}: ${value.frame.seq} after ${last}`);
      last = seqOf(value);
    }
    expect(last).toBe(seat.state.seq);
  }
});
