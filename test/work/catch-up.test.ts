import { cp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { limits as defaults, type Frame, type Limits, type VerbOutput } from "@sessiond/shared";
import type { SessionLog } from "../../packages/daemon/src/session/session-log.ts";
import { amount } from "../support/amount.ts";
import { CountedWork, type Work } from "../support/counted-work.ts";
import { fillTo, type TurnShape } from "../support/long-log.ts";
import { NotingDisk } from "../support/noting-disk.ts";
import { endRigs, Rig, type TestSeat } from "../support/session-rig.ts";

/**
 * Who comes late costs what he lacks: bytes are read for what was missed and for one snapshot, and a start reads nothing
 * of sessions that nobody left open. Counted, not timed.
 */
const missed = amount(10_000, 10_000);
const longBytes = amount(12, 100) * 1_048_576;
const stored = amount(2_000, 10_000);
/** Frames of 2 kB: a segment is full after two thousand. */
const large: TurnShape = { chunks: 60, chunkChars: 2_000 };
/** The first bytes of a segment tell whether it is compacted; a few of them are asked. */
const headBytes = 1_024;

let counting: CountedWork | undefined;
afterEach(async () => {
  counting?.end();
  await endRigs();
});

const logOf = (rig: Rig): SessionLog => {
  const session = rig.daemon.host.inMemory(rig.sessionId);
  if (session === undefined) throw new Error("the session is not in memory");
  return session.log;
};

const bytesOf = (texts: readonly string[]): number => texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
const snapshotBytes = (seat: TestSeat): number => Buffer.byteLength(JSON.stringify(seat.first));

async function segments(rig: Rig): Promise<{ name: string; bytes: number }[]> {
  const directory = dirname(rig.journalPath);
  const names = (await readdir(directory)).filter((name) => /^journal(-\d+)?$/.test(name)).toSorted((a, b) => Number(a.slice(8)) - Number(b.slice(8)));
  return Promise.all(names.map(async (name) => ({ name, bytes: (await stat(join(directory, name))).size })));
}

/** A session whose journal has so many bytes, in as many segments as that takes; the newest one is not full, and not nearly empty. */
async function long(bytes: number, limits: Partial<Limits> = {}): Promise<Rig> {
  const rig = await Rig.start({ limits });
  const log = logOf(rig);
  while (log.counts.bytes < bytes) await fillTo(log, log.decided.state.seq + 500, large);
  while (((await segments(rig)).at(-1)?.bytes ?? 0) < (limits.segment_bytes_max ?? defaults.segment_bytes_max) / 3)
    await fillTo(log, log.decided.state.seq + 100, large);
  return rig;
}

test("B33 who comes back after thousands of missed events costs the bytes that he missed and no more than a snapshot beside them; nothing is decoded or encoded for him", async () => {
  const rig = await Rig.start();
  const log = logOf(rig);
  await fillTo(log, 1_000);
  const cursor = log.room.cursor(log.shown.state.seq);
  await fillTo(log, 1_000 + missed);
  const snapshot = snapshotBytes(await rig.attach("somebody"));
  counting = new CountedWork(rig.daemon.counters);
  let seat: TestSeat | undefined;
  const work = await counting.of(async () => {
    seat = await rig.attach("late", { cursor });
    await seat.until(({ frames }) => frames.length === missed + 2);
  });
  expect(seat?.first?.type).toBe("resumed");
  expect(seat?.frames.map(({ seq }) => seq)).toEqual(Array.from({ length: missed + 2 }, (_, index) => 1_001 + index));
  expect(work.journalReadBytes).toBeGreaterThan(0);
  expect(work.journalReadBytes).toBeLessThanOrEqual(bytesOf(seat?.texts ?? []) + snapshot);
  // His own coming is the one frame.
  expect(work).toMatchObject({ framesEncoded: 1, framesDecoded: 0, eventsValidated: 1, journalWrites: 1, filesReplaced: 0 });
});

test("B31 attaching to a session with a long journal reads none of it: one frame is made, and the snapshot is what is in memory", async () => {
  const rig = await long(longBytes);
  counting = new CountedWork(rig.daemon.counters);
  const work = await counting.of(() => rig.attach("new"));
  expect(work).toMatchObject({
    journalReadBytes: 0,
    framesDecoded: 0,
    framesEncoded: 1,
    eventsValidated: 1,
    journalWrites: 1,
    journalSyncs: 0,
    filesReplaced: 0,
  });
});

test("B11 waking a session with a long journal reads its newest snapshot and what lies behind it, once, and decodes that alone", async () => {
  const before = await long(longBytes);
  const root = await before.copy();
  const newest = (await segments(before)).at(-1) ?? { name: "", bytes: 0 };
  expect((await segments(before)).length).toBeGreaterThanOrEqual(3);
  const lines = (await readFile(join(dirname(before.journalPath), newest.name), "utf8")).split("\n").slice(1, -1);
  const rig = await Rig.restart(root, before);
  await rig.info();
  const { counters } = rig.daemon;
  expect(counters.framesDecoded).toBe(lines.filter((line) => line.startsWith('{"seq":')).length);
  expect(counters.journalReadBytes).toBeGreaterThanOrEqual(newest.bytes);
  expect(counters.journalReadBytes).toBeLessThanOrEqual(newest.bytes + headBytes);
  expect(logOf(rig).shown.state.messages).toEqual(logOf(before).shown.state.messages);
});

/** Pages from the newest frame to the first. @param each  told of each page and what it took */
async function pageBack(rig: Rig, count: CountedWork, each: (page: { work: Work; bytes: number; frames: readonly Frame[] }) => void): Promise<void> {
  await rig.info();
  for (let before = logOf(rig).room.head + 1, more = true; more;) {
    let output: VerbOutput<"session_data"> | undefined;
    const work = await count.of(async () => {
      output = await rig.daemon.call("session_data", { session_id: rig.sessionId, before }, { token: rig.token });
    });
    const frames = output?.frames ?? [];
    each({ work, frames, bytes: bytesOf(frames.map((frame) => JSON.stringify(frame))) });
    [before, more] = [frames[0]?.seq ?? 0, output?.more ?? false];
  }
}

test("B33 paging back through a long transcript reads the bytes of its pages and nothing twice, also past the segments that are held open, and the first time after a wake", async () => {
  const rig = await long(longBytes, { segment_bytes_max: 1_048_576 });
  expect((await segments(rig)).length).toBeGreaterThan(defaults.segments_open_max + 2);
  const snapshot = snapshotBytes(await rig.attach("somebody"));
  const root = await rig.copy();
  for (const [daemon, how] of [
    [rig, "as written"],
    [await Rig.restart(root, rig), "woken"],
  ] as const) {
    counting = new CountedWork(daemon.daemon.counters);
    const seen: number[] = [];
    let [read, given] = [0, 0];
    await pageBack(daemon, counting, ({ work, frames, bytes }) => {
      expect(work).toMatchObject({ framesDecoded: frames.length, framesEncoded: 0, journalWrites: 0, journalSyncs: 0 });
      // Where the window ends a page begins in the middle of what is read at once; from there on none does.
      if (read > 0 && how === "as written") expect(work.journalReadBytes, `before ${seen[0]}`).toBeLessThanOrEqual(bytes + headBytes);
      seen.unshift(...frames.map(({ seq }) => seq));
      [read, given] = [read + work.journalReadBytes, given + bytes];
    });
    counting.end();
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen[0]).toBe(1);
    expect(read).toBeGreaterThan(longBytes / 2);
    expect(read, how).toBeLessThanOrEqual(given + snapshot);
  }
});

test("B11 a start reads the registry and the sessions that were left open, and no file of any other session, however many there are", async () => {
  const before = await Rig.start();
  const open = await before.another("left open");
  const closed = await before.another("closed");
  await closed.stop();
  // A session that rests is one without its mark.
  const root = await before.copy();
  const state = join(root, "state/sessiond");
  await rm(join(state, "open", before.sessionId));
  const path = join(state, "registry.json");
  const registry = JSON.parse(await readFile(path, "utf8")) as {
    version: 1;
    sessions: { id: string; workdir: string; created_at: number; stopped: boolean }[];
  };
  const [pattern] = registry.sessions;
  for (let n = 0; n < stored; n++) registry.sessions.push({ ...(pattern as object), id: `ses_${`stored${n}`.padStart(22, "0")}`, workdir: `/w/${n}` } as never);
  await writeFile(path, JSON.stringify(registry));
  // Some have folders too, so that there would be something to read.
  for (let n = 0; n < 20; n++)
    await cp(join(state, "sessions", before.sessionId), join(state, "sessions", `ses_${`stored${n}`.padStart(22, "0")}`), { recursive: true });

  const disk = new NotingDisk();
  const rig = await Rig.restart(root, open, { disk });
  await rig.daemon.call("daemon_status", {}, { host_key: rig.daemon.hostKey });
  await expect.poll(() => rig.daemon.host.inMemory(open.sessionId) !== undefined).toBe(true);
  const ofSessions = disk.noted.filter(({ path: name }) => name.startsWith(join(state, "sessions/")));
  expect([...new Set(ofSessions.map(({ path: name }) => name.slice(state.length + 1).split("/")[1]))]).toEqual([open.sessionId]);
  const reads = (name: string) => disk.noted.filter((each) => each.step === "readText" && each.path === join(state, name)).length;
  // Once to see that it is there, once to read it.
  expect(reads("registry.json")).toBeLessThanOrEqual(2);
  expect(disk.noted.length).toBeLessThan(100);
  expect((await rig.daemon.call("daemon_status", {}, { host_key: rig.daemon.hostKey })).sessions).toMatchObject({ live: 1 });
});
