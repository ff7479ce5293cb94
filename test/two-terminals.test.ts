/** docs/two-terminals.md is what is seen: it is recorded again, with real terminals and the built command, and compared. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { hasTmux } from "./support/terminals.ts";

const root = resolve(import.meta.dirname, "..");

test.skipIf(!hasTmux)("B16 B19 B29 the recorded run of two terminals and a script is what they show today", { timeout: 120_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), "ssd-rec-"));
  try {
    const again = join(dir, "again.md");
    await promisify(execFile)(process.execPath, [join(root, "scripts/record-two-terminals.mjs"), again]);
    // To mend: node scripts/record-two-terminals.mjs, then read what has changed.
    expect(readFileSync(again, "utf8")).toBe(readFileSync(join(root, "docs/two-terminals.md"), "utf8"));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
