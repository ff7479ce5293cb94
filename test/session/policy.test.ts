import { mkdir } from "node:fs/promises";
import { afterEach, expect, test } from "vitest";
import { limits, type SessionState } from "@sessiond/shared";
import { ask, commandIn, outcome, shownTo, turnOf } from "../support/asking.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { JumpingClock } from "../support/jumping-clock.ts";
import { endRigs, eventsOf, Rig, type RigOptions } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** Who decides while no driver is there: the session's policy, and its clock. */
afterEach(endRigs);
const secret = "editor".padEnd(24, "_");
const minute = 60_000;
const week = limits.policy_ms_max;
const rejectAfter = (ms: number): SessionState["policy"] => ({ type: "reject_after", ms });

/** A session under this policy, with a driver, a watcher, and a question that waits. */
async function waiting(policy: SessionState["policy"], options: RigOptions = {}) {
  const rig = await Rig.start(options);
  const driver = await rig.driver("editor", { secret });
  const watcher = await rig.attach("watcher");
  await rig.daemon.call("configure_session", { session_id: rig.sessionId, policy }, driver.auth);
  const turn = await turnOf(rig, driver);
  const asked = await ask(turn, commandIn("/w"));
  return { rig, driver, watcher, turn, asked, question: await shownTo(driver, asked) };
}

const causes = async (rig: Rig) => eventsOf(await rig.journal(), "approval_resolved").map(({ cause }) => cause);
/** What a watcher sees of the one question's clock. */
const clockOf = async (rig: Rig) => {
  const [{ remaining_ms, deadline } = {}] = (await rig.info()).approvals;
  return { remaining_ms, deadline };
};

test("B27 B28 with no driver the question is refused when its time is up, with cause `deadline`; the agent is told, and the turn goes on", async () => {
  const { rig, driver, watcher, turn, asked, question } = await waiting(rejectAfter(minute));
  await driver.detach();
  await watcher.event("seat_left");
  const deadline = rig.clock.now() + minute;
  expect(await clockOf(rig)).toEqual({ remaining_ms: minute, deadline });
  rig.clock.advance(minute - 1);
  expect(await outcome(asked)).toBe("open");
  rig.clock.advance(1);
  expect(await asked.answer).toEqual({ allowed: false, reason: "Nobody answered in time, and no driver was seated.", cause: "deadline" });
  expect(await watcher.event("approval_resolved")).toEqual({ type: "approval_resolved", approval_id: question.approval_id, cause: "deadline" });
  expect((await rig.info()).approvals).toEqual([]);
  turn.end();
  expect(await watcher.event("turn_ended")).toMatchObject({ stop_reason: "end_turn" });
  expect(await causes(rig)).toEqual(["deadline"]);
});

test("B28 while a driver is there its clock stands, however long; a viewer does not stop it", async () => {
  const { rig, driver, asked } = await waiting(rejectAfter(minute));
  expect(await clockOf(rig)).toEqual({ remaining_ms: minute, deadline: undefined });
  rig.clock.advance(week);
  expect(await outcome(asked)).toBe("open");
  await driver.detach();
  await rig.attach("second");
  rig.clock.advance(minute);
  expect(await asked.answer).toMatchObject({ allowed: false });
});

test("B28 the clock runs from the loss of the driver's connection on, grace included; who comes back stops it, and what is left is kept", async () => {
  const { rig, driver, watcher, asked } = await waiting(rejectAfter(minute));
  await driver.drop();
  await watcher.event("seat_lost");
  rig.clock.advance(10_000);
  const back = await rig.driver("editor", { secret });
  expect(await clockOf(rig)).toEqual({ remaining_ms: 50_000, deadline: undefined });
  rig.clock.advance(week);
  expect(await outcome(asked)).toBe("open");
  await back.drop();
  await watcher.event("seat_lost", 2);
  // Past the grace as well.
  rig.clock.advance(49_999);
  expect(await outcome(asked)).toBe("open");
  rig.clock.advance(1);
  expect(await asked.answer).toMatchObject({ allowed: false });
  expect(await causes(rig)).toEqual(["deadline"]);
});

test("B28 an answer of a driver who came back in time counts, and the clock ends nothing afterwards", async () => {
  const { rig, driver, question, asked } = await waiting(rejectAfter(minute));
  await driver.detach();
  rig.clock.advance(minute - 1);
  const next = await rig.driver("next");
  await next.approve(question);
  expect(await asked.answer).toMatchObject({ allowed: true });
  await next.detach();
  rig.clock.advance(week);
  expect(await causes(rig)).toEqual(["answer"]);
});

test("B28 under `hold`, which is what is not said otherwise, nothing ends a question but an answer; the wait is visible", async () => {
  const { rig, driver, asked } = await waiting({ type: "hold" });
  const fresh = await rig.another("other");
  expect((await fresh.info()).policy).toEqual({ type: "hold" });
  await driver.detach();
  for (let day = 0; day < 14; day += 1) rig.clock.advance(24 * 60 * minute);
  expect(await outcome(asked)).toBe("open");
  expect(await clockOf(rig)).toEqual({ remaining_ms: undefined, deadline: undefined });
  const { sessions } = await rig.daemon.call("list_sessions", {}, { host_key: rig.daemon.hostKey });
  expect(sessions.find((session) => session.session_id === rig.sessionId)).toMatchObject({ status: "awaiting_approval", approvals: [{ tool: "shell" }] });
  expect(await causes(rig)).toEqual([]);
});

test("B28 each question has its own time, from when it was asked", async () => {
  const { rig, driver, turn, asked } = await waiting(rejectAfter(minute));
  await driver.detach();
  rig.clock.advance(20_000);
  const later = await ask(turn, commandIn("/w", "later"));
  expect(await outcome(later)).toBe("open");
  rig.clock.advance(40_000);
  expect([await outcome(asked), await outcome(later)]).toEqual([{ allowed: false, reason: expect.any(String), cause: "deadline" }, "open"]);
  rig.clock.advance(20_000);
  expect(await later.answer).toMatchObject({ allowed: false });
});

test("B28 with no time at all a question is refused as soon as nobody drives; a negative time is no policy", async () => {
  const { rig, driver, watcher, asked } = await waiting(rejectAfter(0));
  expect(await outcome(asked)).toBe("open");
  const configure = (ms: number) => rig.daemon.call("configure_session", { session_id: rig.sessionId, policy: rejectAfter(ms) }, driver.auth);
  for (const ms of [-1, 0.5, week + 1, Number.NaN]) await expect(configure(ms)).rejects.toMatchObject({ code: "bad_request" });
  expect((await rig.info()).policy).toEqual(rejectAfter(0));
  await driver.detach();
  await watcher.event("seat_left");
  rig.clock.advance(0);
  expect(await asked.answer).toMatchObject({ allowed: false });
  expect(await causes(rig)).toEqual(["deadline"]);
});

test("B28 another policy counts for the questions that are open, and their clocks begin anew", async () => {
  const { rig, driver, asked } = await waiting({ type: "hold" });
  const configure = (policy: SessionState["policy"]) => rig.daemon.call("configure_session", { session_id: rig.sessionId, policy }, driver.auth);
  await configure(rejectAfter(minute));
  expect(await clockOf(rig)).toEqual({ remaining_ms: minute, deadline: undefined });
  await configure({ type: "hold" });
  expect(await clockOf(rig)).toEqual({ remaining_ms: undefined, deadline: undefined });
  await configure(rejectAfter(2 * minute));
  await driver.detach();
  rig.clock.advance(2 * minute - 1);
  expect(await outcome(asked)).toBe("open");
  rig.clock.advance(1);
  expect(await asked.answer).toMatchObject({ allowed: false });
});

test("B28 after a crash the deadline is the one that was shown: what was left before is left after, of a parked turn too", async () => {
  const { rig, driver, watcher, question } = await waiting(rejectAfter(minute));
  await driver.detach();
  await watcher.event("seat_left");
  const { deadline } = await clockOf(rig);
  rig.clock.advance(20_000);
  const after = await rig.crash();
  expect(await clockOf(after)).toEqual({ remaining_ms: minute, deadline });
  const resumed = await after.kind.turn();
  const again = resumed.ask(question.tool_call_id, question.input);
  after.clock.advance(39_999);
  expect(await outcome({ callId: "", answer: again })).toBe("open");
  after.clock.advance(1);
  expect(await again).toMatchObject({ allowed: false, reason: expect.stringMatching(/Nobody answered/) });
  expect(await causes(after)).toEqual(["deadline"]);
});

test("B28 a driver who was there at the crash has not used up anything: the clock starts with the restart", async () => {
  const { rig } = await waiting(rejectAfter(minute));
  const clock = new FakeClock(rig.clock.now() + 10 * minute);
  const after = await rig.crash({ clock });
  expect(await clockOf(after)).toEqual({ remaining_ms: minute, deadline: clock.now() + minute });
  await after.driver("editor", { secret });
  clock.advance(week);
  expect((await after.info()).approvals).toHaveLength(1);
});

test("B27 B28 a deadline that passed while the daemon was down ends the question at the start: nobody is shown it, and the parked turn goes on with the refusal", async () => {
  const { rig, driver, watcher, question } = await waiting(rejectAfter(minute));
  await driver.detach();
  await watcher.event("seat_left");
  const after = await rig.crash({ clock: new FakeClock(rig.clock.now() + 2 * minute) });
  const late = await after.attach("late");
  expect(late.state.approvals).toEqual([]);
  expect(late.state.turn?.turn_id).toBe(question.turn_id);
  const resumed = await after.kind.turn();
  expect(await resumed.ask(question.tool_call_id, question.input)).toMatchObject({ allowed: false, reason: expect.stringMatching(/Nobody answered/) });
  expect(eventsOf(await after.journal(), "approval_requested")).toHaveLength(1);
  resumed.end();
  expect(await late.event("turn_ended")).toMatchObject({ stop_reason: "end_turn" });
  expect(await causes(after)).toEqual(["deadline"]);
});

test("B28 a turn that was parked at shut_down does not hang behind its deadline: the next start ends the question without being called", async () => {
  const { rig, driver, watcher, question } = await waiting(rejectAfter(minute));
  await driver.detach();
  await watcher.event("seat_left");
  await rig.daemon.stop(0);
  const after = await Rig.restart(rig.daemon.root, rig);
  const resumed = await after.kind.turn();
  expect(resumed.parts).toBeNull();
  after.clock.advance(minute);
  expect(await resumed.ask(question.tool_call_id, question.input)).toMatchObject({ allowed: false, reason: expect.stringMatching(/Nobody answered/) });
  await (await after.attach("late")).until((seat) => seat.state.approvals.length === 0);
  expect(await causes(after)).toEqual(["deadline"]);
});

test("B28 B38 after a journal that failed and was taken up again the deadline still counts", async () => {
  const disk = new TrappedDisk();
  const { rig, driver, watcher } = await waiting(rejectAfter(minute), { disk });
  await driver.detach();
  await watcher.event("seat_left");
  rig.clock.advance(1_000);
  void disk.fail("write", "/journal");
  const writer = await rig.attach("another").catch((error: unknown) => error);
  expect(writer).toMatchObject({ code: "storage_failed" });
  // Nothing is ended that cannot be written.
  rig.clock.advance(limits.reopen_ms);
  await watcher.until((seat) => seat.faults.length > 0 && seat.fault === undefined);
  expect((await rig.info()).approvals).toHaveLength(1);
  rig.clock.advance(minute - 1_000 - limits.reopen_ms - 1);
  expect((await rig.info()).approvals).toHaveLength(1);
  rig.clock.advance(1);
  await watcher.event("approval_resolved");
  expect(await causes(rig)).toEqual(["deadline"]);
});

test("B28 a machine whose clock is set back does not keep a question for longer than its time, and gives nobody time that there never was", async () => {
  const clock = new JumpingClock();
  const { rig, driver, watcher, asked } = await waiting(rejectAfter(minute), { clock });
  await driver.drop();
  await watcher.event("seat_lost");
  clock.jump(-week);
  clock.advance(1_000);
  const back = await rig.driver("editor", { secret });
  expect((await clockOf(rig)).remaining_ms).toBe(minute);
  await back.detach();
  await watcher.event("seat_left");
  clock.jump(-week);
  clock.advance(minute - 1);
  expect(await outcome(asked)).toBe("open");
  clock.advance(1);
  expect(await asked.answer).toMatchObject({ allowed: false });
});

test("B28 a machine whose clock is set forward ends the question no later than its time, and goes on", async () => {
  const clock = new JumpingClock();
  const { rig, driver, watcher, asked, turn } = await waiting(rejectAfter(minute), { clock });
  await driver.detach();
  await watcher.event("seat_left");
  clock.jump(week);
  clock.advance(minute);
  expect(await asked.answer).toMatchObject({ allowed: false });
  turn.end();
  await watcher.event("turn_ended");
  expect(await causes(rig)).toEqual(["deadline"]);
});

test("B28 after a restart on a machine whose clock was set back the question's time is at most what it had", async () => {
  const { rig, driver, watcher } = await waiting(rejectAfter(minute));
  await driver.detach();
  await watcher.event("seat_left");
  const after = await rig.crash({ clock: new FakeClock(rig.clock.now() - week) });
  const late = await after.attach("late");
  expect(late.state.approvals).toHaveLength(1);
  after.clock.advance(minute);
  expect(await late.event("approval_resolved")).toMatchObject({ cause: "deadline" });
});

test("B28 a life begins with the policy that its start named, else with hold", async () => {
  const rig = await Rig.start();
  const start = async (policy?: SessionState["policy"]) => {
    const input = { workdir: rig.workdir, ...(policy && { policy }) };
    return (await rig.daemon.call("start_or_get_for_workdir", input, { host_key: rig.daemon.hostKey })).session.policy;
  };
  expect(await start()).toEqual({ type: "hold" });
  await rig.stop();
  await mkdir(rig.workdir, { recursive: true });
  expect(await start(rejectAfter(5))).toEqual(rejectAfter(5));
  rig.token = (await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "control", label: "t" }, { host_key: rig.daemon.hostKey })).token;
  await rig.stop();
  expect(await start()).toEqual({ type: "hold" });
});
