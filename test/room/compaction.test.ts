import { queryObjects } from "node:v8";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { emptyState, limits, reduce, type Frame, type SessionState, wordsOf } from "@sessiond/shared";
import { Transcript } from "../../packages/daemon/src/agents/transcript.ts";
import { Compaction, resultOf, rewriteCompacted } from "../../packages/daemon/src/room/compaction.ts";
import { legalFrames } from "../support/legal-frames.ts";
import { endLogs, LogRig, pages, tempDirectory } from "../support/log-rig.ts";
import { PowerCutDisk, restore } from "../support/power-cut-disk.ts";
import type { ScriptedTurn } from "../support/scripted-agent.ts";
import { endRigs, Rig } from "../support/session-rig.ts";
import { StepwiseDisk, type Failure } from "../support/stepwise-disk.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** What compaction leaves of a journal, when it runs, and what it never costs anybody. */
afterEach(async () => {
  await endLogs();
  await endRigs();
});

const turn = `trn_${"T".repeat(22)}`;
const seqsOf = (frames: readonly { readonly seq: number }[]): number[] => frames.map((frame) => frame.seq);
const isPresence = ({ event }: Frame): boolean => /^(seat_|driver_)/.test(event.type);

function compacted(frames: readonly Frame[], charsMax = limits.merged_chunk_chars_max): string[] {
  const compaction = new Compaction(new Set(frames.map(resultOf).filter((call) => call !== null)), charsMax);
  return [...frames.flatMap((frame) => compaction.take(frame, JSON.stringify(frame))), ...compaction.end()];
}
const parsed = (lines: readonly string[]): Frame[] => lines.map((line) => JSON.parse(line) as Frame);

function conversation(frames: readonly Frame[]): Transcript["entries"] {
  const transcript = new Transcript();
  for (const frame of frames) transcript.fold(frame.event);
  return transcript.entries;
}

const fold = (frames: readonly Frame[]): SessionState => frames.reduce(reduce, emptyState(`ses_${"0".repeat(22)}`));
/** What of a state's messages does not hang on where a text that is too long was cut. */
const said = (state: SessionState) =>
  state.messages.map(({ seq: _seq, cut_chars, text, ...rest }) => ({ ...rest, chars: cut_chars + text.length, end: text.slice(-1_000) }));

/** A log whose oldest segments are compacted, and the same frames where nothing is. */
async function compactedLog(options: Parameters<typeof LogRig.open>[0] = {}): Promise<LogRig> {
  const rig = await LogRig.open({ ...options, limits: { window_frames_max: 1, ...options.limits } });
  await rig.begin();
  for (let n = 0; n < 3; n++) await rig.visit(`visitor${n}`);
  await rig.turnsUntil(7);
  await rig.log.idle();
  return rig;
}

test("B33 compaction holds nothing of the snapshot at the head of the segment that it goes through", async () => {
  const [directory, disk] = [await tempDirectory(), new TrappedDisk()];
  const snapshot = Array.from({ length: 100_000 }, (_, n) => ({ n }));
  const head = JSON.stringify({ after: 1, at: 1, epochs: [{ epoch: 1, after: 0 }], snapshot: { parts: snapshot } });
  snapshot.length = 0;
  const frames = [2, 3].map((seq) => JSON.stringify({ seq, at: 1, event: { type: "system_message", text: "a note", by: { label: "editor" } } }));
  await writeFile(join(directory, "journal-1"), `${[head, ...frames].join("\n")}\n`);
  const objects = (): number => queryObjects(Object, { format: "count" });
  const before = objects();
  const held = disk.hold("write", "journal-1.compact");
  const rewriting = rewriteCompacted(1, { disk, directory, now: 1, charsMax: 1_000, signal: new AbortController().signal });
  await held.reached;
  expect(objects() - before).toBeLessThan(50_000);
  held.release();
  await expect(rewriting).resolves.toMatchObject({ end: expect.any(Number) });
});

test("B47 compaction leaves what a tool has printed that has no result yet, and drops it where the result says it all", () => {
  const chunk = (seq: number, text: string): Frame => ({
    seq,
    at: 1,
    event: { type: "tool_call_chunk", turn_id: turn, tool_call_id: "c1", content: { type: "text", text } },
  });
  const result: Frame = { seq: 4, at: 1, event: { type: "tool_call_update", turn_id: turn, tool_call_id: "c1", status: "completed", result: "one two" } };
  const printed = [chunk(2, "one "), chunk(3, "two")];
  expect(parsed(compacted(printed))).toEqual([chunk(3, "one two")]);
  expect(parsed(compacted([...printed, result]))).toEqual([result]);
});

test("B47 compaction leaves the same conversation, whatever was said: the same transcript, the same messages, and seqs that were there", () => {
  fc.assert(
    fc.property(legalFrames(300), fc.nat(), (frames, where) => {
      const cut = where % (frames.length + 1);
      const left = parsed(compacted(frames.slice(0, cut)));
      const all = [...left, ...frames.slice(cut)];
      expect(conversation(all)).toEqual(conversation(frames));
      expect(said(fold(all))).toEqual(said(fold(frames)));
      const seqs = new Set(seqsOf(frames));
      expect(left.every(({ seq }) => seqs.has(seq))).toBe(true);
      expect(seqsOf(all)).toEqual(seqsOf(all).toSorted((a, b) => a - b));
      expect(left.some(isPresence)).toBe(false);
      // A second time there is nothing left to do.
      expect(compacted(left)).toEqual(left.map((frame) => JSON.stringify(frame)));
    }),
    { numRuns: 60, endOnFailure: true },
  );
});

test("B47 chunks of one message become one frame, under the seq and time of the last; it is bounded, and other frames keep their bytes", () => {
  const chunk = (seq: number, text: string, message_id = "m"): Frame => ({
    seq,
    at: 1_000 + seq,
    event: { type: "agent_message_chunk", turn_id: `trn_${"0".repeat(22)}`, message_id, content: { type: "text", text } },
  });
  const seat: Frame = { seq: 3, at: 1_003, event: { type: "seat_resumed", seat_id: `seat_${"0".repeat(22)}` } };
  const notice: Frame = { seq: 7, at: 1_007, event: { type: "notice", code: "journal_cut", text: "n" } };
  const frames = [chunk(1, "a"), chunk(2, "b"), seat, chunk(4, "c"), chunk(5, "other", "m2"), chunk(6, "more", "m2"), notice];
  expect(compacted(frames)).toEqual([chunk(4, "abc"), chunk(6, "othermore", "m2"), notice].map((frame) => JSON.stringify(frame)));
  expect(
    parsed(
      compacted(
        [1, 2, 3, 4, 5].map((seq) => chunk(seq, "x".repeat(30))),
        70,
      ),
    ),
  ).toEqual([chunk(2, "x".repeat(60)), chunk(4, "x".repeat(60)), chunk(5, "x".repeat(30))]);
});

test("B47 seqs are kept: pages through a compacted journal, both ways, give the same frames, ascending, from the first to the newest, and say how far it is compacted", async () => {
  const rig = await compactedLog();
  const { room } = rig.log;
  const names = await rig.segments();
  // The newest two sealed ones and the one that is written to are as they were.
  expect(room.compactedThrough).toBe(Number(names.at(-3)?.slice(8)));
  const frames = await rig.frames();
  expect((await pages(rig.log)).flat()).toEqual(seqsOf(frames));
  expect((await pages(rig.log, { backwards: true })).flat()).toEqual(seqsOf(frames));
  expect((await pages(rig.log, { backwards: true, count: 1 })).flat()).toEqual(seqsOf(frames));
  expect(frames[0]).toEqual(rig.applied[0]);
  const kept = new Map(rig.applied.map((frame) => [frame.seq, frame]));
  for (const { seq, at, event } of frames) expect(kept.get(seq)).toMatchObject({ at, event: { type: event.type } });
  expect(frames.filter(({ seq }) => seq > room.compactedThrough)).toEqual(rig.applied.filter(({ seq }) => seq > room.compactedThrough));
  expect(frames.filter(({ seq }) => seq <= room.compactedThrough).some(isPresence)).toBe(false);
  expect(conversation(frames)).toEqual(conversation(rig.applied));
});

test("B11 B47 the whole conversation is there after compaction and another start, and the state as it was", async () => {
  const rig = await compactedLog();
  expect((await rig.log.transcript()).entries).toEqual(conversation(rig.applied));
  const woken = await rig.again();
  expect(woken.log.room.compactedThrough).toBe(rig.log.room.compactedThrough);
  expect(woken.log.shown).toEqual(rig.log.shown);
  expect((await woken.log.transcript()).entries).toEqual(conversation(rig.applied));
  await rm(woken.directory, { recursive: true });
});

test("B12 B38 where every header behind the compacted part is lost, its segments are kept aside, and the session goes on behind it with no seq given twice", async () => {
  const rig = await compactedLog();
  const lost = rig.log.room.cursor(rig.log.room.head);
  const through = rig.log.room.compactedThrough;
  await rig.log.close();
  const names = (await rig.segments()).slice(-3);
  for (const name of names) {
    const path = join(rig.directory, name);
    await writeFile(path, `?${(await readFile(path, "utf8")).slice(1)}`);
  }
  const woken = await rig.again();
  expect(woken.damage).toBe("malformed");
  expect(woken.aside).toHaveLength(3);
  // Seqs of what is lost were shown: none of them comes again.
  expect(woken.log.room.head).toBe(Number(names.at(-1)?.slice(8)));
  expect(woken.log.room.judge(lost)).not.toBeNull();
  expect((await woken.log.transcript()).entries).toEqual(conversation(rig.applied.filter(({ seq }) => seq <= through)));
  const before = await woken.frames();
  await woken.turn("goes on");
  const again = await woken.again();
  expect(again.log.shown).toEqual(woken.log.shown);
  expect((await pages(again.log, { backwards: true })).flat()).toEqual(seqsOf([...before, ...woken.applied]));
});

test("B31 B33 who reads a stopped session while its next life compacts what lies before him is told so, and is given no text twice", async () => {
  const rig = await LogRig.open({ limits: { segments_kept: 100, window_frames_max: 1 } });
  await rig.begin();
  await rig.turnsUntil(6);
  await rig.log.close();
  const reading = await rig.reading();
  expect(seqsOf(await reading.room.page(0, 3, 10_000))).toEqual([1, 2, 3]);
  const next = await rig.again({ limits: { segments_kept: 2 } });
  await next.log.idle();
  // What it has open is as it was; what it would open now is another.
  expect(seqsOf(await reading.room.page(3, 3, 10_000))).toEqual([4, 5, 6]);
  await expect(pages(reading)).rejects.toMatchObject({ code: "storage_failed", detail: { reason: "the journal was compacted meanwhile" } });
  await reading.close();
});

test("B32 a cursor into the compacted range is too_old; at its end and behind it they are served", async () => {
  const rig = await compactedLog();
  const { room } = rig.log;
  const end = room.compactedThrough;
  const judged = [0, 1, end - 1, end, end + 1, room.head, room.head + 1].map((seq) => room.judge(`1:${seq}`));
  expect(judged).toEqual(["too_old", "too_old", "too_old", null, null, null, "beyond_end"]);
  const woken = await rig.again();
  expect([end - 1, end].map((seq) => woken.log.room.judge(`1:${seq}`))).toEqual(["too_old", null]);
});

test("B33 a live reader who is far behind loses nothing: compaction waits for him, and goes on when he has passed", async () => {
  const rig = await LogRig.open({ limits: { window_frames_max: 1, batch_frames_max: 5 } });
  await rig.begin();
  await rig.turn("first");
  const { room } = rig.log;
  const standing = room.stand(1);
  const gone = new AbortController();
  const batches = room.read(standing, gone.signal);
  const seen = (await batches.next()).value?.frames.parsed() ?? [];
  for (let n = 0; n < 12; n++) await rig.turn(n);
  expect(room.compactedThrough).toBe(0);
  while (seen.at(-1)?.seq !== room.head) seen.push(...((await batches.next()).value?.frames.parsed() ?? []));
  expect(seen).toEqual(rig.applied.slice(1));
  await rig.log.idle();
  expect(room.compactedThrough).toBeGreaterThan(0);
  gone.abort();
  await batches.return(undefined);
  room.leave(standing);
});

test("B33 a reader who comes with a cursor that is still good, while that segment is being compacted, gets every frame", async () => {
  const disk = new TrappedDisk();
  const rig = await LogRig.open({ disk, limits: { window_frames_max: 1 } });
  await rig.begin();
  const hold = disk.hold("sync", "journal.compact");
  await rig.turnsUntilHeld(hold.reached);
  const { room } = rig.log;
  expect(room.judge("1:3")).toBeNull();
  const standing = room.stand(3);
  hold.release();
  // Long enough for a compaction that does not wait.
  for (let n = 0; n < 4; n++) await rig.turn(`between${n}`);
  const gone = new AbortController();
  const seen: Frame[] = [];
  for await (const batch of room.read(standing, gone.signal)) {
    seen.push(...batch.frames.parsed());
    if (seen.at(-1)?.seq === room.head) gone.abort();
  }
  expect(seen).toEqual(rig.applied.slice(3));
  room.leave(standing);
  await rig.log.idle();
  expect(room.judge("1:3")).toBe("too_old");
});

test("B24 B47 compaction holds up nobody: while its disk is stuck, the session writes, rolls and reads; closing ends it", async () => {
  const disk = new TrappedDisk();
  const rig = await LogRig.open({ disk });
  await rig.begin();
  const hold = disk.hold("write", ".compact");
  await rig.turnsUntilHeld(hold.reached);
  const before = (await rig.segments()).length;
  for (let n = 0; n < 8; n++) await rig.turn(`meanwhile${n}`);
  expect((await rig.segments()).length).toBeGreaterThan(before);
  expect((await pages(rig.log)).flat()).toEqual(seqsOf(rig.applied));
  const closed = rig.log.close();
  hold.release();
  await closed;
  expect((await readdir(rig.directory)).filter((name) => name.endsWith(".compact"))).toEqual([]);
  expect(rig.reported).toEqual([]);
  // What was not done is caught up on after the next start, without a further segment.
  const woken = await rig.again();
  await woken.log.idle();
  expect(woken.log.room.compactedThrough).toBe(Number((await woken.segments()).at(-3)?.slice(8)));
});

test("B38 B47 a full disk fails the compaction and nothing else: it is reported, all is as before, and it is tried again with the next segment", async () => {
  const disk = new TrappedDisk();
  const rig = await LogRig.open({ disk });
  await rig.begin();
  const failed = disk.fail("write", ".compact", { code: "ENOSPC", times: 1_000 });
  await rig.turnsUntilHeld(failed);
  await rig.log.idle();
  disk.mend();
  const { length: failures } = rig.reported;
  expect(rig.reported[0]).toMatchObject({ code: "storage_failed", detail: { reason: expect.stringContaining("ENOSPC") } });
  expect(rig.log.room.fault).toBeUndefined();
  expect(rig.log.room.compactedThrough).toBe(0);
  expect(await rig.frames()).toEqual(rig.applied);
  expect((await readdir(rig.directory)).filter((name) => name.endsWith(".compact"))).toEqual([]);
  await rig.turnsUntil((await rig.segments()).length + 1, "next");
  await rig.log.idle();
  expect(rig.log.room.compactedThrough).toBe(Number((await rig.segments()).at(-3)?.slice(8)));
  expect(rig.reported).toHaveLength(failures);
});

test("B38 B47 a sealed segment with a bad line is left as it is and reported; those behind it are compacted", async () => {
  const rig = await LogRig.open({ limits: { segments_kept: 100 } });
  await rig.begin();
  await rig.turnsUntil(6);
  const [, name = ""] = await rig.segments();
  await rig.log.close();
  const path = join(rig.directory, name);
  const damaged = (await readFile(path, "utf8")).replace('\n{"seq":', "\n{?seq?:");
  await writeFile(path, damaged);
  const woken = await rig.again({ limits: { segments_kept: 2 } });
  await woken.log.idle();
  expect(await readFile(path, "utf8")).toBe(damaged);
  expect(woken.reported).toHaveLength(1);
  expect(woken.log.room.compactedThrough).toBe(Number((await woken.segments()).at(-3)?.slice(8)));
});

for (const how of ["once, before", "once, after", "from then on"] as const satisfies Failure[]) {
  test(`B36 B47 a step of a compaction that fails (${how}), or a crash there, leaves each segment whole, in the one form or the other`, async () => {
    const plain = await LogRig.open({ limits: { segments_kept: 100 } });
    await plain.begin();
    await plain.turnsUntil(5);
    await plain.log.close();
    for (let step = 1; ; step++) {
      const disk = new StepwiseDisk();
      const rig = await LogRig.open({ directory: await plain.copy(), disk, limits: { segments_kept: 100 } });
      await rig.log.close();
      // Nothing but compaction from here on: it begins when the log is open.
      const compacting = await rig.again({ disk, limits: { segments_kept: 2 } });
      disk.arm(step, how);
      await compacting.log.idle();
      const [failed, copy] = [disk.failed, await compacting.copy()];
      disk.disarm();
      for (const each of [compacting, await LogRig.open({ directory: copy, limits: { segments_kept: 2 } })]) {
        expect(each.log.room.fault).toBeUndefined();
        expect(conversation(await each.frames())).toEqual(conversation(plain.applied));
        expect((await pages(each.log)).flat()).toEqual(seqsOf(await each.frames()));
        await each.turn("goes on");
        await each.turnsUntil((await each.segments()).length + 1, "more");
        await each.log.idle();
        expect(each.log.room.compactedThrough).toBe(Number((await each.segments()).at(-3)?.slice(8)));
        expect((await readdir(each.directory)).filter((name) => name.endsWith(".compact"))).toEqual([]);
        await each.log.close();
      }
      if (failed === null) {
        expect(step).toBeGreaterThan(6);
        break;
      }
    }
  });
}

test("B36 B47 a power cut at any step of a compaction leaves the whole conversation: what replaces a segment is synced before it takes its name", async () => {
  const disk = new PowerCutDisk();
  const rig = await LogRig.open({ disk });
  await rig.begin();
  const done: { after: number; seq: number }[] = [];
  for (let n = 0; n < 9; n++) done.push({ seq: await rig.turn(n), after: disk.left.length });
  await rig.log.idle();
  expect(rig.log.room.compactedThrough).toBeGreaterThan(0);
  for (const [index, left] of disk.left.entries()) {
    const directory = await tempDirectory();
    await mkdir(directory, { recursive: true });
    await restore(left, directory);
    const woken = await LogRig.open({ directory });
    const least = Math.max(0, ...done.filter(({ after }) => after <= index).map(({ seq }) => seq));
    const { seq } = woken.log.shown.state;
    expect(seq, `step ${left.step}, ${left.what}`).toBeGreaterThanOrEqual(least);
    expect(conversation(await woken.frames())).toEqual(conversation(rig.applied.filter((frame) => frame.seq <= seq)));
    expect(woken.aside).toEqual([]);
    await woken.log.close();
  }
});

/** What a conversation weighs by itself: its lines without presence, the chunks of one text as one. */
const ownBytes = (frames: readonly Frame[]): number => {
  const compaction = new Compaction(new Set(), Number.POSITIVE_INFINITY);
  const lines = [...frames.flatMap((frame) => compaction.take(frame, JSON.stringify(frame))), ...compaction.end()];
  return lines.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0);
};

/** The real limits in small: segments, and what a snapshot and a merged chunk may be; the fixed part with them. */
const scale = 64;
const inSmall = Object.fromEntries(
  (["segment_bytes_max", "snapshot_bytes_max", "merged_chunk_chars_max"] as const).map((name) => [name, Math.floor(limits[name] / scale)]),
);
const fixed = 64_000_000 / scale;

for (const [kind, heavy, work] of [
  ["many small chunks", true, (rig: LogRig, n: number) => rig.turn(n, { chunks: 60, chunkChars: 3, output: 0, patient: true })],
  ["much coming and going", true, (rig: LogRig, n: number) => (n % 5 === 0 ? rig.turn(n) : rig.visit(n, 60))],
  ["much output of tools", true, (rig: LogRig, n: number) => rig.turn(n, { chunks: 2, chunkChars: 4, output: 60 })],
  ["few large pieces", false, (rig: LogRig, n: number) => rig.turn(n, { chunks: 3, chunkChars: 400, output: 0 })],
] as const) {
  test(`B47 disk is at most 1.3 times the conversation's own bytes and a fixed part, with ${kind}`, async () => {
    const rig = await LogRig.open({ limits: inSmall });
    await rig.begin();
    let written = 0;
    let counted = 0;
    let most = 0;
    for (let n = 0; written < 2 * fixed; n++) {
      await work(rig, n);
      for (const frame of rig.applied.slice(counted)) written += Buffer.byteLength(JSON.stringify(frame)) + 1;
      counted = rig.applied.length;
      if (n % 40 > 0 && written < 2 * fixed) continue;
      await rig.log.idle();
      const [disk, own] = [await rig.bytesOnDisk(), ownBytes(rig.applied)];
      most = Math.max(most, disk - 1.3 * own);
      expect(disk, `own ${own}`).toBeLessThanOrEqual(1.3 * own + fixed);
    }
    const own = ownBytes(rig.applied);
    console.log(
      `${kind}: ${written} bytes written, ${await rig.bytesOnDisk()} on disk, ${own} own; at most ${Math.round(most)} of ${Math.round(fixed)} beyond 1.3 times that`,
    );
    // The limit is not merely wide: without compaction it would not hold.
    if (heavy) expect(written).toBeGreaterThan(1.3 * own + fixed);
  });
}

test("B11 B32 B47 over the verbs: an old cursor gets a reset with a snapshot, the transcript is paged from its newest frame to its first, also of a stopped session and after a crash", async () => {
  const rig = await Rig.start({ limits: { segment_bytes_max: 4_096, window_frames_max: 20 }, script: { auto: (turn) => void talk(turn) } });
  const driver = await rig.driver();
  for (let count = 1; count <= 12; count++) {
    await driver.prompt(`prompt ${count}`);
    await driver.event("turn_ended", count);
  }
  await rig.daemon.host.awake[0]?.log.idle();
  const transcript = async (of: Rig) => {
    const frames: Frame[] = [];
    for (let before = Number.MAX_SAFE_INTEGER; ;) {
      const page = await of.daemon.call("session_data", { session_id: of.sessionId, before, limit: 9 }, { token: of.token });
      frames.unshift(...page.frames);
      if (!page.more) return { frames, compacted_through: page.compacted_through };
      before = page.frames[0]?.seq ?? 0;
    }
  };
  const live = await transcript(rig);
  expect(live.compacted_through).toBeGreaterThan(0);
  expect(live.frames[0]).toMatchObject({ seq: 1, event: { type: "session_started" } });
  const answers = Array.from({ length: 12 }, (_, index) => [`prompt ${index + 1}`, "one two three "]).flat();
  const texts = (frames: readonly Frame[]) => conversation(frames).map((entry) => (entry.type === "user" ? wordsOf(entry.parts) : entry.text));
  expect(texts(live.frames)).toEqual(answers);
  expect((await rig.attach("old", { cursor: "1:3" })).first).toMatchObject({ type: "snapshot", reset: "too_old" });
  expect((await rig.attach("newer", { cursor: `1:${live.compacted_through}` })).first).toMatchObject({ type: "resumed" });
  const crashed = await rig.crash();
  expect(texts((await transcript(crashed)).frames)).toEqual(answers);
  await rig.stop();
  const stopped = await transcript(rig);
  expect(stopped.compacted_through).toBeGreaterThanOrEqual(live.compacted_through);
  expect(texts(stopped.frames)).toEqual(answers);
  expect(rig.daemon.bugs).toEqual([]);
});

async function talk(turn: ScriptedTurn): Promise<void> {
  for (const word of ["one ", "two ", "three "]) await turn.say(word);
  turn.end();
}
