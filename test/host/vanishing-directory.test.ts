import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { removeRoot, startTestDaemon, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { hostAuth } from "../support/gate-world.ts";

/** What happens to a directory in the instant between two looks at it. */
const instant = vi.hoisted(() => ({ before: (_path: string): void => undefined }));
vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  return { ...real, stat: (path: string) => (instant.before(path), real.stat(path)) };
});

let daemon: TestDaemon;
beforeEach(async () => void (daemon = await startTestDaemon()));
afterEach(async () => {
  instant.before = () => undefined;
  await daemon.stop(0);
  await removeRoot(daemon.root);
});

test("B9 B38 a directory that goes while it is looked at is an invalid one, for a session and for a key's root, and no bug", async () => {
  const workdir = join(daemon.root, "going");
  let gone = 0;
  instant.before = (path) => {
    if (path !== workdir) return;
    rmdirSync(path);
    gone += 1;
  };
  const invalid = { code: "workdir_invalid", detail: { reason: "it does not exist" } };
  mkdirSync(workdir);
  await expect(daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, hostAuth(daemon))).rejects.toMatchObject(invalid);
  mkdirSync(workdir);
  await expect(daemon.call("create_key", { name: "k", scopes: ["sessions:list"], roots: [workdir] }, hostAuth(daemon))).rejects.toMatchObject(invalid);
  expect([gone, daemon.bugs]).toEqual([2, []]);
});
