import { afterEach, expect, test } from "vitest";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { endRigs, eventsOf, Rig } from "../support/session-rig.ts";

/** How turns and lives end: restart, interrupt, stop. */
afterEach(endRigs);
const secret = "editor".padEnd(24, "_");
const results = async (rig: Rig) => eventsOf(await rig.journal(), "tool_call_update").map(({ tool_call_id, status, result }) => [tool_call_id, status, result]);

async function working(rig: Rig) {
  const driver = await rig.driver("editor", { secret });
  const { turn_id = "" } = await driver.prompt("work");
  return { driver, turnId: turn_id, turn: await rig.kind.turn() };
}

test("B37 a turn whose unfinished calls all wait for an answer is parked, and goes on when answered", async () => {
  const rig = await Rig.start();
  const { driver, turn, turnId } = await working(rig);
  await turn.call("c1");
  void turn.ask("c1");
  const question = await driver.question();
  await driver.prompt("later");
  const after = await rig.crash();
  const back = await after.driver("editor", { secret });
  expect(back.state).toMatchObject({ turn: { turn_id: turnId }, status: "awaiting_approval", approvals: [{ approval_id: question.approval_id }] });
  const resumed = await after.kind.turn();
  expect([resumed.turnId, resumed.parts]).toEqual([turnId, null]);
  const answer = resumed.ask("c1");
  await back.approve(question);
  expect(await answer).toMatchObject({ allowed: true });
  await resumed.update("c1", "in_progress");
  await resumed.update("c1", "completed", "done");
  resumed.end();
  expect(await back.event("turn_ended")).toMatchObject({ turn_id: turnId, stop_reason: "end_turn" });
  expect(await results(after)).toEqual([
    ["c1", "in_progress", undefined],
    ["c1", "completed", "done"],
  ]);
});

test("B26 B37 an answer that comes before the resumed agent has asked again is not lost, and answers nothing else", async () => {
  const rig = await Rig.start();
  const { driver, turn } = await working(rig);
  await turn.call("c1");
  void turn.ask("c1");
  const question = await driver.question();
  const after = await rig.crash();
  const back = await after.driver("editor", { secret });
  await back.approve(question);
  const resumed = await after.kind.turn();
  expect(await resumed.ask("c1")).toMatchObject({ allowed: true, digest: question.digest });
  expect(eventsOf(await after.journal(), "approval_requested")).toHaveLength(1);
  // It was the answer to that one question.
  const next = resumed.ask("c1");
  await back.until(({ state }) => state.approvals.length === 1);
  await back.approve(await back.question(), "reject_once");
  expect(await next).toMatchObject({ allowed: false });
});

test("B37 a call that had begun gets a synthetic result and is never run again; its turn ends interrupted, the queue is held", async () => {
  const rig = await Rig.start();
  const { driver, turn, turnId } = await working(rig);
  await turn.call("c1");
  await turn.call("c2", { command: "asks" });
  await turn.update("c1", "in_progress");
  void turn.ask("c2", { command: "asks" });
  await driver.question();
  await driver.prompt("later");
  const after = await rig.crash();
  const viewer = await after.attach("late");
  expect(viewer.state).toMatchObject({ turn: null, approvals: [], last_turn: { turn_id: turnId, stop_reason: "interrupted" } });
  expect(viewer.state.queue.map((prompt) => prompt.held)).toEqual([true]);
  expect(await results(after)).toEqual([
    ["c1", "in_progress", undefined],
    ["c1", "failed", "interrupted by restart"],
    ["c2", "failed", "interrupted by restart"],
  ]);
  expect(eventsOf(await after.journal(), "approval_resolved").map((event) => event.cause)).toEqual(["restart"]);
  expect(after.kind.turns).toEqual([]);
});

test("B37 an answered call that had not begun is not run after a restart", async () => {
  const rig = await Rig.start();
  const { driver, turn } = await working(rig);
  await turn.call("c1");
  const answer = turn.ask("c1");
  await driver.approve(await driver.question());
  await answer;
  const after = await rig.crash();
  expect((await after.attach("late")).state).toMatchObject({ turn: null, last_turn: { stop_reason: "interrupted" } });
  expect(await results(after)).toEqual([["c1", "failed", "interrupted by restart"]]);
  expect(after.kind.turns).toEqual([]);
});

test("B37 a tool may start only when the frame that says so is on disk", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const { turn } = await working(rig);
  await turn.call("c1");
  const sync = disk.hold("sync", "/journal");
  let started = false;
  const starting = turn.update("c1", "in_progress").then(() => (started = true));
  await sync.reached;
  expect(started).toBe(false);
  sync.release();
  await starting;
});

test("B22 an interrupt while the frame before a tool is still being synced: the tool does not start, and the turn ends", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk, script: { stubborn: true } });
  const { driver, turn, turnId } = await working(rig);
  await turn.call("c1");
  const sync = disk.hold("sync", "/journal");
  let started = false;
  void turn.update("c1", "in_progress").then(() => (started = true));
  await sync.reached;
  const interrupted = rig.interrupt(turnId);
  await turn.returned;
  rig.clock.advance(5_000);
  sync.release();
  expect(await interrupted).toMatchObject({ interrupted: true });
  await driver.event("turn_ended");
  expect(started).toBe(false);
});

test("B35 session_stopped is the last frame of a life, whatever is called at the same time", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const { driver, turn, turnId } = await working(rig);
  await turn.call("c1");
  void turn.ask("c1");
  const question = await driver.question();
  await driver.prompt("queued");
  await driver.detach();
  // A driver's keys are still being stored when the life ends.
  const storing = disk.hold("replace", "session.json");
  const late = rig.driver("late");
  await storing.reached;
  const racing = Promise.allSettled([
    driver.prompt("x"),
    driver.approve(question),
    rig.interrupt(turnId),
    rig.stop(),
    rig.stop(),
    rig.attach("y"),
    driver.release(),
  ]);
  const viewer = await rig.attach("watcher").catch(() => undefined);
  storing.release();
  await Promise.allSettled([late, racing]);
  const stopped = await rig.stop();
  const frames = await rig.journal();
  expect(frames.at(-1)).toMatchObject({ seq: stopped.seq, event: { type: "session_stopped", life: 1 } });
  expect(eventsOf(frames, "session_stopped")).toHaveLength(1);
  expect(eventsOf(frames, "prompt_discarded")).toMatchObject([{ cause: "stop" }]);
  if (viewer !== undefined) await viewer.until(() => viewer.end === null);
  await expect(late).rejects.toMatchObject({ code: "session_stopped" });
  expect(rig.daemon.bugs).toEqual([]);
});

test("B35 session_stopped replays afterwards, and the next life begins behind it", async () => {
  const rig = await Rig.start();
  const { driver } = await working(rig);
  const { cursor } = driver;
  await rig.stop();
  await driver.until(() => driver.end !== undefined);
  expect([driver.end, driver.frames.at(-1)?.event.type]).toEqual([null, "session_stopped"]);
  const replay = await rig.attach("late", { cursor });
  await replay.until(() => replay.end === null);
  expect(replay.frames.at(-1)?.event).toMatchObject({ type: "session_stopped", life: 1 });
  const again = await rig.startSession();
  expect(again).toMatchObject({ created: true, session: { life: 2 } });
  const frames = await rig.journal();
  const end = frames.findIndex((frame) => frame.event.type === "session_stopped");
  expect(frames[end + 1]?.event).toMatchObject({ type: "session_started", life: 2 });
  expect(frames.map((frame) => frame.seq)).toEqual(frames.map((_, index) => index + 1));
});

test("B22 an agent that ignores an interrupt is abandoned after a bound: its children are ended, and nothing it still says is heard", async () => {
  const rig = await Rig.start({ script: { stubborn: true } });
  const { driver, turn, turnId } = await working(rig);
  await turn.call("c1");
  await turn.update("c1", "in_progress");
  const interrupted = rig.interrupt(turnId);
  await turn.returned;
  expect(turn.signal.aborted).toBe(true);
  void turn.say("late talk");
  rig.clock.advance(4_999);
  expect(rig.kind.closes).toBe(0);
  rig.clock.advance(1);
  expect(await interrupted).toMatchObject({ interrupted: true });
  expect(rig.kind.closes).toBe(1);
  void turn.say("later talk");
  expect(await turn.ask("c2")).toMatchObject({ allowed: false });
  await driver.event("turn_ended");
  await driver.prompt("next");
  const next = await rig.kind.turn();
  await next.say("heard");
  await driver.event("agent_message_chunk");
  expect(eventsOf(await rig.journal(), "agent_message_chunk").map((event) => event.content.text)).toEqual(["heard"]);
  expect(await results(rig)).toEqual([
    ["c1", "in_progress", undefined],
    ["c1", "failed", "Interrupted by the user."],
  ]);
});
