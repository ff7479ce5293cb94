import { afterEach, expect, test } from "vitest";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { endRigs, Rig } from "../support/session-rig.ts";

afterEach(endRigs);

/** Everything a client does, on a session that must not notice its neighbour. */
async function works(rig: Rig): Promise<void> {
  const driver = await rig.driver("neighbour");
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  const answer = turn.ask("c1");
  await driver.approve(await driver.question());
  expect(await answer).toMatchObject({ allowed: true });
  await turn.update("c1", "in_progress");
  await turn.update("c1", "completed", "done");
  turn.end();
  await driver.event("turn_ended");
  await rig.info();
  await driver.detach();
}

test("B24 a stuck disk under one journal does not hold up another session, nor the list", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver();
  const write = disk.hold("write", rig.sessionId);
  let answered = false;
  const stuck = driver.prompt("stuck").then(() => (answered = true));
  await write.reached;
  await works(await rig.another("neighbour"));
  // Of the two prompts only the neighbour's is on disk, and only that one has come to an agent.
  expect(rig.kind.turns).toHaveLength(1);
  const { sessions } = await rig.daemon.call("list_sessions", {}, { host_key: rig.daemon.hostKey });
  expect(sessions).toHaveLength(2);
  expect(answered).toBe(false);
  write.release();
  await stuck;
  await rig.kind.turn();
});

test("B24 a stuck sync under one journal does not hold up another session", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver();
  const sync = disk.hold("sync", rig.sessionId);
  const stuck = driver.prompt("stuck");
  await sync.reached;
  await works(await rig.another("neighbour"));
  expect(rig.kind.turns).toHaveLength(1);
  sync.release();
  await stuck;
  await rig.kind.turn();
});

test("B24 an open question of one session does not hold up another", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("ask");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  void turn.ask("c1");
  await driver.question();
  await works(await rig.another("neighbour"));
  expect((await rig.info()).status).toBe("awaiting_approval");
});

test("B24 a model that says nothing, in one session, does not hold up another", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("silence");
  await rig.kind.turn();
  await works(await rig.another("neighbour"));
  expect((await rig.info()).status).toBe("thinking");
});

test("B24 an agent that ignores its interrupt, in one session, does not hold up another", async () => {
  const rig = await Rig.start({ script: { stubborn: true } });
  const driver = await rig.driver();
  const { turn_id = "" } = await driver.prompt("stubborn");
  await rig.kind.turn();
  const interrupted = rig.interrupt(turn_id);
  await works(await rig.another("neighbour"));
  rig.clock.advance(5_000);
  expect(await interrupted).toMatchObject({ interrupted: true });
});

test("B40 a disk that hangs under one journal does not keep the daemon from going; the next start does what it does after a crash", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver();
  const write = disk.hold("write", rig.sessionId);
  void driver.prompt("work").catch(() => undefined);
  await write.reached;
  const before = await rig.copy();
  let gone = false;
  void rig.daemon.stop(0).then(() => (gone = true));
  while (!gone) {
    rig.clock.advance(1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  write.release();
  const after = await Rig.restart(before, rig);
  expect((await after.info()).life_state).toBe("live");
});
