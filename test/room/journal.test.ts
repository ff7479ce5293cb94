import { appendFile, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { afterEach, expect, test } from "vitest";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { endRigs, eventsOf, promptId, Rig } from "../support/session-rig.ts";

/** One journal: its lines, its epochs, its cursors, its damage. */
afterEach(endRigs);

/** A session with some turns behind it. */
async function talked(rig: Rig, turns = 3) {
  const driver = await rig.driver();
  for (let count = 1; count <= turns; count++) {
    await driver.prompt(`prompt ${count}`);
    const turn = await rig.kind.turn();
    await turn.say(`answer ${count}`);
    turn.end();
    await driver.event("turn_ended", count);
  }
  return driver;
}

const journalOf = (root: string, rig: Rig) => rig.journalPath.replace(rig.daemon.root, root);

test("B30 one journal: dense seqs, and every client gets the journal's own text", async () => {
  const rig = await Rig.start();
  const viewer = await rig.attach("watcher");
  const from = viewer.state.seq;
  const driver = await talked(rig);
  const lines = (await rig.lines()).filter((line) => line.startsWith('{"seq"'));
  expect(lines.map((line) => (JSON.parse(line) as { seq: number }).seq)).toEqual(lines.map((_, index) => index + 1));
  await viewer.until(() => viewer.state.seq === lines.length);
  expect(viewer.texts).toEqual(lines.slice(from));
  expect(driver.texts).toEqual(lines.slice(lines.length - driver.texts.length));
  expect((await rig.attach("late", { cursor: "1:0" })).first?.type).toBe("resumed");
  const { frames } = await rig.daemon.call("session_data", { session_id: rig.sessionId }, { token: rig.token });
  expect(frames.slice(0, lines.length).map((frame) => JSON.stringify(frame))).toEqual(lines);
});

test("B30 nothing is shown before its write has returned: not to readers, not in snapshots, not by any verb", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver();
  const viewer = await rig.attach("watcher");
  await driver.until(() => driver.state.seats.length === 2);
  const before = await rig.info();
  const write = disk.hold("write", "/journal");
  const reply = driver.prompt("hidden");
  await write.reached;
  const read = { session_id: rig.sessionId };
  expect(await rig.info()).toEqual(before);
  expect((await rig.daemon.call("session_data", read, { token: rig.token })).head).toBe(before.seq);
  expect((await rig.daemon.call("list_sessions", {}, { host_key: rig.daemon.hostKey })).sessions[0]).toMatchObject({ status: "idle" });
  expect([viewer.state.seq, driver.state.seq]).toEqual([before.seq, before.seq]);
  write.release();
  const { seq } = await reply;
  await viewer.until(() => viewer.state.seq >= seq);
  expect(seq).toBe(before.seq + 1);
});

test("B30 the queue that an interrupt lists is what was on disk, not what came meanwhile", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver();
  const { turn_id = "" } = await driver.prompt("one");
  const two = promptId();
  await driver.prompt("two", { id: two });
  const sync = disk.hold("sync", "/journal");
  const interrupted = rig.interrupt(turn_id);
  await sync.reached;
  const late = Promise.all([driver.prompt("three"), driver.prompt("four")]);
  sync.release();
  expect((await interrupted).queue.map((prompt) => prompt.prompt_id)).toEqual([two]);
  await late;
});

test("B30 group commit: one write and one sync under way at most, and concurrent calls share them", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver();
  await driver.prompt("running");
  const before = { ...disk.counts };
  const sync = disk.hold("sync", "/journal");
  const first = driver.prompt("first");
  await sync.reached;
  const rest = Promise.all(Array.from({ length: 30 }, (_, index) => driver.prompt(`queued ${index}`)));
  await driver.event("prompt_accepted", 32);
  sync.release();
  await Promise.all([first, rest]);
  expect(disk.most).toEqual({ write: 1, sync: 1 });
  // One sync for the first, one for all that came while it ran.
  expect(disk.counts.sync - before.sync).toBe(2);
});

test("B32 an older cursor is served, from memory or from disk; the frames are those of the journal", async () => {
  const rig = await Rig.start({ script: { auto: (turn) => void turn.say("x".repeat(200_000)).then(() => turn.end()) } });
  const driver = await rig.driver();
  // More than the window keeps in memory.
  for (let count = 1; count <= 8; count++) {
    await driver.prompt(`prompt ${count}`);
    await driver.event("turn_ended", count);
  }
  const old = await rig.attach("old", { cursor: "1:2" });
  expect(old.first?.type).toBe("resumed");
  await old.until(() => old.frames.at(-1)?.event.type === "seat_taken");
  const lines = (await rig.lines()).filter((line) => line.startsWith('{"seq"'));
  expect(old.texts.slice(0, lines.length - 2)).toEqual(lines.slice(2));
});

test("B32 a cursor beyond the end of its epoch, or of an epoch that never was, gets a reset with a snapshot, never silence", async () => {
  const rig = await Rig.start();
  await talked(rig);
  for (const [cursor, reset] of [
    ["1:9999", "beyond_end"],
    ["7:1", "unknown_epoch"],
    ["0:0", "unknown_epoch"],
  ] as const) {
    const seat = await rig.attach("liar", { cursor });
    expect(seat.first).toMatchObject({ type: "snapshot", reset });
    expect(seat.state.messages.length).toBeGreaterThan(0);
  }
});

test("B32 a restart opens the next epoch, synced before its first frame; cursors of the one before stay good up to its end, and no further", async () => {
  const rig = await Rig.start();
  const driver = await talked(rig);
  const end = driver.state.seq;
  const after = await rig.crash();
  await after.info();
  expect((await after.lines()).filter((line) => line.startsWith('{"epoch"')).map((line) => JSON.parse(line) as object)).toMatchObject([
    { epoch: 1, after: 0 },
    { epoch: 2, after: end },
  ]);
  const good = await after.attach("good", { cursor: `1:${end}` });
  expect(good.first?.type).toBe("resumed");
  expect((await after.attach("beyond", { cursor: `1:${end + 1}` })).first).toMatchObject({ type: "snapshot", reset: "beyond_end" });
  await good.until(() => good.frames.length > 1);
  expect(good.frames[0]?.seq).toBe(end + 1);
  expect(good.cursor).toMatch(/^2:/);
});

test("B36 a torn last line is cut off and reported by a notice; everything before it is there", async () => {
  const rig = await Rig.start();
  const driver = await talked(rig);
  const root = await rig.copy();
  const path = journalOf(root, rig);
  const whole = await readFile(path, "utf8");
  await appendFile(path, '{"seq":4711,"at":17000000');
  const after = await Rig.restart(root, rig);
  const viewer = await after.attach("late", { cursor: driver.cursor });
  await viewer.event("notice");
  expect(eventsOf(await after.journal(), "notice")).toMatchObject([{ code: "journal_cut" }]);
  expect((await readFile(path, "utf8")).startsWith(whole)).toBe(true);
});

test("B36 a journal cut at any byte opens, loses at most its torn line, and goes on without a hole", async () => {
  const rig = await Rig.start();
  await talked(rig, 1);
  const size = (await readFile(rig.journalPath)).length;
  const [, first = ""] = await rig.lines();
  const start = (await readFile(rig.journalPath, "utf8")).indexOf(first) + Buffer.byteLength(first) + 1;
  for (let cut = start; cut <= size; cut += Math.max(1, Math.floor((size - start) / 12))) {
    const root = await rig.copy();
    await truncate(journalOf(root, rig), cut);
    const after = await Rig.restart(root, rig);
    const viewer = await after.attach("late");
    await viewer.until(() => viewer.state.seats.some((seat) => seat.label === "late"));
    const frames = await after.journal();
    expect(frames.map((frame) => frame.seq)).toEqual(frames.map((_, index) => index + 1));
    expect(after.daemon.bugs).toEqual([]);
  }
});

test("B38 a malformed line in the middle: the whole file is kept aside and reported, what came before stays in use, cursors do not lie", async () => {
  const rig = await Rig.start();
  const driver = await talked(rig);
  // Three epochs, damaged in the first.
  const second = await rig.crash();
  await second.attach("second");
  const root = await second.copy();
  const path = journalOf(root, rig);
  const lines = (await readFile(path, "utf8")).split("\n");
  const damaged = lines.map((line, index) => (index === 6 ? line.slice(0, 20) : line)).join("\n");
  await writeFile(path, damaged);
  const after = await Rig.restart(root, rig);
  const seat = await after.attach("late", { cursor: `2:${driver.state.seq + 1}` });
  expect(seat.first).toMatchObject({ type: "snapshot", reset: "beyond_end" });
  const aside = (await readdir(dirname(path))).filter((name) => name.includes("damaged"));
  expect(aside).toHaveLength(1);
  expect(await readFile(`${dirname(path)}/${aside[0]}`, "utf8")).toBe(damaged);
  const { set_aside } = await after.daemon.call("daemon_status", {}, { host_key: after.daemon.hostKey });
  expect(set_aside).toMatchObject([{ path: expect.stringContaining("damaged") }]);
  expect(eventsOf(await after.journal(), "notice")).toMatchObject([{ code: "journal_cut" }]);
  // The journal grows past what the old cursor named: it must not become good by that.
  const writer = await after.attach("writer");
  while (writer.state.seq < driver.state.seq + 20) await (await after.attach("more")).detach();
  expect((await after.attach("liar", { cursor: `2:${driver.state.seq + 1}` })).first).toMatchObject({ type: "snapshot", reset: "beyond_end" });
});
