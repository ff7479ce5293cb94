import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { limits, type VerbOutput } from "@sessiond/shared";
import { RawReader } from "../support/raw-reader.ts";
import { endRigs, Rig } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { Watcher } from "../support/watcher.ts";

/** `daemon_status` tells the truth: each number is provoked, and compared. */
afterEach(endRigs);

const owner = (rig: Rig) => ({ host_key: rig.daemon.hostKey });
const status = (rig: Rig): Promise<VerbOutput<"daemon_status">> => rig.daemon.call("daemon_status", {}, owner(rig));
const stateDir = (rig: Rig) => join(rig.daemon.root, "state/sessiond");

/** One problem that says this, with a remedy in words. */
function expectProblem(problems: VerbOutput<"daemon_status">["problems"], what: RegExp, mend: RegExp): void {
  const found = problems.filter((problem) => what.test(problem.what));
  expect(found, JSON.stringify(problems)).toHaveLength(1);
  expect(found[0]?.mend).toMatch(mend);
}

test("B42 sessions by their life, seats, questions, turns and connections are counted, and nothing is wrong with a daemon that is well", async () => {
  const rig = await Rig.start();
  expect(await status(rig)).toMatchObject({
    pid: process.pid,
    socket: rig.daemon.socketPath,
    state_dir: stateDir(rig),
    started_by: "hand",
    started_at: rig.clock.now(),
    draining: false,
    ready: true,
    connections: 0,
    sessions: { live: 1, resting: 0, stopped: 0 },
    seats: 0,
    pending_approvals: 0,
    turns_running: 0,
    orphans_ended: expect.any(Number),
    problems: [],
    faults: [],
    set_aside: [],
    audit: { failed: 0 },
  });
  // One at rest, one stopped, one that asks, one that works.
  const idle = await rig.another("idle");
  const done = await idle.driver();
  await done.prompt("hello");
  (await rig.kind.turn()).end();
  await done.event("turn_ended");
  await done.detach();
  const watcher = await Watcher.open(rig.daemon);
  const asking = await rig.driver();
  await asking.prompt("ask");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  void turn.ask("c1");
  await asking.question();
  rig.clock.advance(limits.rest_after_ms);
  await watcher.of("session_resting");
  const working = await rig.another("working");
  await (await working.driver()).prompt("work");
  await rig.kind.turn();
  await working.attach("viewer");
  const ended = await rig.another("ended");
  await ended.stop();
  const reader = new RawReader({ socketPath: rig.daemon.socketPath, hostKey: rig.daemon.hostKey });
  await reader.until(({ cursor }) => cursor !== "");
  expect(await status(rig)).toMatchObject({
    connections: 1,
    sessions: { live: 2, resting: 1, stopped: 1 },
    seats: 3,
    pending_approvals: 1,
    turns_running: 2,
    problems: [],
  });
  reader.end();
});

test("B42 a session that cannot write is a fault and a problem, and is neither when it can again", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const watcher = await Watcher.open(rig.daemon);
  void disk.fail("write", "/journal", { code: "ENOSPC" });
  await rig.attach("viewer").catch(() => undefined);
  await watcher.of("session_faulted");
  const { faults, problems } = await status(rig);
  expect(faults).toMatchObject([{ session_id: rig.sessionId, fault: { code: "storage_failed", reason: expect.stringContaining("ENOSPC") } }]);
  expectProblem(problems, new RegExp(`${rig.sessionId} cannot write its journal: ENOSPC`), /disk/);
  rig.clock.advance(limits.reopen_ms);
  await watcher.of("session_faulted", 2);
  expect(await status(rig)).toMatchObject({ faults: [], problems: [] });
});

test("B42 B12 what was set aside at the start is told by its place, with what became of it", async () => {
  const rig = await Rig.start();
  await rig.daemon.stop(0);
  writeFileSync(join(stateDir(rig), "registry.json"), "no json");
  const after = await Rig.restart(rig.daemon.root, rig);
  const { set_aside, problems } = await status(after);
  expect(set_aside).toMatchObject([{ path: expect.stringContaining("registry.json.unreadable-"), reason: expect.any(String) }]);
  expectProblem(problems, /registry\.json\.unreadable-\d+ was set aside: the registry cannot be read/, /nothing of it was deleted/);
});

test("B42 a session that could not be opened at the start is a problem until it can be", async () => {
  const rig = await Rig.start();
  const root = await rig.copy();
  const journals = join(root, "state/sessiond/sessions", rig.sessionId);
  renameSync(journals, `${journals}-away`);
  writeFileSync(journals, "not a folder");
  const after = await Rig.restart(root, rig);
  for (;;) {
    const { ready } = await status(after);
    if (ready) break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  expectProblem((await status(after)).problems, new RegExp(`${rig.sessionId} could not be opened at the start`), /tries again/);
  rmSync(journals);
  renameSync(`${journals}-away`, journals);
  expect(await after.info()).toMatchObject({ life_state: "live" });
  expect((await status(after)).problems).toEqual([]);
});

test("B42 B8 lines of the audit file that could not be written are counted, and are a problem", async () => {
  const rig = await Rig.start();
  while ((await status(rig)).audit.written === 0) await new Promise((resolve) => setImmediate(resolve));
  rmSync(join(stateDir(rig), "audit.jsonl"));
  mkdirSync(join(stateDir(rig), "audit.jsonl"));
  await rig.stop();
  for (;;) {
    const { audit, problems } = await status(rig);
    if (audit.failed === 0) {
      await new Promise((resolve) => setImmediate(resolve));
      continue;
    }
    expect(audit).toMatchObject({ failed: 1, last_failure: "EISDIR" });
    expectProblem(problems, /^1 line of the audit file could not be written \(EISDIR\)/, /disk/);
    break;
  }
  expect(rig.daemon.bugs).toEqual([]);
});

test("B42 B45 an agent that cannot run is a problem, with what to do about it", async () => {
  const rig = await Rig.start();
  rig.kind.missing = "set a key where the daemon is started";
  expectProblem((await status(rig)).problems, /the agent scripted cannot run a prompt/, /^set a key where the daemon is started$/);
  rig.kind.missing = null;
  expect((await status(rig)).problems).toEqual([]);
});

test("B42 places that others may enter, and a socket that nobody finds, are problems", async () => {
  const rig = await Rig.start();
  const runtimeDir = join(rig.daemon.root, "run/sessiond");
  for (const path of [stateDir(rig), runtimeDir]) {
    chmodSync(path, 0o750);
    expectProblem((await status(rig)).problems, new RegExp(`${path} is open to other accounts`), new RegExp(`chmod 700 ${path}`));
    chmodSync(path, 0o700);
  }
  const key = join(stateDir(rig), "host-key");
  chmodSync(key, 0o644);
  expectProblem((await status(rig)).problems, /host-key is open to other accounts/, /chmod 600/);
  chmodSync(key, 0o600);
  renameSync(rig.daemon.socketPath, `${rig.daemon.socketPath}-away`);
  expectProblem((await status(rig)).problems, /sock is gone: nobody new finds this daemon/, /sessiond up/);
  renameSync(`${rig.daemon.socketPath}-away`, rig.daemon.socketPath);
  expect((await status(rig)).problems).toEqual([]);
});

test("B42 B40 while it drains it says so, and counts what is at rest as at rest", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("work");
  await rig.kind.turn();
  const watcher = await Watcher.open(rig.daemon);
  const stopping = rig.daemon.stop(10_000);
  expect(await status(rig)).toMatchObject({ draining: true, ready: false, sessions: { live: 1, resting: 0 }, seats: 1, turns_running: 1 });
  rig.clock.advance(10_000);
  await watcher.of("session_resting");
  expect(await status(rig)).toMatchObject({ draining: true, sessions: { live: 0, resting: 1 }, seats: 0, turns_running: 0 });
  await stopping;
});
