import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { limits as defaults, type Finding } from "@sessiond/shared";
import { realDisk } from "../../packages/daemon/src/disk.ts";
import { Findings } from "../../packages/daemon/src/recovery/finding.ts";
import { checkJournal } from "../../packages/daemon/src/recovery/journal-check.ts";
import { amount } from "../support/amount.ts";
import { endLogs, LogRig, tempDirectory } from "../support/log-rig.ts";

/**
 * A journal of compacted, sealed and growing segments and several epochs, and one thing done to it:
 * a byte changed, cut out or put in, a line removed, doubled or moved, a file cut short or taken away.
 */
const runs = amount(300, 6_000, "SESSIOND_RUNS");
const sessionId = `ses_${"1".padStart(22, "0")}`;
type Files = ReadonlyMap<string, Buffer>;

let original: Files;
let names: string[];
let directory: string;
const counts = { harmless: 0, found: 0, told: 0, value: 0, shorter: 0 };

beforeAll(async () => {
  let rig = await LogRig.open();
  await rig.begin();
  await rig.turnsUntil(3, "a");
  rig = await rig.again();
  await rig.turnsUntil(7, "b");
  rig = await rig.again();
  await rig.turn("c");
  await rig.log.idle();
  names = await rig.segments();
  await rig.log.close();
  original = new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(rig.directory, name))] as const)));
  directory = await tempDirectory();
});
afterAll(async () => {
  await endLogs();
  console.log(
    `B12: ${runs} changes of a journal: ${counts.harmless} change no frame, ${counts.found} are damage, ${counts.told} are told as an end that a start cuts off, ` +
      `${counts.value} only another letter inside a value, ${counts.shorter} a whole journal that ends earlier`,
  );
});

interface FrameLine {
  readonly seq: number;
  readonly at: number;
  readonly event: Record<string, unknown>;
}

/** What any reader of the files would take for frames. */
function framesOf(files: Files): FrameLine[] {
  const row = [...files].toSorted(([a], [b]) => Number(a.slice(8)) - Number(b.slice(8)));
  return row.flatMap(([, bytes]) => {
    const whole = bytes.toString("utf8").split("\n").slice(0, -1);
    return whole.flatMap((text) => {
      if (!text.startsWith('{"seq":')) return [];
      try {
        return [JSON.parse(text) as FrameLine];
      } catch {
        return [];
      }
    });
  });
}

async function put(files: Files): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory);
  for (const [name, bytes] of files) await writeFile(join(directory, name), bytes);
}

async function findingsOf(files: Files, live = false): Promise<readonly Finding[]> {
  await put(files);
  const findings = new Findings(100);
  const place = { disk: realDisk(), directory, sessionId, limits: defaults, live, read: () => undefined };
  const { bytes } = await checkJournal(place, findings);
  expect(bytes).toBeLessThanOrEqual([...files.values()].reduce((sum, each) => sum + each.length, 0));
  expect((await readdir(directory)).toSorted()).toEqual([...files.keys()].toSorted());
  return findings.all();
}

/** The same with every word and number taken out. */
const shape = (value: unknown): string => JSON.stringify(value, (_key, each: unknown) => (typeof each === "object" ? each : typeof each));

const newest = (): string => names.at(-1) ?? "";
const change = fc.oneof(
  fc.record({ what: fc.constant("byte" as const), file: fc.nat(), at: fc.double({ min: 0, max: 1, noNaN: true }), to: fc.nat(255) }),
  fc.record({ what: fc.constantFrom("cut out" as const, "put in" as const), file: fc.nat(), at: fc.double({ min: 0, max: 1, noNaN: true }), to: fc.nat(255) }),
  fc.record({
    what: fc.constantFrom("remove" as const, "double" as const, "move" as const),
    file: fc.nat(),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    to: fc.nat(20),
  }),
  fc.record({ what: fc.constantFrom("shorten" as const, "zero" as const), file: fc.nat(), at: fc.double({ min: 0, max: 1, noNaN: true }), to: fc.nat(255) }),
  fc.record({ what: fc.constant("take away" as const), file: fc.nat(), at: fc.constant(0), to: fc.constant(0) }),
);

function changed({ what, file, at, to }: { what: string; file: number; at: number; to: number }): Files {
  const name = names[file % names.length] ?? newest();
  const bytes = original.get(name) ?? Buffer.alloc(0);
  const place = Math.min(bytes.length - 1, Math.floor(at * bytes.length));
  const lines = bytes.toString("utf8").split("\n").slice(0, -1);
  const line = Math.min(lines.length - 1, Math.floor(at * lines.length));
  const put = (...parts: readonly Buffer[]): Files => new Map([...original, [name, Buffer.concat(parts)]]);
  const putLines = (row: readonly string[]): Files => put(Buffer.from(row.map((each) => `${each}\n`).join("")));
  switch (what) {
    case "byte":
      return put(bytes.subarray(0, place), Buffer.from([to]), bytes.subarray(place + 1));
    case "cut out":
      return put(bytes.subarray(0, place), bytes.subarray(place + 1));
    case "put in":
      return put(bytes.subarray(0, place), Buffer.from([to]), bytes.subarray(place));
    case "remove":
      return putLines(lines.toSpliced(line, 1));
    case "double":
      return putLines(lines.toSpliced(line, 0, lines[line] ?? ""));
    case "move":
      return putLines(lines.toSpliced(line, 1).toSpliced(Math.min(lines.length - 1, line + to), 0, lines[line] ?? ""));
    case "shorten":
      return put(bytes.subarray(0, place));
    case "zero":
      return put(bytes.subarray(0, place), Buffer.alloc(bytes.length - place));
    default:
      return new Map([...original].filter(([each]) => each !== name));
  }
}

test("B12 the journal as it was written is whole: segments, epochs and snapshots, compacted and not, and nothing is remarked", async () => {
  expect(await findingsOf(original)).toEqual([]);
  expect(names.length).toBeGreaterThanOrEqual(7);
  const heads = names.map((name) => original.get(name)?.toString("utf8").slice(0, 60) ?? "");
  expect(heads.filter((head) => head.includes('"compacted":true')).length).toBeGreaterThanOrEqual(2);
});

test("B36 beside a daemon what follows the last newline is on its way and nothing to speak of; without one it is told, as what a start cuts off", async () => {
  const newestBytes = original.get(newest()) ?? Buffer.alloc(0);
  const growing = new Map([...original, [newest(), Buffer.concat([newestBytes, Buffer.from('{"seq":99999,"at":1')])]]);
  expect(await findingsOf(growing, true)).toEqual([]);
  expect(await findingsOf(growing)).toMatchObject([{ kind: "line_torn", weight: "note", offset: newestBytes.length, next_start: "it is cut off" }]);
});

test("B12 a frame that is missing in the middle, of the newest segment or of a sealed one, is found where it is missing", async () => {
  for (const name of names.slice(-2)) {
    const row = (original.get(name) ?? Buffer.alloc(0)).toString("utf8").split("\n");
    const at = row.findIndex((text, line) => line > 2 && text.startsWith('{"seq":'));
    const files = new Map([...original, [name, Buffer.from(row.toSpliced(at, 1).join("\n"))]]);
    const { seq } = JSON.parse(row[at] ?? "{}") as { seq: number };
    const found = await findingsOf(files);
    expect(found).toContainEqual(
      expect.objectContaining({ kind: "seq_hole", weight: "wrong", line: at + 1, what: expect.stringContaining(`frame ${seq} is missing`) }),
    );
  }
});

test("B12 where a snapshot and the frames before it say different things, verify says so", async () => {
  const sealed = names.at(-2) ?? "";
  const text = original.get(sealed)?.toString("utf8") ?? "";
  const at = text.indexOf('"text":"', text.lastIndexOf('"agent_message_chunk"'));
  const files = new Map([...original, [sealed, Buffer.from(`${text.slice(0, at)}"text":"other ${text.slice(at + 8)}`)]]);
  expect(await findingsOf(files)).toMatchObject([{ kind: "snapshot_differs", weight: "wrong", path: join(directory, newest()), line: 1 }]);
});

test("B12 a compacted part of which anything is missing or other is found by its sum, and a whole one that is missing by how far the one before it reaches", async () => {
  const compacted = names.filter((name) => original.get(name)?.toString("utf8").slice(0, 60).includes('"compacted":true'));
  const [first = "", second = ""] = compacted;
  const text = original.get(second)?.toString("utf8") ?? "";
  const changedText = new Map([...original, [second, Buffer.from(text.replace('"text":"', '"text":"X'))]]);
  expect(await findingsOf(changedText)).toMatchObject([{ kind: "line_malformed", path: join(directory, second), what: expect.stringContaining("sum") }]);
  const without = new Map([...original].filter(([name]) => name !== second));
  expect(await findingsOf(without)).toMatchObject([{ kind: "segment_missing" }]);
  expect(first).toBe("journal");
});

test("B12 a newest segment that is no beginning of one, zeros say, is kept under another name by the start, as verify said, and not removed", async () => {
  const zeros = Buffer.alloc(original.get(newest())?.length ?? 0);
  const files = new Map([...original, [newest(), zeros]]);
  expect(await findingsOf(files)).toMatchObject([{ kind: "head_malformed", weight: "wrong", next_start: expect.stringContaining("is kept as") }]);
  const rig = await LogRig.open({ directory });
  expect(rig.aside).toMatchObject([{ path: expect.stringContaining(`${newest()}.damaged-`) }]);
  expect(await readFile(rig.aside[0]?.path ?? "")).toEqual(zeros);
  await rig.log.close();
});

test("B12 whatever one change does to a journal, verify finds it, or no frame is another than before", async () => {
  const before = framesOf(original);
  await fc.assert(
    fc.asyncProperty(change, async (done) => {
      const files = changed(done);
      const findings = await findingsOf(files);
      const after = framesOf(files);
      if (findings.some(({ weight }) => weight === "wrong")) return void counts.found++;
      if (JSON.stringify(after) === JSON.stringify(before)) return void (findings.length > 0 ? counts.told++ : counts.harmless++);
      // An end that nobody was shown the rest of: told, and cut off by the next start.
      const kept = JSON.stringify(after) === JSON.stringify(before.slice(0, after.length));
      if (kept && findings.some(({ kind }) => kind === "line_torn")) return void counts.told++;
      // Two things that a format without sums cannot tell, and docs/trust.md says so: another letter inside a
      // value, where nothing else depends on it, and a newest file that ends earlier, after a whole line.
      if (after.length === before.length) {
        expect(after.map((frame) => `${frame.seq} ${shape(frame)}`)).toEqual(before.map((frame) => `${frame.seq} ${shape(frame)}`));
        expect(after.filter((frame, index) => JSON.stringify(frame) !== JSON.stringify(before[index]))).toHaveLength(1);
        return void counts.value++;
      }
      expect(kept).toBe(true);
      expect(original.get(newest())?.subarray(0, files.get(newest())?.length ?? 0)).toEqual(files.get(newest()) ?? Buffer.alloc(0));
      counts.shorter++;
    }),
    { numRuns: runs },
  );
  expect(counts.found).toBeGreaterThan(runs / 2);
}, 600_000);
