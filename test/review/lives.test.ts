import { readFile, readdir, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { endRigs, Rig } from "../support/session-rig.ts";

/** One journal has one writer, whatever fails between two lives of its session. */
afterEach(endRigs);

const registryOf = (root: string): string => join(root, "state/sessiond/registry.json");

/** Journals under `root` that this process holds open. */
async function openJournals(root: string): Promise<number> {
  const links = await Promise.all((await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")));
  return links.filter((path) => path.startsWith(root) && path.endsWith("/journal")).length;
}

test("B36 B38 a stop whose sync failed leaves nothing behind that touches the next life's journal", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  void disk.fail("sync", "/journal");
  await expect(rig.stop()).rejects.toMatchObject({ code: "storage_failed" });
  expect((await rig.startSession()).session.life).toBe(2);
  const seat = await rig.driver();
  await seat.prompt("hello");
  const acknowledged = await rig.lines();
  // The first life's own try to reopen would fall due here.
  rig.clock.advance(60_000);
  // It would read directory and journal before it cuts: as many steps of the disk, and more, pass here.
  for (let again = 0; again < 20; again++) await seat.prompt(`and again ${again}`);
  expect((await rig.lines()).slice(0, acknowledged.length)).toEqual(acknowledged);
  expect((await rig.crash()).sessionId).toBe(rig.sessionId);
});

test("B36 a stop that is repeated after a failed sync is acknowledged only when its last frame is on disk", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  void disk.fail("sync", "/journal", { times: 2 });
  await expect(rig.stop()).rejects.toMatchObject({ code: "storage_failed" });
  await expect(rig.stop()).rejects.toMatchObject({ code: "storage_failed" });
  await expect(rig.stop()).resolves.toMatchObject({ life: 1 });
});

test("B10 B36 a start that comes while its session is still being recovered joins it, and opens no second writer", async () => {
  const rig = await Rig.start();
  await rig.stop();
  const before = await readFile(registryOf(rig.daemon.root), "utf8");
  await rig.startSession();
  // Killed between the journal's frame and the registry's entry.
  const root = await rig.copy();
  await writeFile(registryOf(root), before);
  const disk = new TrappedDisk();
  const hold = disk.hold("replace", "registry.json");
  const next = await Rig.restart(root, rig, { disk });
  await hold.reached;
  const starting = next.daemon.call("start_or_get_for_workdir", { workdir: rig.workdir }, { host_key: next.daemon.hostKey });
  await new Promise((resolve) => setImmediate(resolve));
  hold.release();
  expect(await starting).toMatchObject({ created: false, session: { life: 2 } });
  expect((await next.lines()).filter((line) => line.startsWith('{"epoch"'))).toHaveLength(3);
  expect(await openJournals(root)).toBe(1);
});

test("B11 a life that was ended keeps no file open", async () => {
  const rig = await Rig.start();
  const root = rig.daemon.root;
  expect(await openJournals(root)).toBe(1);
  await rig.stop();
  await expect.poll(() => openJournals(root)).toBe(0);
});

test("B38 a wake that fails at the registry keeps no file open", async () => {
  const rig = await Rig.start();
  await rig.stop();
  const root = await rig.copy();
  await writeFile(registryOf(root), (await readFile(registryOf(root), "utf8")).replace('"stopped":true', '"stopped":false'));
  const disk = new TrappedDisk();
  void disk.fail("replace", "registry.json", { times: 100 });
  const next = await Rig.restart(root, rig, { disk });
  for (let tries = 0; tries < 5; tries++) await expect(next.info()).rejects.toMatchObject({ code: "storage_failed" });
  // At once: what is only forgotten is closed in the end too, by the garbage collector.
  expect(await openJournals(root)).toBe(0);
});

test("B31 B38 a journal that has lost shown lines is not reopened: no seq is given twice", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const seat = await rig.driver();
  await seat.prompt("hello");
  const turn = await rig.kind.turn();
  await turn.say("one");
  await turn.say("two");
  turn.end();
  await seat.event("turn_ended");
  void disk.fail("sync", "/journal");
  await expect(seat.prompt("again")).rejects.toMatchObject({ code: "storage_failed" });
  const shown = (await rig.info()).seq;
  await writeFile(rig.journalPath, (await readFile(rig.journalPath, "utf8")).replace('"two"', "\0\0\0\0\0"));
  const session = rig.daemon.host.awake[0];
  await expect(session?.reopen()).rejects.toMatchObject({ code: "storage_failed" });
  expect((await rig.info()).seq).toBe(shown);
  // A start takes up what is left, and tells who has seen more.
  const next = await rig.crash();
  const again = await next.attach("again", { cursor: seat.cursor });
  expect(again.first).toMatchObject({ type: "snapshot", reset: "beyond_end" });
});

test("B36 B40 a stop that comes when its session rests already is refused with shutting_down, and writes nothing", async () => {
  const rig = await Rig.start();
  const session = rig.daemon.host.awake[0];
  await rig.daemon.host.drain(0);
  const before = await rig.lines();
  await expect(rig.stop()).rejects.toMatchObject({ code: "shutting_down" });
  expect(session?.log.room.fault).toBeUndefined();
  expect(session?.live).toBe(true);
  expect(await rig.lines()).toEqual(before);
});

test("B36 B40 a journal that is being taken up again when the daemon drains is closed with it, and none is taken up after", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const seat = await rig.driver();
  void disk.fail("sync", "/journal");
  await expect(seat.prompt("hello")).rejects.toMatchObject({ code: "storage_failed" });
  const session = rig.daemon.host.awake[0];
  const hold = disk.hold("open", "/journal");
  const reopening = session?.reopen();
  await hold.reached;
  const draining = rig.daemon.host.drain(0);
  await new Promise((resolve) => setImmediate(resolve));
  hold.release();
  await Promise.all([reopening, draining]);
  expect(await openJournals(rig.daemon.root)).toBe(0);
  await expect(session?.reopen()).rejects.toMatchObject({ code: "shutting_down" });
  expect(await openJournals(rig.daemon.root)).toBe(0);
});

test("B36 B40 a journal that is taken up again while a turn is being ended for the drain is closed too", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk, script: { stubborn: true } });
  const seat = await rig.driver();
  await seat.prompt("hello");
  const turn = await rig.kind.turn();
  const session = rig.daemon.host.awake[0];
  const draining = rig.daemon.host.drain(0);
  await new Promise((resolve) => setImmediate(resolve));
  rig.clock.advance(0);
  await turn.returned;
  void disk.fail("write", "/journal");
  await expect(seat.detach()).rejects.toMatchObject({ code: "storage_failed" });
  const hold = disk.hold("open", "/journal");
  const reopening = session?.reopen();
  // Nobody waits for this turn any longer.
  rig.clock.advance(limits.interrupt_wait_ms);
  await hold.reached;
  await new Promise((resolve) => setImmediate(resolve));
  hold.release();
  await Promise.all([reopening, draining]);
  expect(await openJournals(rig.daemon.root)).toBe(0);
});
