import { readFileSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { AcpStreet, said, turn, type AcpHouse } from "../support/acp-house.ts";
import { eventually } from "../support/eventually.ts";
import { isAlive } from "../support/processes.ts";
import { eventsOf, type TestSeat } from "../support/session-rig.ts";

/** How a turn, an agent and a session of it end: nothing stays open, and no process is left. */
const street = new AcpStreet();
afterEach(async () => expect(await street.close()).toEqual([]));

const options = [
  { optionId: "go", name: "Go on", kind: "allow_once" },
  { optionId: "no", name: "No", kind: "reject_once" },
];
const asking = `ask ${JSON.stringify({ toolCall: { toolCallId: "c1", title: "run it", kind: "execute", rawInput: { command: "true" } }, options })}`;
const cancelledAnswer = { outcome: { outcome: "cancelled" } };
const words = async (seat: TestSeat, begin: string): Promise<string> => {
  await seat.until(() => said(seat).some((text) => text.includes(begin)));
  return said(seat).find((text) => text.includes(begin)) as string;
};
const childOf = async (seat: TestSeat): Promise<number> => Number(/child (\d+)/.exec(await words(seat, "child "))?.[1]);
const gone = (house: AcpHouse) => eventually("nothing of it is left", () => house.processes().length === 0);
/** What the agent has heard of a turn's end, in order. */
const heardEnd = (house: AcpHouse) =>
  house.heard().flatMap(({ method, result }) => (method === "session/cancel" ? ["cancel"] : result !== undefined ? [JSON.stringify(result)] : []));

test("B27 an interrupt answers the open question as cancelled, then cancels the prompt; the agent stays for the next one", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const { turn_id } = await driver.prompt(`${asking}\nwait`);
  await driver.question();
  await driver.rig.interrupt(turn_id ?? "");
  expect(driver.state.approvals).toEqual([]);
  expect(await driver.event("turn_ended")).toMatchObject({ stop_reason: "cancelled" });
  expect(eventsOf(driver.frames, "approval_resolved")).toMatchObject([{ cause: "interrupt" }]);
  expect(heardEnd(house)).toEqual([JSON.stringify(cancelledAnswer), "cancel"]);
  expect(await turn(driver, "say there")).toMatchObject({ stop_reason: "end_turn" });
  expect(house.told("initialize")).toHaveLength(1);
});

test("an interrupt in the middle of a flood ends the turn, and nothing of the flood comes afterwards", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const { turn_id } = await driver.prompt("flood 200000");
  await driver.event("agent_message_chunk");
  await driver.rig.interrupt(turn_id ?? "");
  const end = await driver.event("turn_ended");
  expect(end).toMatchObject({ stop_reason: "cancelled" });
  expect(driver.frames.at(-1)?.event).toEqual(end);
  expect(await turn(driver, "say after")).toMatchObject({ stop_reason: "end_turn" });
  expect(said(driver).at(-1)).toBe("after");
});

test("B39 an agent that ignores being cancelled is killed with all that it started, and the next prompt starts another", async () => {
  const house = await street.open({ limits: { interrupt_wait_ms: 300, kill_wait_ms: 200 } });
  const driver = await house.driver();
  const { turn_id } = await driver.prompt("child\nstubborn\nwait");
  const child = await childOf(driver);
  expect(isAlive(child)).toBe(true);
  await driver.rig.interrupt(turn_id ?? "");
  expect(isAlive(child)).toBe(false);
  expect(house.processes()).toEqual([]);
  expect(await driver.event("turn_ended")).toMatchObject({ stop_reason: "cancelled" });
  expect(await turn(driver, "say another")).toMatchObject({ stop_reason: "end_turn" });
  expect(house.told("initialize")).toHaveLength(2);
  // Nobody is told that it ended: it was ended.
  expect(eventsOf(driver.frames, "notice").map(({ code }) => code)).toEqual(["agent_lost_context"]);
});

test("an agent that ends in a turn fails it, with how it ended and what it said last; the open question is closed, and the next prompt starts it again", async () => {
  const house = await street.open();
  const driver = await house.driver();
  await driver.prompt(`stderr it hurts\u001b[31m here\n${asking.replace("ask", "ask-unheard")}\nsay asked\nwait`);
  await words(driver, "asked");
  await driver.question();
  for (const pid of house.processes()) process.kill(pid, "SIGKILL");
  const end = await driver.event("turn_ended");
  expect(end).toMatchObject({ stop_reason: "failed", error: { code: "agent_ended" } });
  expect(end.error?.message).toMatch(/^The agent scripted ended by itself \(ended by SIGKILL; it said last: it hurts/);
  expect(end.error?.message).not.toContain("\u001b");
  expect(eventsOf(driver.frames, "approval_resolved")).toMatchObject([{ cause: "failed" }]);
  expect(await turn(driver, "crash 7")).toMatchObject({
    stop_reason: "failed",
    error: { code: "agent_ended", message: expect.stringContaining("exit code 7") },
  });
  expect(await turn(driver, "say up")).toMatchObject({ stop_reason: "end_turn" });
  expect(eventsOf(driver.frames, "notice").filter(({ code }) => code === "agent_ended")).toEqual([]);
});

test("an agent that says its last and ends at once is heard to the end; what it left holds nobody up", async () => {
  const house = await street.open({ limits: { kill_wait_ms: 200 } });
  const driver = await house.driver();
  const end = await turn(driver, "child\nsay last words\ncrash 3");
  expect(end).toMatchObject({ error: { code: "agent_ended", message: expect.stringContaining("exit code 3") } });
  expect(said(driver).join("")).toContain("last words");
  await gone(house);
});

test("an agent that ends between turns is told of, and started by the next prompt", async () => {
  const house = await street.open();
  const driver = await house.driver();
  await turn(driver, "say x");
  for (const pid of house.processes()) process.kill(pid, "SIGKILL");
  const notice = await driver.event("notice");
  expect(notice).toMatchObject({ code: "agent_ended", text: "The agent scripted ended by itself (ended by SIGKILL). The next prompt starts it again." });
  expect(await turn(driver, "say again")).toMatchObject({ stop_reason: "end_turn" });
  expect(house.told("initialize")).toHaveLength(2);
});

test("B39 B27 stop closes the conversation where the agent can, lets go of it, and leaves no process, in a turn and between", async () => {
  const house = await street.open({ script: { caps: { sessionCapabilities: { close: {} } } }, limits: { kill_wait_ms: 200 } });
  const driver = await house.driver();
  await turn(driver, "say x");
  await driver.rig.stop();
  expect(house.processes()).toEqual([]);
  expect(house.told("session/close")).toHaveLength(1);
  // It was told that nobody listens any more before it was told to go.
  expect(readFileSync(`${house.root}/heard`, "utf8")).toMatch(/end of input\n$/);
  const again = await house.driver();
  await again.prompt(`child\n${asking}`);
  await again.question();
  await again.rig.stop();
  expect(house.processes()).toEqual([]);
  expect(eventsOf(again.frames, "approval_resolved")).toMatchObject([{ cause: "stop" }]);
  expect(house.heard().filter(({ result }) => JSON.stringify(result) === JSON.stringify(cancelledAnswer))).toHaveLength(1);
});

test("B39 an agent that leaves neither at the end of its input nor when it is told to go is killed at stop", async () => {
  const house = await street.open({
    script: { ignoresEnd: true, caps: { sessionCapabilities: { close: {} } }, hang: ["session/close"] },
    limits: { agent_close_wait_ms: 50, kill_wait_ms: 100 },
  });
  const driver = await house.driver();
  await turn(driver, "say x");
  expect(house.processes()).toHaveLength(1);
  await driver.rig.stop();
  expect(house.processes()).toEqual([]);
});

test("B39 B40 shut_down leaves no process of an agent, and a turn of it ends interrupted", async () => {
  const house = await street.open({ limits: { kill_wait_ms: 200 } });
  const driver = await house.driver();
  await driver.prompt("child\nwait");
  await childOf(driver);
  await house.house.daemon.stop(0);
  expect(house.processes()).toEqual([]);
  expect(eventsOf(driver.frames, "turn_ended")).toMatchObject([{ stop_reason: "interrupted" }]);
});

test("an interrupt while the agent is started ends the start, and leaves nothing", async () => {
  const house = await street.open({ script: { hang: ["initialize"] }, limits: { kill_wait_ms: 200 } });
  const driver = await house.driver();
  const { turn_id } = await driver.prompt("say never");
  await eventually("it is started", () => house.processes().length > 0);
  await driver.rig.interrupt(turn_id ?? "");
  expect(await driver.event("turn_ended")).toMatchObject({ stop_reason: "cancelled" });
  await gone(house);
});
