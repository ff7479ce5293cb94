import { readdir, readFile, readlink } from "node:fs/promises";
import { dirname } from "node:path";
import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { endRigs, Rig } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** What goes on in the house between two lives of a session, and between rest and waking. */
afterEach(endRigs);

/** Journals under `root` that this process holds open for writing or reading. */
async function openJournals(root: string): Promise<number> {
  const links = await Promise.all((await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")));
  return links.filter((path) => path.startsWith(root) && /\/journal(-\d+)?$/.test(path)).length;
}

interface Saying {
  say(text: string): Promise<void>;
  end(): void;
}
const saying = (text: string) => ({ auto: (turn: Saying) => void turn.say(text).then(() => turn.end()) });

/** Turns, one after another, and nobody left afterwards. */
async function used(rig: Rig, turns = 1): Promise<void> {
  const driver = await rig.driver();
  for (let turn = 1; turn <= turns; turn++) {
    await driver.prompt("hello");
    await driver.event("turn_ended", turn);
  }
  await driver.detach();
}

test("B13 B38 a session that is put to rest lets go of its journal, also when something else of it cannot be written", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk, script: saying("done") });
  await used(rig);
  void disk.fail("replace", "session.json", { code: "ENOSPC" });
  rig.clock.advance(limits.rest_after_ms);
  await new Promise((resolve) => setImmediate(resolve));
  await rig.daemon.host.resting.settled();
  expect(rig.daemon.bugs).toMatchObject([{ code: "storage_failed" }]);
  expect(await openJournals(rig.daemon.root)).toBe(0);
  expect((await rig.info()).turns).toBe(1);
  expect(await openJournals(rig.daemon.root)).toBe(1);
});

test("B38 a life that ended, by its journal and the registry, is acknowledged and let go of, also when the tokens' last use cannot be written", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk, script: saying("done") });
  await used(rig);
  void disk.fail("replace", "session.json", { code: "ENOSPC" });
  await expect(rig.stop()).resolves.toMatchObject({ life: 1 });
  expect(rig.daemon.bugs).toMatchObject([{ code: "storage_failed" }]);
  expect((await rig.startSession()).session.life).toBe(2);
  expect(await openJournals(rig.daemon.root)).toBe(1);
});

test("B36 B38 whoever calls in the very instant in which the registry knows of the next life finds it, and opens no second writer", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  await rig.stop();
  const { host } = rig.daemon;
  const found: Promise<unknown>[] = [];
  const replace = disk.replace.bind(disk);
  disk.replace = async (path, text) => {
    await replace(path, text);
    // Looks between any two steps of what follows.
    const look = async (): Promise<void> => {
      for (let tick = 0; tick < 50 && found.length === 0; tick++) {
        await Promise.resolve();
        if (host.entry(rig.sessionId)?.stopped === false) found.push(host.session(rig.sessionId));
      }
    };
    if (path.endsWith("registry.json")) void look();
  };
  await rig.startSession();
  expect(await Promise.all(found)).toEqual([host.inMemory(rig.sessionId)]);
  expect((await rig.lines()).filter((line) => line.startsWith('{"epoch"'))).toHaveLength(2);
  expect(await openJournals(rig.daemon.root)).toBe(1);
});

test("B11 B36 B47 a compaction ends with its life: it replaces nothing of a journal that the next life writes", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk, limits: { segment_bytes_max: 4_000, segments_kept: 0 }, script: saying("x".repeat(3_000)) });
  // Somebody who has all that was compacted, and takes nothing more: the ended life's files stay open for him.
  const first = disk.hold("sync", ".compact");
  await used(rig, 3);
  await first.reached;
  const ended = rig.daemon.host.awake[0]?.log;
  const standing = ended?.room.stand(Number.MAX_SAFE_INTEGER);
  const said = (await rig.journal()).length;
  const stopping = rig.stop();
  const starting = rig.daemon.call("start_or_get_for_workdir", { workdir: rig.workdir }, { host_key: rig.daemon.hostKey });
  const second = disk.hold("write", ".compact");
  // Without the wait, the next life's compaction begins while the first one's is under way.
  await Promise.race([second.reached, new Promise((resolve) => setTimeout(resolve, 300))]);
  first.release();
  await Promise.all([stopping, starting]);
  await second.reached;
  // Whatever the ended life still had to do is done.
  await ended?.idle();
  // As a kill would find it now.
  const next = await rig.crash();
  const names = (await readdir(dirname(next.journalPath))).filter((name) => /^journal(-\d+)?$/.test(name));
  for (const name of names) expect(await readFile(`${dirname(next.journalPath)}/${name}`, "utf8"), name).not.toBe("");
  expect((await next.journal()).length).toBeGreaterThanOrEqual(said);
  if (standing !== undefined) ended?.room.leave(standing);
  second.release();
});
