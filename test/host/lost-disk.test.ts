import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { limits, SessiondError } from "@sessiond/shared";
import { Audit } from "../../packages/daemon/src/audit.ts";
import { systemClock } from "../../packages/daemon/src/clock.ts";
import { realDisk } from "../../packages/daemon/src/disk.ts";
import { HostKey } from "../../packages/daemon/src/keys.ts";
import { openLog } from "../../packages/daemon/src/log.ts";
import { removeRoot, testRoot } from "../../packages/daemon/src/testing.ts";
import { eventually } from "../support/eventually.ts";
import { endRigs, Rig } from "../support/session-rig.ts";
import { mayMount, SmallDisk } from "../support/small-disk.ts";

/** Files that are not journals on a disk that is full or gone; what a journal does there is in test/room/fault. */
const roots: string[] = [];
const disks: SmallDisk[] = [];
afterEach(async () => {
  await endRigs();
  for (const disk of disks.splice(0)) disk.unmount();
  for (const root of roots.splice(0)) await removeRoot(root);
});

async function small(): Promise<SmallDisk> {
  const root = await testRoot();
  roots.push(root);
  const disk = new SmallDisk(join(root, "small"), 65_536);
  disks.push(disk);
  return disk;
}

test("B38 a log that cannot be written fails nobody, and ends no daemon", () => {
  const log = openLog("/dev/full", limits.log_bytes_max);
  for (let line = 0; line < 1_000; line++) log.info("a line", { text: "x".repeat(1_000) });
  log.error("an error", new Error("of any kind"));
});

test.skipIf(!mayMount)(
  "B38 lines of the log that a full disk did not take follow in order when it has room (skipped where this account may not mount)",
  async () => {
    const disk = await small();
    const path = join(disk.path, "daemon.log");
    const log = openLog(path, limits.log_bytes_max);
    disk.fill();
    for (let line = 0; line < 100; line++) log.info(`line ${line}`);
    expect(readFileSync(path, "utf8")).not.toContain("line 99");
    disk.clear();
    log.info("with room");
    const said = readFileSync(path, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { msg: string }).msg);
    expect(said).toEqual([...Array.from({ length: 100 }, (_, line) => `line ${line}`), "with room"]);
  },
);

test.skipIf(!mayMount)(
  "B8 B38 a line of the audit file that a full disk cuts short takes no other with it (skipped where this account may not mount)",
  async () => {
    const disk = await small();
    const path = join(disk.path, "audit.jsonl");
    const audit = new Audit(path, systemClock, limits);
    const record = async (verb: string): Promise<void> => {
      audit.record({ verb, outcome: "ok", ms: 0 }, "act");
      await audit.flush();
    };
    await record("before");
    disk.fill();
    while (audit.counts.failed === 0) await record("x".repeat(1_000));
    expect(audit.counts.last_failure).toBe("ENOSPC");
    expect(readFileSync(path, "utf8")).not.toMatch(/\n$/);
    disk.clear();
    await record("after");
    expect(JSON.parse(readFileSync(path, "utf8").trimEnd().split("\n").at(-1) ?? "")).toMatchObject({ verb: "after" });
  },
);

test("B38 a host key that cannot be read or made is a typed error that names its file", async () => {
  const root = await testRoot();
  roots.push(root);
  const path = join(root, "host-key");
  const refused = (): Promise<unknown> => HostKey.load(realDisk(), path).catch((error: unknown) => error);
  mkdirSync(path);
  for (const make of [() => undefined, () => (roots.push(root), rmSync(root, { recursive: true }))]) {
    make();
    const error = await refused();
    expect(error).toBeInstanceOf(SessiondError);
    expect(error).toMatchObject({ code: "storage_failed", detail: { reason: expect.stringContaining(path) } });
  }
});

test("B18 B38 a journal whose file was removed acknowledges nothing any more: the session is faulted, and says why", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("kept");
  rmSync(rig.journalPath);
  await expect(driver.prompt("lost")).rejects.toMatchObject({ code: "storage_failed", detail: { reason: expect.stringContaining("removed") } });
  await driver.until(() => driver.fault !== undefined);
  expect((await rig.info()).fault).toMatchObject({ code: "storage_failed" });
  // It is not begun anew under everybody's hands.
  rig.clock.advance(limits.reopen_ms);
  await eventually("it was tried", async () => (await rig.info()).fault?.code === "storage_failed");
  await expect(driver.prompt("refused")).rejects.toMatchObject({ code: "session_faulted" });
  expect(rig.daemon.bugs).toEqual([]);
});
