import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { kernelLock } from "../../packages/daemon/src/kernel-lock.ts";
import { removeRoot, startTestDaemon, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { hostAuth, makeWorkdir } from "../support/gate-world.ts";

/**
 * The superuser can read everything, so this file gives that up for good before it begins: it has
 * a process of its own. Nothing else belongs in here.
 */
const nobody = 65_534;
let daemon: TestDaemon;

beforeAll(async () => {
  // Loaded while it certainly can be.
  expect(kernelLock()).toBeTypeOf("function");
  if (process.getuid?.() === 0) {
    process.setgroups?.([]);
    process.setgid?.(nobody);
    process.setuid?.(nobody);
  }
  daemon = await startTestDaemon();
});
afterAll(async () => {
  await daemon.stop(0);
  await removeRoot(daemon.root);
});

const refusal = (workdir: string) =>
  daemon.call("start_or_get_for_workdir", { workdir }, hostAuth(daemon)).then(
    () => "accepted",
    (error: { code: string; detail: { reason: string } }) => `${error.code}: ${error.detail.reason}`,
  );

test("B9 a directory that this account cannot read or enter, or cannot reach, is workdir_invalid", async () => {
  for (const mode of [0o000, 0o300, 0o400]) {
    const closed = await makeWorkdir(daemon, `closed-${mode}`);
    mkdirSync(join(closed, "inner"));
    chmodSync(closed, mode);
    expect(await refusal(closed), mode.toString(8)).toBe("workdir_invalid: it cannot be read by this account");
    if (mode !== 0o300) expect(await refusal(join(closed, "inner")), mode.toString(8)).toBe("workdir_invalid: it cannot be read by this account");
    chmodSync(closed, 0o700);
    expect(await refusal(closed)).toBe("accepted");
  }
});
