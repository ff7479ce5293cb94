import { afterEach, expect, test } from "vitest";
import { bindingDigest } from "../../packages/daemon/src/agents/agent.ts";
import { limits, type Frame } from "@sessiond/shared";
import { endRigs, eventsOf, Rig } from "../support/session-rig.ts";
import type { ScriptedTurn } from "../support/scripted-agent.ts";

afterEach(endRigs);
const input = { command: "rm -rf build", note: "\u202Egnp.exe\u0007" };
const secret = "editor".padEnd(24, "_");

/** A session whose agent waits for an answer about call `c1`. */
async function asking(ask = (turn: ScriptedTurn) => turn.ask("c1", input)) {
  const rig = await Rig.start();
  const driver = await rig.driver("editor", { secret });
  const { turn_id = "" } = await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.call("c1", input);
  const answer = ask(turn);
  return { rig, driver, turn, turnId: turn_id, answer, question: await driver.question() };
}

const resolutions = (frames: readonly Frame[]) =>
  eventsOf(frames, "approval_resolved").map(({ approval_id, cause, option_id }) => [approval_id, cause, option_id]);

test("B25 a question is a whole object: id, tool, full input, options with what they remember, and a digest", async () => {
  const { question, turnId, rig } = await asking();
  expect(question).toEqual({
    approval_id: expect.stringMatching(/^apr_[0-9A-Za-z]{22}$/),
    turn_id: turnId,
    tool_call_id: "c1",
    tool: "shell",
    input,
    preview: expect.any(String),
    digest: bindingDigest("shell", input),
    asked_at: rig.clock.now(),
    options: [
      { option_id: "allow_once", kind: "allow_once", label: "Allow once", remembers: null },
      { option_id: "reject_once", kind: "reject_once", label: "Reject", remembers: null },
    ],
  });
});

test("B25 the preview shows deceptive characters as escapes, and all of it, however long", async () => {
  const preview = `\u202Egnp.exe\u0007\u001b[2K ${"long ".repeat(60_000)} the end`;
  const { question } = await asking((turn) => turn.ask("c1", input, preview));
  expect(question.preview).toBe(`\\u{202e}gnp.exe\\u{7}\\u{1b}[2K ${"long ".repeat(60_000)} the end`);
});

test("B25 each attacher sees an open question exactly once, in its snapshot or as an event", async () => {
  const { rig, driver, question } = await asking();
  const viewer = await rig.attach("late");
  expect(viewer.state.approvals).toEqual([question]);
  const resumed = await rig.attach("later", { cursor: driver.cursor });
  await driver.approve(question);
  for (const seat of [driver, viewer, resumed]) await seat.event("approval_resolved");
  expect(eventsOf(driver.frames, "approval_requested")).toHaveLength(1);
  expect(eventsOf(viewer.frames, "approval_requested")).toHaveLength(0);
  expect(eventsOf(resumed.frames, "approval_requested")).toHaveLength(0);
  expect((await rig.info()).approvals).toEqual([]);
});

test("B25 a question survives a crash under the same id, and its answer lets the call run once", async () => {
  const { rig, question } = await asking();
  const after = await rig.crash();
  const back = await after.driver("editor", { secret });
  expect(back.state.approvals).toEqual([question]);
  const resumed = await after.kind.turn();
  const again = resumed.ask("c1", input);
  await back.approve(question);
  expect(await again).toMatchObject({ allowed: true, digest: question.digest });
  expect(eventsOf(await after.journal(), "approval_requested")).toHaveLength(1);
});

test("B26 an answer reaches the agent with the digest that was shown; a refusal with its reason", async () => {
  const { driver, question, answer, turn } = await asking();
  expect(await driver.approve(question)).toMatchObject({ option_id: "allow_once" });
  expect(await answer).toEqual({ allowed: true, digest: question.digest, optionId: "allow_once", cause: "answer" });
  await turn.call("c2", { command: "other" });
  const second = turn.ask("c2", { command: "other" });
  await driver.event("approval_requested", 2);
  await driver.approve(await driver.question(), "reject_once", "not on a Friday");
  expect(await second).toEqual({ allowed: false, reason: "not on a Friday", optionId: "reject_once", cause: "answer" });
});

test("B26 a wrong digest or an unknown option is refused; the question stays open and nothing is answered", async () => {
  const { rig, driver, question, answer } = await asking();
  const before = await rig.lines();
  const unanswered = Promise.race([answer, Promise.resolve("open")]);
  await expect(driver.approve({ ...question, digest: "0".repeat(64) })).rejects.toMatchObject({ code: "conflict" });
  await expect(driver.approve(question, "allow_always")).rejects.toMatchObject({ code: "bad_request" });
  expect(await rig.lines()).toEqual(before);
  expect(await unanswered).toBe("open");
  expect((await rig.info()).approvals).toEqual([question]);
});

test("B26 of two answers one wins and the other is told which; no other call is touched", async () => {
  const { rig, driver, question, answer, turn } = await asking();
  // A second call asks at the same time.
  const other = turn.ask("c2", { command: "other" });
  await driver.event("approval_requested", 2);
  const [allow, reject] = await Promise.allSettled([driver.approve(question, "allow_once"), driver.approve(question, "reject_once")]);
  expect(allow.status).toBe("fulfilled");
  expect(reject).toMatchObject({
    status: "rejected",
    reason: { code: "approval_gone", detail: { outcome: "answered with allow_once by editor", option_id: "allow_once", by_seat_id: driver.seatId } },
  });
  expect(await answer).toMatchObject({ allowed: true });
  expect(await Promise.race([other, Promise.resolve("open")])).toBe("open");
  expect((await rig.info()).approvals.map((approval) => approval.tool_call_id)).toEqual(["c2"]);
  expect(resolutions(await rig.journal())).toEqual([[question.approval_id, "answer", "allow_once"]]);
});

test("B26 an unknown question is approval_gone, also after a restart with the outcome", async () => {
  const { rig, driver, question } = await asking();
  await driver.approve(question);
  await expect(driver.approve({ ...question, approval_id: `apr_${"x".repeat(22)}` })).rejects.toMatchObject({ code: "approval_gone" });
  const after = await rig.crash();
  const back = await after.driver("editor", { secret });
  await expect(back.approve(question)).rejects.toMatchObject({ code: "approval_gone", detail: { option_id: "allow_once" } });
});

test("B26 a viewer cannot answer, and nothing is answered", async () => {
  const { rig, question, answer } = await asking();
  const viewer = await rig.attach("watcher");
  await expect(viewer.approve(question)).rejects.toMatchObject({ code: "not_driver" });
  expect(await Promise.race([answer, Promise.resolve("open")])).toBe("open");
  expect((await rig.info()).approvals).toEqual([question]);
});

test("B27 an answer ends the question with one event, cause `answer`, and who gave it", async () => {
  const { rig, driver, question } = await asking();
  await driver.approve(question);
  expect(eventsOf(await rig.journal(), "approval_resolved")).toEqual([
    { type: "approval_resolved", approval_id: question.approval_id, cause: "answer", option_id: "allow_once", by: { seat_id: driver.seatId, label: "editor" } },
  ]);
});

test("B27 an interrupt ends the question with one event, cause `interrupt`; the agent gets a refusal", async () => {
  const { rig, driver, question, answer, turnId } = await asking();
  await rig.interrupt(turnId);
  expect(resolutions(await rig.journal())).toEqual([[question.approval_id, "interrupt", undefined]]);
  expect(await answer).toMatchObject({ allowed: false });
  expect((await rig.attach("late")).state).toMatchObject({ approvals: [], turn: null, status: "idle" });
  await expect(driver.approve(question)).rejects.toMatchObject({ code: "approval_gone", detail: { outcome: "closed by interrupt" } });
});

test("B27 a call that is over takes its questions with it, the open one and those behind it, and no other call's", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  await turn.call("c2");
  const [open, behind, other] = [turn.ask("c1"), turn.ask("c1"), turn.ask("c2")];
  const question = await driver.question();
  await turn.update("c1", "completed", "done by other means");
  const withdrawn = { allowed: false, cause: "withdrawn" };
  expect(await Promise.all([open, behind])).toMatchObject([withdrawn, withdrawn]);
  expect(resolutions(await rig.journal())).toEqual([[question.approval_id, "withdrawn", undefined]]);
  expect(driver.state.approvals).toMatchObject([{ tool_call_id: "c2" }]);
  await driver.approve(await driver.question());
  expect(await other).toMatchObject({ allowed: true });
  expect(eventsOf(await rig.journal(), "approval_requested")).toHaveLength(2);
});

test("B27 a stop ends the question with one event, cause `stop`", async () => {
  const { rig, question, answer } = await asking();
  await rig.stop();
  expect(resolutions(await rig.journal())).toEqual([[question.approval_id, "stop", undefined]]);
  expect(await answer).toMatchObject({ allowed: false });
  expect((await rig.info()).approvals).toEqual([]);
});

test("B27 a restart that cannot park the turn ends the question with one event, cause `restart`", async () => {
  const { rig, question } = await asking();
  // An agent that cannot take a turn up again.
  const after = await rig.crash({ script: { park: false } });
  expect((await after.attach("late")).state).toMatchObject({ approvals: [], turn: null, last_turn: { stop_reason: "interrupted" } });
  expect(resolutions(await after.journal())).toEqual([[question.approval_id, "restart", undefined]]);
});

test("B27 a turn that ends while a question is open ends the question with one event, cause `failed`", async () => {
  const { rig, driver, question, answer, turn } = await asking();
  turn.end("end_turn");
  await driver.event("turn_ended");
  expect(resolutions(await rig.journal())).toEqual([[question.approval_id, "failed", undefined]]);
  expect(await answer).toMatchObject({ allowed: false });
});

test("B27 a question asked after its turn has ended is refused at once, and never shown", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  turn.end();
  await driver.event("turn_ended");
  expect(await turn.ask("c9")).toMatchObject({ allowed: false });
  expect(eventsOf(await rig.journal(), "approval_requested")).toEqual([]);
});

test("B27 more questions at once than the limit are refused, and never shown", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  for (let count = 0; count < 32; count++) void turn.ask(`c${count}`, { count });
  expect(await turn.ask("one too many", { count: 33 })).toMatchObject({ allowed: false });
  await driver.event("approval_requested", 32);
  expect(driver.state.approvals).toHaveLength(32);
});

test("B7 B27 open questions of a session hold so much together and no more: one beyond it is refused with words and never shown, a small one is not, and there is room again when one is answered", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  const large = { text: "x".repeat(limits.approvals_open_chars_max / 8) };
  const preview = "y".repeat(limits.approvals_open_chars_max / 8);
  const first = turn.ask("c1", large, preview);
  for (const id of ["c2", "c3"]) void turn.ask(id, large, preview);
  expect(await turn.ask("c4", large, preview)).toMatchObject({ allowed: false, reason: expect.stringContaining("Ask again when some are answered") as string });
  void turn.ask("c5", { small: true });
  const [question] = [await driver.question(), await driver.question(4)];
  expect(driver.state.approvals.map(({ tool_call_id }) => tool_call_id)).toEqual(["c1", "c2", "c3", "c5"]);
  expect(JSON.stringify((await rig.info()).approvals).length).toBeLessThan(limits.approvals_open_chars_max);
  await driver.approve(question);
  expect(await first).toMatchObject({ allowed: true });
  void turn.ask("c6", large, preview);
  await driver.event("approval_requested", 5);
  expect(driver.state.approvals.map(({ tool_call_id }) => tool_call_id)).toEqual(["c2", "c3", "c5", "c6"]);
});

test("B25 a preview too large to be shown whole is refused, not elided, and no question is raised", async () => {
  const { turn, driver, rig } = await asking();
  await turn.call("c2", input);
  expect(await turn.ask("c2", input, "x".repeat(limits.preview_chars_max + 1))).toMatchObject({ allowed: false });
  expect(driver.state.approvals).toHaveLength(1);
  expect(eventsOf(await rig.journal(), "approval_requested")).toHaveLength(1);
});
