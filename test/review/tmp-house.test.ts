import { readdir, readlink } from "node:fs/promises";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { endRigs, Rig } from "../support/session-rig.ts";

afterEach(endRigs);

async function openJournals(root: string): Promise<number> {
  const links = await Promise.all((await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")));
  return links.filter((path) => path.startsWith(root) && /\/journal(-\d+)?$/.test(path)).length;
}
const auto = { script: { auto: (turn: { say(text: string): Promise<void>; end(): void }) => void turn.say("done").then(() => turn.end()) } };
async function pass(rig: Rig, ms: number): Promise<void> {
  rig.clock.advance(ms);
  await new Promise((resolve) => setImmediate(resolve));
  await rig.daemon.host.resting.settled();
}

test("T2 rest whose session.json write fails", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ ...auto, disk });
  const driver = await rig.driver();
  await driver.prompt("hello");
  await driver.event("turn_ended");
  await driver.detach();
  expect(await openJournals(rig.daemon.root)).toBe(1);
  void disk.fail("replace", "session.json", { code: "ENOSPC" });
  await pass(rig, limits.rest_after_ms);
  console.log("T2 after rest", await openJournals(rig.daemon.root), rig.daemon.bugs.map(String));
  disk.mend();
  await rig.info();
  console.log("T2 after wake", await openJournals(rig.daemon.root));
});

test("T3 stop whose session.json write fails", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ ...auto, disk });
  const driver = await rig.driver();
  await driver.prompt("hello");
  await driver.event("turn_ended");
  await driver.detach();
  void disk.fail("replace", "session.json", { code: "ENOSPC" });
  const answer = await rig.stop().catch((e: Error) => e);
  console.log("T3 stop", answer);
  await new Promise((r) => setTimeout(r, 50));
  console.log("T3 journals", await openJournals(rig.daemon.root), existsSync(join(rig.daemon.root, "state/sessiond/open", rig.sessionId)));
  console.log("again", await rig.stop().catch((e: Error) => e));
  await rig.startSession();
  console.log("T3 journals after start", await openJournals(rig.daemon.root));
});

test("T4 nextlife gap", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ ...auto, disk });
  await rig.stop();
  const registry = rig.daemon.host.options.registry;
  let hits = 0;
  const real = disk.replace.bind(disk);
  disk.replace = async (path, text) => {
    await real(path, text);
    if (!path.includes("registry.json")) return;
    void (async () => {
      for (let n = 0; n < 60; n++) {
        await Promise.resolve();
        if (registry.get(rig.sessionId)?.stopped === false && rig.daemon.host.inMemory(rig.sessionId) === undefined) {
          hits += 1;
          await rig.daemon.host.session(rig.sessionId).catch((e: Error) => console.log("ERR", e));
          return;
        }
      }
    })();
  };
  await rig.startSession();
  await new Promise((r) => setTimeout(r, 50));
  console.log("T4 gap hits", hits, (await rig.lines()).filter((line) => line.startsWith('{"epoch"')), await openJournals(rig.daemon.root));
});

test("T1 old compactor beside next life", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk, limits: { segment_bytes_max: 4_000, segments_kept: 0 }, script: { auto: (turn: { say(text: string): Promise<void>; end(): void }) => void turn.say("x".repeat(3_000)).then(() => turn.end()) } });
  const driver = await rig.driver();
  const hold = disk.hold("write", ".compact");
  for (let n = 1; n <= 4; n++) {
    await driver.prompt("hello");
    await driver.event("turn_ended", n);
  }
  await hold.reached;
  const dir = join(rig.daemon.root, "state/sessiond/sessions", rig.sessionId);
  console.log("T1", readdirSync(dir));
  let stopped = false;
  const stopping = rig.stop().then(() => (stopped = true));
  await new Promise((r) => setTimeout(r, 100));
  console.log("T1 stopped while compacting:", stopped);
  if (stopped) {
    await rig.startSession();
    await new Promise((r) => setTimeout(r, 100));
    console.log("T1 next life", readdirSync(dir), rig.daemon.bugs.map(String));
  }
  hold.release();
  await stopping;
  await new Promise((r) => setTimeout(r, 200));
  console.log("T1 end", readdirSync(dir), rig.daemon.bugs.map((b) => String(b)));
});
