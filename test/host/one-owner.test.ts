import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { readConfig } from "../../packages/daemon/src/config.ts";
import { startDaemon, type RunningDaemon } from "../../packages/daemon/src/main.ts";
import { removeRoot, startTestDaemon, testEnv, testRoot } from "../../packages/daemon/src/testing.ts";

/** Journals have one writer: the state directory has one daemon, whatever runtime directory a shell names. */
const log = { info: () => undefined, error: () => undefined };
const running: RunningDaemon[] = [];
const roots: string[] = [];

afterEach(async () => {
  await Promise.all(running.splice(0).map((daemon) => daemon.stop(0)));
  await Promise.all(roots.splice(0).map(removeRoot));
});

test("B41 a second daemon behind another socket does not start on the same state, and names the first", async () => {
  const root = await testRoot();
  roots.push(root);
  const first = await startTestDaemon({ root });
  running.push(first);
  const elsewhere = readConfig({ ...testEnv(root), XDG_RUNTIME_DIR: join(root, "other") }, []);
  await expect(startDaemon(elsewhere, { log })).rejects.toMatchObject({ code: "conflict", message: expect.stringContaining(first.socketPath) as string });
  expect(await readFile(join(root, "state/sessiond/lock"), "utf8")).toBe(first.socketPath);
  expect(await first.call("list_sessions", {}, { host_key: first.hostKey })).toMatchObject({ sessions: [] });
  await first.stop(0);
  const second = await startDaemon(elsewhere, { log });
  expect(second).not.toBeNull();
  if (second !== null) running.push(second);
});

test("B41 a start that fails lets go of what it had claimed", async () => {
  const root = await testRoot();
  roots.push(root);
  const broken = { makeDirectory: () => Promise.reject(new Error("EIO: made to fail, mkdir")) };
  const { realDisk } = await import("../../packages/daemon/src/disk.ts");
  await expect(startTestDaemon({ root, disk: { ...realDisk(), ...broken } })).rejects.toMatchObject({ code: "storage_failed" });
  running.push(await startTestDaemon({ root }));
});
