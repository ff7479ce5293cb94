import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { openLog } from "../../packages/daemon/src/log.ts";

/** A daemon that runs for months logs little, and still must not fill the disk with it. */
const directory = mkdtempSync(join(tmpdir(), "ssd-log-"));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const numbers = (path: string): number[] =>
  readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => (JSON.parse(line) as { n: number }).n);

test("B7 the log is begun anew whenever it has grown, also while the daemon runs; the one before is kept, no line is lost between them, and no descriptor", async () => {
  const path = join(directory, "daemon.log");
  const bytesMax = 4_096;
  const log = openLog(path, bytesMax);
  log.info("line", { n: 0 });
  const open = readdirSync("/proc/self/fd").length;
  const lines = 1_000;
  for (let n = 1; n < lines; n++) {
    if (n % 2 === 0) log.info("line", { n });
    else log.error("line", new Error(`line ${n}`));
    // A file that was left is closed a step later.
    if (n % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const longest = Math.max(
    ...readFileSync(path, "utf8")
      .split("\n")
      .map(({ length }) => length),
  );
  for (const each of [path, `${path}.1`]) expect(statSync(each).size).toBeLessThanOrEqual(bytesMax + longest);
  expect(readdirSync(directory).toSorted()).toEqual(["daemon.log", "daemon.log.1"]);
  const kept = [...numbers(`${path}.1`), ...numbers(path)].filter((n) => n !== undefined);
  expect(kept.at(-1)).toBe(lines - 2);
  expect(kept).toEqual(kept.map((_, at) => (kept[0] ?? 0) + 2 * at));
  await expect.poll(() => readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(open);
});
