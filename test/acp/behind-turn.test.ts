import { afterEach, expect, test } from "vitest";
import { AcpHouse, type AcpOptions } from "../support/acp-house.ts";
import { eventsOf, type TestSeat } from "../support/session-rig.ts";

/** A turn of an ACP agent: what it says, does and asks, in our events. */
const houses: AcpHouse[] = [];
afterEach(async () => {
  const open = houses.splice(0);
  await Promise.all(open.map((house) => house.close()));
  for (const { house } of open) expect(house.daemon.bugs).toEqual([]);
});

async function open(options: AcpOptions = {}): Promise<AcpHouse> {
  const house = await AcpHouse.open(options);
  houses.push(house);
  return house;
}

const ended = (seat: TestSeat, count = 1) => seat.event("turn_ended", count);
const said = (seat: TestSeat): string[] => seat.state.messages.filter(({ type }) => type === "agent").map(({ text }) => text);
const options = [
  { optionId: "go", name: "Go on", kind: "allow_once" },
  { optionId: "always", name: "Always", kind: "allow_always" },
  { optionId: "no", name: "No", kind: "reject_once" },
];

test("text and thoughts of an agent are the session's, and its answer ends the turn", async () => {
  const house = await open();
  const driver = await house.driver();
  await driver.prompt("think hm\nsay one \nsay two");
  expect(await ended(driver)).toMatchObject({ stop_reason: "end_turn" });
  expect(driver.state.messages.map(({ type, text }) => [type, text])).toEqual([
    ["user", "think hm\nsay one \nsay two"],
    ["thought", "hm"],
    ["agent", "one two"],
  ]);
  expect(house.heard().map(({ method }) => method)).toEqual(["initialize", "session/new", "session/prompt"]);
});

test("B25 an agent's question is shown whole, with its own answers, and what is chosen is told to it by its own name", async () => {
  const house = await open();
  const driver = await house.driver();
  await driver.prompt(`ask ${JSON.stringify({ toolCall: { toolCallId: "c1", title: "run it", kind: "execute", rawInput: { command: "rm -r x" } }, options })}`);
  const question = await driver.question();
  expect(question).toMatchObject({ tool_call_id: "c1", tool: "execute", input: { command: "rm -r x" } });
  expect(question.preview).toContain("run it\n\n$ rm -r x");
  expect(question.options.map(({ option_id, label, remembers }) => [option_id, label, remembers === null])).toEqual([
    ["allow_once", "Go on", true],
    ["allow_always", "Always", false],
    ["reject_once", "No", true],
  ]);
  expect(eventsOf(driver.frames, "tool_call")).toMatchObject([{ tool_call_id: "c1", title: "run it", kind: "execute" }]);
  await driver.approve(question, "allow_once");
  await ended(driver);
  expect(said(driver)).toEqual([`answered ${JSON.stringify({ outcome: { outcome: "selected", optionId: "go" } })}`]);
});
