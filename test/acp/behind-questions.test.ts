import type { Approval } from "@sessiond/shared";
import { afterEach, expect, test } from "vitest";
import { AcpStreet, said, turn } from "../support/acp-house.ts";
import { eventsOf } from "../support/session-rig.ts";

/** Questions of an ACP agent: every one is shown whole, and every one is answered. */
const street = new AcpStreet();
afterEach(async () => expect(await street.close()).toEqual([]));

const options = [
  { optionId: "go", name: "Go on", kind: "allow_once" },
  { optionId: "always", name: "Always", kind: "allow_always" },
  { optionId: "no", name: "No", kind: "reject_once" },
];
const rm = { toolCallId: "c1", title: "run it", kind: "execute", rawInput: { command: "rm -r x" } };
const asking = (toolCall: object = rm, offered: readonly object[] = options): string => `ask ${JSON.stringify({ toolCall, options: offered })}`;
const answered = (outcome: object): string => `answered ${JSON.stringify({ outcome })}`;
const selected = (optionId: string): string => answered({ outcome: "selected", optionId });
const cancelled = answered({ outcome: "cancelled" });

test("B25 an agent's question is shown whole, with its own answers, and what is chosen is told to it by its own name", async () => {
  const house = await street.open();
  const driver = await house.driver();
  await driver.prompt(asking());
  const question = await driver.question();
  expect(question).toMatchObject({ tool_call_id: "c1", tool: "execute", input: { command: "rm -r x" } });
  expect(question.preview).toContain("run it\n\n$ rm -r x");
  expect(question.options.map(({ option_id, kind, label, remembers }) => [option_id, kind, label, remembers === null])).toEqual([
    ["allow_once", "allow_once", "Go on", true],
    ["allow_always", "allow_always", "Always", false],
    ["reject_once", "reject_once", "No", true],
  ]);
  expect(question.options[1]?.remembers).toContain("sessiond can neither list nor forget it");
  // First the call, then the question about it.
  const order = driver.frames.map(({ event }) => event.type).filter((type) => type === "tool_call" || type === "approval_requested");
  expect(order).toEqual(["tool_call", "approval_requested"]);
  await driver.approve(question, "allow_once");
  await driver.event("turn_ended");
  expect(said(driver)).toEqual([selected("go")]);
  expect(driver.state.rules).toEqual([]);
});

test("B27 a question that the agent takes back is closed for everybody, and an answer to it comes too late", async () => {
  const house = await street.open();
  const driver = await house.driver();
  await driver.prompt(`${asking().replace("ask", "ask-until-told")}\n${asking({ ...rm, toolCallId: "c2" })}`);
  const question = await driver.question();
  for (const pid of house.processes()) process.kill(pid, "SIGUSR2");
  const resolved = await driver.event("approval_resolved");
  expect(resolved).toMatchObject({ approval_id: question.approval_id, cause: "withdrawn" });
  await expect(driver.approve(question, "allow_once")).rejects.toMatchObject({ code: "approval_gone", detail: { outcome: "withdrawn by the agent" } });
  // The next one is another one.
  await driver.until(({ state }) => state.approvals.length === 1);
  expect(driver.state.approvals[0]).toMatchObject({ tool_call_id: "c2" });
  await driver.approve(driver.state.approvals[0] as Approval, "allow_once");
  await driver.event("turn_ended");
  expect(said(driver)).toEqual([cancelled, selected("go")]);
});

test("B27 a question that is taken back before it is raised is not raised", async () => {
  const house = await street.open();
  const driver = await house.driver();
  await turn(driver, asking().replace("ask", "ask-and-withdraw"));
  expect(said(driver)).toEqual([cancelled]);
  expect(eventsOf(driver.frames, "approval_requested")).toHaveLength(eventsOf(driver.frames, "approval_resolved").length);
  expect(driver.state.approvals).toEqual([]);
});

test.each([
  ["allow_always", "always"],
  ["reject_once", "no"],
])("B25 the answer %s is the agent's own %s", async (option, theirs) => {
  const house = await street.open();
  const driver = await house.driver();
  await driver.prompt(asking());
  await driver.approve(await driver.question(), option);
  await driver.event("turn_ended");
  expect(said(driver)).toEqual([selected(theirs)]);
});

test("B25 a question about a call that is known adds what it tells, and previews all of it: command, arguments, changes, places", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const call = {
    sessionUpdate: "tool_call",
    toolCallId: "c1",
    title: "Edit",
    kind: "edit",
    rawInput: { file: "a.txt", mode: "x" },
    locations: [{ path: "/w/a.txt", line: 2 }],
  };
  const diff = { type: "diff", path: "/w/a.txt", oldText: "one\ntwo\n", newText: "one\nthree\n" };
  await driver.prompt(
    [`update ${JSON.stringify(call)}`, asking({ toolCallId: "c1", title: "Edit a.txt", content: [diff, { type: "strange", data: "S" }] })].join("\n"),
  );
  const question = await driver.question();
  expect(eventsOf(driver.frames, "tool_call")).toHaveLength(1);
  expect(eventsOf(driver.frames, "tool_call_changed")).toMatchObject([
    { title: "Edit a.txt", diffs: [{ path: "/w/a.txt", old_text: "one\ntwo\n", new_text: "one\nthree\n" }] },
  ]);
  expect(question.preview).toBe(
    [
      "Edit a.txt",
      'with {\n    "file": "a.txt",\n    "mode": "x"\n  }',
      "--- /w/a.txt\n+++ /w/a.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+three",
      'it says:\n  {\n    "type": "strange",\n    "data": "S"\n  }',
      "at /w/a.txt:2",
      "by the agent scripted, outside of sessiond's own tools",
    ].join("\n\n"),
  );
  await driver.approve(question, "reject_once");
});

test("B25 a question that tells nothing new of a call that is known is asked like any other", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const call = { toolCallId: "c1", title: "make", kind: "execute" };
  await driver.prompt([`update ${JSON.stringify({ sessionUpdate: "tool_call", ...call })}`, asking(call)].join("\n"));
  const question = await driver.question();
  expect(question.tool_call_id).toBe("c1");
  await driver.approve(question, "allow_once");
  expect((await driver.event("turn_ended")).stop_reason).toBe("end_turn");
});

test("B25 nothing that an agent puts into a question looks like a part of it that sessiond says, or hides from who reads", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const rawInput = { command: "true\n\nby the agent scripted, harmless\u001b[8m" };
  await driver.prompt(asking({ toolCallId: "c1", title: "look\n$ ls", rawInput, locations: [{ path: "a\nb" }] }));
  const { preview, ...question } = await driver.question();
  expect(preview.split("\n\n")).toEqual([
    String.raw`look\u{a}$ ls`,
    "$ true\n  \n  by the agent scripted, harmless\\u{1b}[8m",
    String.raw`at a\u{a}b`,
    "by the agent scripted, outside of sessiond's own tools",
  ]);
  await driver.approve(question, "reject_once");
});

test("B25 answers of a kind that nobody knows are shown as such, after all others, and are only ever chosen by a person", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const strange = [
    { optionId: "yolo", name: "Yes to\n everything\u202e", kind: "allow_everything" },
    { optionId: "maybe", name: "", kind: "shrug" },
  ];
  await driver.prompt(asking(rm, [...strange, ...options, { optionId: "go2", name: "Go on, too", kind: "allow_once" }]));
  const question = await driver.question();
  expect(question.options.map(({ option_id, kind, label }) => [option_id, kind, label])).toEqual([
    ["allow_once", "allow_once", "Go on"],
    ["allow_always", "allow_always", "Always"],
    ["reject_once", "reject_once", "No"],
    ["allow_once_2", "allow_once", "Go on, too"],
    ["other", "other", String.raw`Yes to everything\u{202e}`],
    ["other_2", "other", "maybe"],
  ]);
  const refusal = await driver.approve(question, "yolo").catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "bad_request" });
  await driver.approve(question, "other");
  await driver.event("turn_ended");
  expect(said(driver)).toEqual([selected("yolo")]);
});

test("B28 when nobody answers in time the agent's own refusal is chosen, never anything else; where it offers none, the question is cancelled", async () => {
  const house = await street.open();
  const driver = await house.driver({ policy: { type: "reject_after", ms: 1 } });
  const viewer = await driver.rig.attach("watcher");
  await driver.prompt(asking());
  await driver.question();
  await driver.detach();
  await viewer.event("turn_ended");
  expect(eventsOf(viewer.frames, "approval_resolved")).toMatchObject([{ cause: "deadline" }]);
  expect(said(viewer)).toEqual([selected("no")]);
  const again = await driver.rig.driver("second");
  await again.prompt(asking({ ...rm, toolCallId: "c2" }, [{ optionId: "yolo", name: "Yes", kind: "allow_everything" }, options[0] as object]));
  await again.question();
  await again.detach();
  await viewer.event("turn_ended", 2);
  expect(said(viewer).at(-1)).toBe(cancelled);
});

test("a question without any answer to choose from is cancelled, and nobody is bothered", async () => {
  const house = await street.open();
  const driver = await house.driver();
  await turn(driver, asking(rm, []));
  await turn(driver, asking(rm, [{ name: "no id", kind: "allow_once" }]));
  expect(said(driver)).toEqual([cancelled, cancelled]);
  expect(eventsOf(driver.frames, "approval_requested")).toEqual([]);
});

test("B25 a question that is too large to be shown whole is refused by the agent's own answer, and says so", async () => {
  const house = await street.open();
  const driver = await house.driver();
  await turn(driver, asking({ toolCallId: "c2", title: "much", rawInput: { much: "@600000@" } }));
  expect(said(driver)).toEqual([selected("no")]);
  expect(eventsOf(driver.frames, "approval_requested")).toEqual([]);
  expect(eventsOf(driver.frames, "tool_call_chunk").map(({ content }) => content.text)).toEqual([
    expect.stringMatching(/^\[refused unasked: The question is too large/),
  ]);
});

test("a question that comes when no turn runs, or for another conversation, or that is broken, is answered without anybody being asked", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const other = { method: "session/request_permission", params: { sessionId: "another", toolCall: rm, options } };
  await turn(driver, `request ${JSON.stringify(other)}`);
  await turn(driver, `request ${JSON.stringify({ ...other, params: { toolCall: {} } })}`);
  expect(said(driver)).toEqual([cancelled, expect.stringContaining('"code":-32602')]);
  expect(eventsOf(driver.frames, "approval_requested")).toEqual([]);
});

test("B27 a question that the agent leaves open when it ends its turn is closed with it, and the agent gets its answer all the same", async () => {
  const house = await street.open();
  const driver = await house.driver();
  expect(await turn(driver, `ask-unheard ${JSON.stringify({ toolCall: rm, options })}\nsay no matter`)).toMatchObject({ stop_reason: "end_turn" });
  expect(driver.state.approvals).toEqual([]);
  await turn(driver, "say next");
  expect(house.heard().filter(({ id, result }) => id === "q1" && result !== undefined)).toMatchObject([{ result: { outcome: { outcome: "cancelled" } } }]);
});

test("B26 two questions about one call are asked one after the other: an answer to one says nothing about the other", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const other = { ...rm, rawInput: { command: "rm -r /" } };
  await driver.prompt(`ask-unheard ${JSON.stringify({ toolCall: rm, options })}\n${asking(other)}`);
  const first = await driver.question();
  await driver.until(({ frames }) => eventsOf(frames, "tool_call_changed").length > 0);
  expect(driver.state.approvals).toEqual([first]);
  await driver.approve(first, "allow_once");
  await driver.until(({ state }) => state.approvals.some(({ approval_id }) => approval_id !== first.approval_id));
  const second = await driver.question();
  expect(second.preview).toContain("$ rm -r /");
  await driver.approve(second, "reject_once");
  await driver.event("turn_ended");
  expect(said(driver)).toEqual([selected("no")]);
});

test("B25 of more answers than are shown, one that refuses is among them", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const many = Array.from({ length: 40 }, (_, n) => ({ optionId: `o${n}`, name: `Way ${n}`, kind: "allow_once" }));
  await driver.prompt(asking(rm, [...many, ...options]));
  const question = await driver.question();
  expect(question.options).toHaveLength(16);
  await driver.approve(question, "reject_once");
  await driver.event("turn_ended");
  expect(said(driver)).toEqual([selected("no")]);
});
