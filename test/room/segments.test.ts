import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import type { Frame } from "@sessiond/shared";
import { decide, nothingDecided, type Decided } from "../../packages/daemon/src/session/decided.ts";
import { fromSnapshot, snapshotOf } from "../../packages/daemon/src/session/decided-snapshot.ts";
import { legalFrames } from "../support/legal-frames.ts";
import { endLogs, LogRig, pages, tempDirectory } from "../support/log-rig.ts";
import { PowerCutDisk, restore } from "../support/power-cut-disk.ts";
import { StepwiseDisk, type Failure } from "../support/stepwise-disk.ts";

/** A journal as a row of segments: rolling, waking, reading, damage. */
afterEach(endLogs);

/** Nothing is compacted. */
const whole = { segments_kept: 1_000 };
const seqsOf = (frames: readonly { readonly seq: number }[]): number[] => frames.map((frame) => frame.seq);
/** A turn of few writes. */
const few = { chunks: 1, output: 1, chunkChars: 900 };
const upTo = (seq: number): number[] => Array.from({ length: seq }, (_, index) => index + 1);

/** A log with some segments, and what was applied to it. */
async function long(segments: number, options: Parameters<typeof LogRig.open>[0] = {}): Promise<LogRig> {
  const rig = await LogRig.open(options);
  await rig.begin();
  await rig.turnsUntil(segments);
  return rig;
}

test("B11 B13 waking a session reads its tail, however long its history: the newest segment, and no frame twice", async () => {
  const rig = await long(20, { limits: { segment_bytes_max: 30_000 } });
  const { shown } = rig.log;
  const bytes = await rig.bytesOnDisk();
  const woken = await rig.again();
  expect(woken.log.shown).toEqual(shown);
  const newest = (await readFile(join(rig.directory, (await rig.segments()).at(-1) ?? ""))).length;
  // The header is read once to choose the segment, and a few bytes of those before it.
  expect(woken.counters.journalReadBytes).toBeLessThan(2 * newest + 1_024);
  expect(woken.counters.journalReadBytes).toBeLessThan(bytes / 3);
  expect(woken.counters.framesDecoded).toBeLessThanOrEqual(rig.applied.length - Number((await rig.segments()).at(-1)?.slice(8)));
});

test("B11 a stopped session's log is read in the same way, and nothing is written", async () => {
  const rig = await long(6);
  await rig.log.close();
  const before = await Promise.all((await readdir(rig.directory)).map((name) => readFile(join(rig.directory, name), "utf8")));
  const read = await rig.reading();
  expect(read.shown).toEqual(rig.log.shown);
  expect((await pages(read, { backwards: true })).flat().at(0)).toBe(1);
  await read.close();
  expect(await Promise.all((await readdir(rig.directory)).map((name) => readFile(join(rig.directory, name), "utf8")))).toEqual(before);
});

test("B30 seqs go on from segment to segment, and pages of any size, both ways, give every frame once and in order", async () => {
  const rig = await long(7, { limits: { ...whole, window_frames_max: 1 } });
  const woken = await rig.again();
  const all = upTo(woken.log.room.head);
  expect(seqsOf(await rig.frames())).toEqual(all);
  for (const [count, bytes] of [
    [1, 10],
    [3, 1_000_000],
    [7, 900],
    [512, 524_288],
  ] as const) {
    expect((await pages(woken.log, { count, bytes })).flat()).toEqual(all);
    expect((await pages(woken.log, { count, bytes, backwards: true })).flat()).toEqual(all);
  }
  // From anywhere, in any order: a few segments are open at a time.
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: all.length }), fc.boolean(), async (at, backwards) => {
      const page = await (backwards ? woken.log.room.pageBefore(at, 5, 100_000) : woken.log.room.page(at, 5, 100_000));
      const expected = backwards ? all.slice(Math.max(0, at - 1 - page.length), Math.max(0, at - 1)) : all.slice(at, at + page.length);
      expect(seqsOf(page)).toEqual(expected);
      expect(page.length).toBeGreaterThanOrEqual(Math.min(1, backwards ? at - 1 : all.length - at));
      expect(page.length).toBeLessThanOrEqual(5);
    }),
    { numRuns: 200 },
  );
});

test("B31 what a snapshot and the frames behind it fold to is what all frames fold to, after a way through JSON", () => {
  const sessionId = `ses_${"0".repeat(22)}`;
  const json = (decided: Decided): unknown => JSON.parse(JSON.stringify(snapshotOf(decided, 1)));
  fc.assert(
    fc.property(legalFrames(200), fc.nat(), (frames, where) => {
      const cut = where % (frames.length + 1);
      const before = frames.slice(0, cut).reduce(decide, nothingDecided(sessionId));
      const restored = fromSnapshot(json(before), { sessionId, seq: before.state.seq });
      expect(restored).not.toBeNull();
      const after = frames.slice(cut).reduce(decide, restored?.decided ?? nothingDecided(sessionId));
      expect(json(after)).toEqual(json(frames.reduce(decide, nothingDecided(sessionId))));
    }),
    { numRuns: 100, endOnFailure: true },
  );
});

test("B11 a snapshot that another build wrote is not guessed at: the frames are folded, and nothing is lost", async () => {
  const rig = await long(6, { limits: whole });
  await rig.log.close();
  const names = await rig.segments();
  for (const name of names.slice(1)) {
    const path = join(rig.directory, name);
    await writeFile(path, (await readFile(path, "utf8")).replace('"starred":false', '"starred":"no"'));
  }
  const woken = await rig.again();
  expect(woken.log.shown).toEqual(rig.log.shown);
  expect(woken.aside).toEqual([]);
  expect(woken.damage).toBe("none");
});

for (const how of ["once, before", "once, after", "from then on"] as const satisfies Failure[]) {
  test(`B36 B38 a step of a roll that fails (${how}) loses nothing: the session says so, opens again, and a crash at that moment finds all that was acknowledged`, async () => {
    for (let step = 1; ; step++) {
      const disk = new StepwiseDisk();
      const rig = await LogRig.open({ disk, limits: whole });
      await rig.begin();
      await rig.turn("a", few);
      const acknowledged: number[] = [];
      disk.arm(step, how);
      // Enough for two rolls.
      for (let n = 0; n < 5 && rig.log.room.fault === undefined; n++) {
        try {
          acknowledged.push(await rig.turn(n, few));
        } catch {
          // The turn's last frame, or one in the middle, was not acknowledged.
        }
      }
      const shown = rig.log.shown;
      const [failed, copy] = [disk.failed, await rig.copy()];
      disk.disarm();
      if (failed === null) {
        expect(step).toBeGreaterThan(5);
        break;
      }
      const crashed = await LogRig.open({ directory: copy, limits: whole });
      expect(crashed.log.shown.state.seq).toBeGreaterThanOrEqual(Math.max(0, ...acknowledged, shown.state.seq));
      expect(seqsOf(await crashed.frames())).toEqual(upTo(crashed.log.room.head));
      if (rig.log.room.fault !== undefined) await rig.log.reopen();
      expect(rig.log.shown).toEqual(shown);
      await rig.turn("after");
      await rig.turnsUntil((await rig.segments()).length + 1, "more");
      expect(seqsOf(await rig.frames())).toEqual(upTo(rig.log.room.head));
      const woken = await rig.again();
      expect(woken.log.shown).toEqual(rig.log.shown);
      expect(woken.aside).toEqual([]);
      await endLogs();
    }
  });
}

test("B36 a power cut at any step of a roll leaves every acknowledged frame: a segment is synced before the next begins, and so is its header", async () => {
  const disk = new PowerCutDisk();
  const rig = await LogRig.open({ disk, limits: whole });
  /** Acknowledged when so many outcomes had been noted. */
  const acknowledged: { after: number; seq: number }[] = [];
  const note = (seq: number) => acknowledged.push({ after: disk.left.length, seq });
  await rig.begin();
  for (let n = 0; n < 4; n++) note(await rig.turn(n, { chunks: 24, patient: n % 2 === 0 }));
  await rig.log.idle();
  expect((await rig.segments()).length).toBeGreaterThan(2);
  for (const [index, left] of disk.left.entries()) {
    const directory = await tempDirectory();
    await restore(left, directory);
    const woken = await LogRig.open({ directory, limits: whole });
    const least = Math.max(0, ...acknowledged.filter(({ after }) => after <= index).map(({ seq }) => seq));
    expect(woken.log.shown.state.seq, `step ${left.step}, ${left.what}`).toBeGreaterThanOrEqual(least);
    expect(seqsOf(await woken.frames())).toEqual(upTo(woken.log.room.head));
    expect(woken.aside).toEqual([]);
    await woken.log.close();
  }
});

test("B36 a segment whose header was not finished is taken away, and the one before it goes on", async () => {
  const rig = await long(3, { limits: whole });
  const copy = await rig.copy();
  const head = rig.log.room.head;
  await writeFile(join(copy, `journal-${head}`), '{"after":17,"at":1700000000000,"epochs":[{"epo');
  const woken = await LogRig.open({ directory: copy, limits: whole });
  expect([woken.log.room.head, woken.damage, woken.aside]).toEqual([head, "none", []]);
  expect(await woken.segments()).toEqual(await rig.segments());
});

test("B12 B38 a header that cannot be read: its segment is kept aside and reported, the one before it goes on, and no cursor of what is lost becomes good", async () => {
  const rig = await long(4, { limits: whole });
  const second = await rig.again();
  await second.visit("second");
  const lost = second.log.room.cursor(second.log.room.head);
  const copy = await second.copy();
  const name = (await second.segments()).at(-1) ?? "";
  const damaged = `garbage ${(await readFile(join(copy, name), "utf8")).slice(8)}`;
  await writeFile(join(copy, name), damaged);
  const woken = await LogRig.open({ directory: copy, limits: whole });
  expect(woken.damage).toBe("malformed");
  expect(woken.aside).toMatchObject([{ path: expect.stringContaining(`${name}.damaged-`) }]);
  expect(await readFile(woken.aside[0]?.path ?? "", "utf8")).toBe(damaged);
  expect(woken.log.room.head).toBe(Number(name.slice(8)));
  expect(woken.log.room.judge(lost)).toBe("beyond_end");
  while (woken.log.room.head < second.log.room.head + 10) await woken.turn(`again ${woken.log.room.head}`);
  expect(woken.log.room.judge(lost)).toBe("beyond_end");
  expect(seqsOf(await woken.frames())).toEqual(upTo(woken.log.room.head));
});

test("B38 a bad line in the newest segment: it is kept aside whole, its good part goes on with its snapshot", async () => {
  const rig = await long(4, { limits: whole });
  const copy = await rig.copy();
  const name = (await rig.segments()).at(-1) ?? "";
  const lines = (await readFile(join(copy, name), "utf8")).split("\n");
  await writeFile(join(copy, name), lines.map((line, index) => (index === 1 ? line.slice(0, 9) : line)).join("\n"));
  const woken = await LogRig.open({ directory: copy, limits: whole });
  expect(woken.log.room.head).toBe(Number(name.slice(8)));
  expect(woken.aside).toHaveLength(1);
  expect(seqsOf(await woken.frames())).toEqual(upTo(woken.log.room.head));
  expect((await pages(woken.log, { backwards: true })).flat()).toEqual(upTo(woken.log.room.head));
});

test("B38 a bad line in a sealed segment is storage_failed to whoever reads it, naming no path; what lies around it is served, and the session lives", async () => {
  const rig = await long(5, { limits: whole });
  await rig.log.close();
  const name = (await rig.segments())[1] ?? "";
  const path = join(rig.directory, name);
  const lines = (await readFile(path, "utf8")).split("\n");
  await writeFile(path, lines.map((line, index) => (index === 3 ? "?".repeat(line.length) : line)).join("\n"));
  const bad = Number(name.slice(8)) + 3;
  const woken = await rig.again();
  const { room } = woken.log;
  const failed = expect.objectContaining({ code: "storage_failed", detail: { reason: "a line of the journal cannot be read" } });
  await expect(pages(woken.log)).rejects.toEqual(failed);
  await expect(pages(woken.log, { backwards: true })).rejects.toEqual(failed);
  expect(seqsOf(await room.page(bad - 3, 512, 100_000)).at(-1)).toBe(bad - 1);
  await expect(room.page(bad - 1, 1, 100)).rejects.toEqual(failed);
  expect(seqsOf(await room.page(bad, 2, 100_000))).toEqual([bad + 1, bad + 2]);
  expect(seqsOf(await room.pageBefore(bad + 3, 512, 100_000))).toEqual([bad + 1, bad + 2]);
  await expect(room.pageBefore(bad + 1, 1, 100)).rejects.toEqual(failed);
  expect(seqsOf(await room.pageBefore(bad, 2, 100_000))).toEqual([bad - 2, bad - 1]);
  expect(woken.log.shown).toEqual(rig.log.shown);
  // The agent gets the rest of the conversation: a turn must not fail for ever over an old line.
  expect((await woken.log.transcript()).entries.length).toBeGreaterThan(3);
  await woken.turn("goes on");
});

test("B38 what is damaged in a sealed segment while the daemon runs is storage_failed to whoever reads there: never a hole that nobody notices", async () => {
  const rig = await long(8, { limits: { ...whole, window_frames_max: 1, segments_open_max: 1 } });
  const { room } = rig.log;
  const all = upTo(room.head);
  expect((await pages(rig.log)).flat()).toEqual(all);
  const [, second = "", third = ""] = await rig.segments();
  const path = join(rig.directory, second);
  const text = await readFile(path, "utf8");
  const lines = text.split("\n");
  const failed = expect.objectContaining({ code: "storage_failed" });
  for (const damaged of [lines.map((line, index) => (index === 3 ? "?".repeat(line.length) : line)).join("\n"), `${lines.slice(0, 3).join("\n")}\n`]) {
    // Another segment is open, and this one will be opened anew.
    await room.page(Number(third.slice(8)) + 1, 1, 1_000);
    await writeFile(path, damaged);
    await expect(pages(rig.log)).rejects.toEqual(failed);
    await expect(pages(rig.log, { backwards: true })).rejects.toEqual(failed);
  }
  await writeFile(path, text);
  expect((await pages(rig.log)).flat()).toEqual(all);
});

/** Segments of many parts, of which the last two, and none, are as they were written. */
const large = { segment_bytes_max: 300_000, window_frames_max: 1, segments_open_max: 1 };
const longTurn = { chunks: 40, chunkChars: 5_000, output: 12 };

async function largeSegments(limits: { segments_kept: number }): Promise<LogRig> {
  const rig = await LogRig.open({ limits: { ...large, ...limits } });
  await rig.begin();
  for (let n = 0; (await rig.segments()).length < 4; n++) {
    await rig.turn(n, longTurn);
    await rig.log.idle();
  }
  await rig.visit("last");
  return rig;
}

for (const [how, limits] of [
  ["as they were written", whole],
  ["compacted", { segments_kept: 0 }],
] as const) {
  test(`B30 segments (${how}) that nobody has looked through since the start give every frame in order, from anywhere, to several readers at once`, async () => {
    const before = await largeSegments(limits);
    const all = (await before.frames()).map(({ seq }) => seq);
    await before.log.close();
    const place = fc.record({ at: fc.nat(before.log.room.head), backwards: fc.boolean(), bytes: fc.constantFrom(1_000, 60_000, 524_288) });
    await fc.assert(
      fc.asyncProperty(fc.array(place, { minLength: 1, maxLength: 8 }), async (places) => {
        const { room, log } = await before.again().then((rig) => ({ room: rig.log.room, log: rig.log }));
        const read = await Promise.all(
          places.map(({ at, backwards, bytes }) => (backwards ? room.pageBefore(at, 50, bytes) : room.page(at, 50, bytes)).then((page) => seqsOf(page))),
        );
        for (const [index, { at, backwards }] of places.entries()) {
          const page = read[index] ?? [];
          const expected = all.filter((seq) => (backwards ? seq < at : seq > at));
          expect(page).toEqual(backwards ? expected.slice(expected.length - page.length) : expected.slice(0, page.length));
          expect(page.length).toBeGreaterThanOrEqual(Math.min(1, expected.length));
        }
        await log.close();
      }),
      { numRuns: 25 },
    );
  });

  test(`B38 whatever line of a segment (${how}) that nobody has looked through since the start cannot be read: what lies behind it is served, and it is storage_failed`, async () => {
    const before = await largeSegments(limits);
    const [, second = ""] = await before.segments();
    await before.log.close();
    const all = (await before.frames()).map(({ seq }) => seq);
    const path = join(before.directory, second);
    const text = await readFile(path, "utf8");
    const lines = text.split("\n");
    const seqAt = (index: number): number => (JSON.parse(lines[index] ?? "") as Frame).seq;
    const failed = expect.objectContaining({ code: "storage_failed" });
    const backFrom = async (damaged: readonly string[]): Promise<number[]> => {
      await writeFile(path, damaged.join("\n"));
      const { log } = await before.again();
      const seen: number[] = [];
      const paging = async (): Promise<void> => {
        for (let at = log.room.head + 1; at > 1;) {
          const page = seqsOf(await log.room.pageBefore(at, 50, 100_000));
          seen.unshift(...page);
          at = page[0] ?? 0;
        }
      };
      await expect(paging()).rejects.toEqual(failed);
      await log.close();
      return seen;
    };
    expect(lines.length).toBeGreaterThan(8);
    // A head that runs on into the first frame is none.
    const headless = await backFrom([`${lines[0]}?${lines[1]}`, ...lines.slice(2)]);
    expect(headless).toEqual(all.slice(-headless.length));
    expect(headless).not.toContain(seqAt(1));
    for (const at of [1, 2, Math.floor(lines.length / 2), Math.floor(lines.length / 2) + 1, lines.length - 3, lines.length - 2]) {
      const bad = seqAt(at);
      const behind = all.filter((seq) => seq > bad);
      expect(await backFrom(lines.map((line, index) => (index === at ? "?".repeat(line.length) : line)))).toEqual(behind);
      // Of a compacted one nothing tells what is missing but its sum, which `verify` takes.
      if (limits !== whole) continue;
      const missing = await backFrom(lines.filter((_, index) => index !== at));
      // The frame behind it does not follow the one before, and may be taken for the bad one.
      expect([behind, behind.slice(1)]).toContainEqual(missing);
      const short = await backFrom([...lines.slice(0, at), ""]);
      expect(short).toEqual(all.filter((seq) => seq > seqAt(lines.length - 2)));
    }
  });
}

test("B32 a cursor as old as more openings than are remembered gets a snapshot; the newer ones are served", async () => {
  let rig = await LogRig.open({ limits: { ...whole, epochs_kept: 3 } });
  await rig.begin();
  const cursors: string[] = [];
  for (let epoch = 1; epoch <= 6; epoch++) {
    await rig.turnsUntil(epoch + 1, `e${epoch}-`);
    cursors.push(rig.log.room.cursor(rig.log.room.head));
    rig = await rig.again();
  }
  expect(cursors.map((cursor) => rig.log.room.judge(cursor))).toEqual([...Array<string>(4).fill("too_old"), null, null]);
  expect(rig.log.room.judge("7:1")).toBeNull();
  expect(rig.log.room.judge("8:1")).toBe("unknown_epoch");
});

test("B11 a state that is too large for a header keeps the segment growing, and is none the worse for it", async () => {
  const rig = await LogRig.open({ limits: { ...whole, snapshot_bytes_max: 3_000 } });
  await rig.begin();
  for (let n = 0; n < 6; n++) await rig.turn(n);
  expect((await rig.segments()).length).toBeLessThanOrEqual(2);
  const woken = await rig.again();
  expect(woken.log.shown).toEqual(rig.log.shown);
  expect(seqsOf(await woken.frames())).toEqual(upTo(woken.log.room.head));
});

test("B11 the whole conversation is read when the agent first asks, with what is applied meanwhile, and again after a fault", async () => {
  const disk = new StepwiseDisk();
  const rig = await long(4, { disk, limits: whole });
  const asked = rig.log.transcript();
  const before = rig.applied.length;
  await Promise.all([rig.turn("meanwhile"), rig.turn("and more")]);
  expect(rig.applied.length).toBeGreaterThan(before);
  const transcript = await asked;
  expect(await rig.log.transcript()).toBe(transcript);
  await rig.turn("afterwards");
  const expected = await rig.folded();
  expect(transcript.entries).toEqual(expected.entries);
  disk.arm(1, "once, before");
  await expect(rig.turn("lost")).rejects.toMatchObject({ code: "storage_failed" });
  disk.disarm();
  await rig.log.reopen();
  expect((await rig.log.transcript()).entries).toEqual((await rig.folded()).entries);
  expect(await rig.log.transcript()).not.toBe(transcript);
});

test("B13 between turns a long conversation is not kept in memory, a short one is", async () => {
  const rig = await LogRig.open({ limits: { ...whole, transcript_kept_chars_max: 3_000 } });
  await rig.begin();
  await rig.turn(1);
  const short = await rig.log.transcript();
  await rig.turn(2);
  expect(await rig.log.transcript()).toBe(short);
  for (let n = 3; n < 12; n++) await rig.turn(n);
  const long = await rig.log.transcript();
  expect(long).not.toBe(short);
  expect(long.entries).toEqual((await rig.folded()).entries);
});

test("B11 the newest life ends that are remembered are bounded, and come through a snapshot", () => {
  const sessionId = `ses_${"0".repeat(22)}`;
  const lives = Array.from({ length: 300 }, (_, index): Frame[] => [
    { seq: 2 * index + 1, at: 1, event: { type: "session_started", life: index + 1, workdir: "/w", agent: "a", model: "m" } },
    { seq: 2 * index + 2, at: 1, event: { type: "session_stopped", life: index + 1, by: { label: "owner" } } },
  ]).flat();
  const decided = lives.reduce(decide, nothingDecided(sessionId));
  const restored = fromSnapshot(JSON.parse(JSON.stringify(snapshotOf(decided, 1))), { sessionId, seq: 600 });
  expect(restored?.decided.ends).toEqual(decided.ends);
  expect([...decided.ends.keys()]).toEqual(Array.from({ length: 256 }, (_, index) => 45 + index));
  expect(decided.ends.get(300)).toBe(600);
});
