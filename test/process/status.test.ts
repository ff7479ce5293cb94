/** `sessiond status` as a person sees it: what is wrong, and how to mend it. */
import { chmodSync, renameSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { CommandHouse } from "../support/command.ts";

const house = new CommandHouse();
afterAll(() => house.close());

test("B42 status prints what is wrong with how to mend it, and nothing of the kind when all is well", async () => {
  const cwd = house.workdir("a");
  await house.run(cwd, "run", "say hello");
  const well = await house.run(cwd, "status");
  expect(well.code).toBe(0);
  expect(well.stdout).toMatch(/sessions +1 live, 0 resting, 0 stopped/);
  expect(well.stdout).not.toContain("!");
  const runtimeDir = join(house.root, "run/sessiond");
  const key = join(house.root, "state/sessiond/host-key");
  chmodSync(key, 0o644);
  const { stdout } = await house.run(cwd, "status");
  expect(stdout).toContain(`! ${key} is open to other accounts`);
  expect(stdout).toContain(`chmod 600 ${key}`);
  chmodSync(key, 0o600);
  // The same as data.
  renameSync(join(runtimeDir, "lock"), join(runtimeDir, "lock-away"));
  const json = JSON.parse((await house.run(cwd, "status", "--json")).stdout) as { pid: number; ready: boolean; problems: unknown[] };
  expect(json).toMatchObject({ ready: true, problems: [] });
  renameSync(join(runtimeDir, "lock-away"), join(runtimeDir, "lock"));
});
