/** The audit file and its older ones: moved on by size, read in order, whatever a crash has left. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { Audit } from "../../packages/daemon/src/audit.ts";
import { systemClock } from "../../packages/daemon/src/clock.ts";
import { AuditReader, type AuditLine } from "../../packages/daemon/src/recovery/audit-reading.ts";
import { seededChance } from "../support/chance.ts";

const full = 1_000;
const kept = 4;
let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "ssd-audit-"));
  path = join(dir, "audit.jsonl");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const opened = (): Audit => new Audit(path, systemClock, { ...limits, audit_bytes_max: full, audit_files_kept: kept });

/** A line that says which it is. */
async function write(audit: Audit, number: number): Promise<void> {
  audit.record({ verb: "stop", outcome: "ok", ms: number }, "act");
  await audit.flush();
}

async function taken(reader: AuditReader): Promise<AuditLine[]> {
  const lines: AuditLine[] = [];
  for await (const line of reader.further()) lines.push(line);
  return lines;
}
const numbers = (lines: readonly AuditLine[]): number[] => lines.map(({ text }) => (JSON.parse(text) as { ms: number }).ms);

async function readAll(): Promise<AuditLine[]> {
  const reader = new AuditReader(path, kept);
  try {
    return await taken(reader);
  } finally {
    await reader.close();
  }
}
const upTo = (last: number, first = 1): number[] => Array.from({ length: last - first + 1 }, (_, index) => first + index);

test("B8 a full audit file is moved on, so many older ones are kept, and what is kept is read in order, each line once", async () => {
  const audit = opened();
  for (const number of upTo(120)) await write(audit, number);
  expect([0, 1, 2, 3, 4, 5].map((each) => existsSync(each === 0 ? path : `${path}.${each}`))).toEqual([true, true, true, true, true, false]);
  for (const number of upTo(kept)) expect(readFileSync(`${path}.${number}`).length).toBeLessThan(2 * full);
  const found = numbers(await readAll());
  expect(found).toEqual(upTo(120, found[0]));
  expect(found.length).toBeGreaterThan(50);
  expect(audit.counts).toMatchObject({ written: 120, failed: 0 });
});

test("B8 wherever a crash cuts the moving short, no line but the oldest file's is lost, and none is read twice", async () => {
  const moves = [`${path}.3:${path}.4`, `${path}.2:${path}.3`, `${path}.1:${path}.2`, `${path}:${path}.1`];
  for (const done of upTo(moves.length, 0)) {
    rmSync(dir, { recursive: true });
    mkdirSync(dir);
    // Five files of two lines each; the newest is full.
    for (const number of upTo(kept, 0)) {
      const name = number === 0 ? path : `${path}.${number}`;
      const first = 2 * (kept - number) + 1;
      writeFileSync(name, [first, first + 1].map((ms) => `${JSON.stringify({ verb: "stop", ms, pad: number === 0 ? "x".repeat(full) : "" })}\n`).join(""));
    }
    for (const move of moves.slice(0, done)) renameSync(...(move.split(":") as [string, string]));
    await write(opened(), 11);
    expect(numbers(await readAll()), `after ${done} renames`).toEqual(upTo(11, 3));
  }
});

test("B8 where older files cannot be moved on, the file grows to twice its size before a line is lost, and that is told", async () => {
  // No file takes the place of a directory.
  for (const number of [1, 2, 3]) writeFileSync(`${path}.${number}`, "");
  mkdirSync(`${path}.4`);
  writeFileSync(join(`${path}.4`, "not-a-line"), "");
  const audit = opened();
  let last = 0;
  while (audit.counts.failed === 0 && last < 200) await write(audit, ++last);
  expect(readFileSync(path).length).toBeGreaterThan(2 * full);
  expect(audit.counts).toMatchObject({ written: last - 1, failed: 1 });
  expect(audit.counts.last_failure).toMatch(/^E[A-Z]+$/);
  expect(numbers(await readAll())).toEqual(upTo(last - 1));
});

test("B8 behind the torn line of a daemon that was killed the next one's lines are whole", async () => {
  writeFileSync(path, '{"verb":"stop","ms":1}\n{"verb":"st');
  await write(opened(), 2);
  expect((await readAll()).map(({ text, line }) => [line, text.slice(0, 25)])).toEqual([
    [1, '{"verb":"stop","ms":1}'],
    [2, '{"verb":"st'],
    [3, expect.stringContaining('{"at":"') as string],
  ]);
});

test("B8 a reader that goes on sees each line once and in order, however the files move on, also of a file that was removed", async () => {
  const seed = Number(process.env["SESSIOND_SEED"] ?? Date.now() % 1_000_000);
  const chance = seededChance(seed);
  const audit = opened();
  const reader = new AuditReader(path, kept);
  const seen: number[] = [];
  let last = 0;
  for (let round = 0; round < 60; round++) {
    // Up to three files further at a time.
    for (let burst = Math.floor(chance.upTo(40)); burst > 0; burst--) await write(audit, ++last);
    seen.push(...numbers(await taken(reader)));
    if (chance.upTo(10) < 1) rmSync(path, { force: true });
  }
  await reader.close();
  expect(seen, `seed ${seed}`).toEqual(upTo(last));
});

test("B8 a line whose end is not there yet is left for the next time, also in the middle of a character", async () => {
  const reader = new AuditReader(path, kept);
  const bytes = Buffer.from('{"verb":"stop","ms":1,"peer":"ü"}\n');
  const middle = bytes.indexOf(0xc3) + 1;
  writeFileSync(path, bytes.subarray(0, middle));
  expect(await taken(reader)).toEqual([]);
  expect(reader.unfinished()).toMatchObject({ file: "audit.jsonl", line: 1 });
  writeFileSync(path, bytes.subarray(middle), { flag: "a" });
  expect((await taken(reader)).map(({ text }) => text)).toEqual(['{"verb":"stop","ms":1,"peer":"ü"}']);
  expect(reader.unfinished()).toBeNull();
  await reader.close();
});
