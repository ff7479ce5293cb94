import { basename } from "node:path";
import { afterEach, expect, test } from "vitest";
import { verbs } from "@sessiond/shared";
import type { DiskFile } from "../../packages/daemon/src/disk.ts";
import { endLogs, LogRig } from "../support/log-rig.ts";
import type { ScriptedTurn } from "../support/scripted-agent.ts";
import { endRigs, eventsOf, Rig } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** What the simulation has found, each by itself and on the real disk: how it begins there is said with each. */
afterEach(endRigs);

const owner = (rig: Rig) => ({ host_key: rig.daemon.hostKey });

test("B36 a start that failed takes its journal up no more, and what was done after the next start stays", async () => {
  // Seed 46, 131 steps: write_done_and_failed in a next life's first frame, a start that succeeds, five seconds.
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  await rig.stop();
  // The first write is the record of the epoch.
  const failed = disk.fail("write", "journal", { skip: 1 });
  await expect(rig.startSession()).rejects.toMatchObject({ code: "storage_failed" });
  await failed;
  await rig.startSession();
  const ada = await rig.driver("ada");
  await ada.prompt("do not lose me");
  const before = await rig.journal();
  const opened = disk.counts.open;
  rig.clock.advance(6_000);
  for (let looks = 0; looks < 10; looks++) await rig.lines();
  expect(disk.counts.open).toBe(opened);
  expect(await rig.journal()).toEqual(before);
  expect(eventsOf(before, "prompt_accepted")).toHaveLength(1);
});

test("B38 the folder of a creation that failed is not looked for again", async () => {
  // The same, where the session was never committed: its timer ran every five seconds for ever.
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  void disk.fail("write", "journal", { skip: 1 });
  const other = rig.daemon.call("start_session", { request_id: `req_${"1".repeat(22)}`, workdir: rig.workdir }, owner(rig));
  await expect(other).rejects.toMatchObject({ code: "storage_failed" });
  const opened = disk.counts.open;
  rig.clock.advance(30_000);
  for (let looks = 0; looks < 10; looks++) await rig.lines();
  expect(disk.counts.open).toBe(opened);
});

test("B35 a life that a failed start has begun is ended by stop, and stop says so", async () => {
  // Seed 55, 253 steps: sync_eio in a next life's first frame, stop.
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  await rig.stop();
  void disk.fail("sync", "journal", { skip: 1 });
  await expect(rig.startSession()).rejects.toMatchObject({ code: "storage_failed" });
  const { seq, life } = await rig.daemon.call("stop", { session_id: rig.sessionId }, owner(rig));
  const last = (await rig.journal()).at(-1);
  expect(last).toMatchObject({ seq, event: { type: "session_stopped", life } });
  const again = await rig.crash();
  expect(await again.daemon.call("stop", { session_id: rig.sessionId }, owner(again))).toEqual({ seq, life });
});

test("B31 a page that is being read when the session is stopped is whole", async () => {
  // Seed 143, 276 steps: read_page, stop.
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk, limits: { window_frames_max: 2 } });
  const ada = await rig.driver("ada");
  for (const title of ["one", "two", "three", "four", "five"]) await rig.daemon.call("configure_session", { session_id: rig.sessionId, title }, ada.auth);
  const reading = disk.hold("read", "journal");
  const page = rig.daemon.call("session_data", { session_id: rig.sessionId, before: 5, limit: 2 }, owner(rig));
  await reading.reached;
  await rig.stop();
  reading.release();
  expect((await page).frames.map(({ seq }) => seq)).toEqual([3, 4]);
});

test("B35 what only its journal knows to have ended is read, and stopped again, like any other", async () => {
  // Seed 122, 277 steps: a stop whose registry could not be written, a kill, read_eio at the start, session_info.
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  void disk.fail("replace", "registry.json");
  await expect(rig.stop()).rejects.toMatchObject({ code: "storage_failed" });
  for (const verb of ["session_info", "session_data", "stop"] as const) {
    const failing = new TrappedDisk();
    const failed = failing.fail("replace", `open/${rig.sessionId}`);
    const again = await rig.crash({ disk: failing });
    await failed;
    await again.daemon.call(verb, { session_id: rig.sessionId }, owner(again));
    expect((await again.daemon.call("session_info", { session_id: rig.sessionId }, owner(again))).life_state).toBe("stopped");
  }
});

test("B40 who reads from disk while the daemon drains is told that it is shutting down", async () => {
  // Seed 100073, 227 steps: resume, restart.
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk, limits: { window_frames_max: 2, batch_bytes_max: 1 } });
  const ada = await rig.driver("ada");
  for (const title of ["one", "two", "three", "four", "five"]) await rig.daemon.call("configure_session", { session_id: rig.sessionId, title }, ada.auth);
  const reading = disk.hold("read", "journal");
  const bo = await rig.attach("bo", { cursor: "1:1" });
  await reading.reached;
  const stopped = rig.daemon.stop(0);
  await ada.until(({ end }) => end !== undefined);
  // By then its files are closed but for the read that is under way.
  await stopped;
  reading.release();
  await bo.until(({ end }) => end !== undefined);
  expect(bo.end?.code).toBe("shutting_down");
});

test("B38 where a token is looked up, or a frame waited for, the table says that the disk may fail", () => {
  // Seeds 29, 250 steps: sync_eio, detach; and 1631730, 112 steps: restart, read_eio, authorize.
  for (const verb of ["detach", "authorize", "list_tokens", "list_agents"] as const) expect(verbs[verb].throws, verb).toContain("storage_failed");
});

test("B31 a page of a stopped session is whole, also where its next life compacts the journal while it is read", async () => {
  // Seed 21654865, 215 steps: stop, read_page, start_again.
  const disk = new TrappedDisk();
  const limits = { segment_bytes_max: 2_048, segments_kept: 8, window_frames_max: 2 };
  const talk = async (turn: ScriptedTurn) => {
    for (let word = 0; word < 8; word++) await turn.say(`${word} `.repeat(40));
    turn.end();
  };
  const first = await Rig.start({ disk, limits, script: { auto: (turn) => void talk(turn) } });
  const ada = await first.driver("ada");
  for (let count = 1; count <= 4; count++) {
    await ada.prompt(`prompt ${count}`);
    await ada.event("turn_ended", count);
  }
  await first.stop();
  // Fewer are kept: a life compacts as soon as it begins.
  const rig = await first.crash({ disk, limits: { ...limits, segments_kept: 1 } });
  const read = () => rig.daemon.call("session_data", { session_id: rig.sessionId, after: 0, limit: 3 }, owner(rig));
  const before = disk.counts.open;
  expect((await read()).compacted_through).toBe(0);
  // The last file that it opens is the one which it reads the page from.
  const reading = disk.hold("open", "journal", disk.counts.open - before - 1);
  const page = read();
  await reading.reached;
  await rig.daemon.call("start_session", { request_id: `req_${"2".repeat(22)}`, session_id: rig.sessionId }, owner(rig));
  await rig.daemon.host.awake[0]?.log.idle();
  reading.release();
  expect((await page).frames[0]).toMatchObject({ seq: 1, event: { type: "session_started" } });
  expect((await page).compacted_through).toBeGreaterThan(0);
});

/** Says in which order names and lines were changed, and fails the next sync of a directory when told to. */
class TellingDisk extends TrappedDisk {
  readonly told: string[] = [];
  failing = false;

  override async remove(path: string): Promise<void> {
    this.told.push(`remove ${basename(path)}`);
    await super.remove(path);
  }
  override async syncDirectory(path: string): Promise<void> {
    this.told.push("sync names");
    if (this.failing) throw Object.assign(new Error("EIO: made to fail"), { code: "EIO" });
    await super.syncDirectory(path);
  }
  override async open(path: string, mode: "read" | "write"): Promise<DiskFile> {
    const file = await super.open(path, mode);
    const write = (position: number, bytes: Buffer): Promise<void> => {
      this.told.push(`write ${basename(path)}`);
      return file.write(position, bytes);
    };
    return { ...file, write };
  }
}

test("B36 B47 a segment whose making failed is gone for good before the one before it is written to", async () => {
  // Seed 910762, 255 steps: name_eio while a segment is made, a loss of power in the middle of the next opening.
  const disk = new TellingDisk();
  const rig = await LogRig.open({ disk, limits: { window_frames_max: 1 } });
  await rig.begin();
  disk.failing = true;
  for (let turn = 0; rig.log.room.fault === undefined; turn++) await rig.turn(turn).catch(() => undefined);
  const [made = ""] = (await rig.segments()).filter((name) => name !== "journal");
  expect(made).toMatch(/^journal-/);
  disk.failing = false;
  disk.told.length = 0;
  await rig.log.reopen();
  const removed = disk.told.indexOf(`remove ${made}`);
  expect(removed).toBeGreaterThanOrEqual(0);
  expect(disk.told.slice(removed + 1, disk.told.indexOf("write journal"))).toContain("sync names");
  await endLogs();
});
