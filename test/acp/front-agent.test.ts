import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { ApprovalOption, ViewerSeat } from "@sessiond/client";
import { connect } from "@sessiond/client/node";
import { limits } from "@sessiond/shared";
import { afterEach, expect, test } from "vitest";
import { words, type AcpClient, type Came, type ClientOptions } from "../support/acp-client.ts";
import { FrontRig } from "../support/acp-front-rig.ts";
import type { ScriptedTurn } from "../support/scripted-agent.ts";

/** What an agent tells beside its words, as an editor gets it. The agent is played by the test. */
const rig = new FrontRig();
afterEach(() => rig.end());

async function scene(options: Partial<ClientOptions> = {}) {
  const { daemon, kind, env } = await rig.scripted();
  const workdir = join(daemon.root, "work");
  mkdirSync(workdir);
  const editor = await rig.met({ env }, options);
  const { sessionId } = await editor.must("session/new", { cwd: workdir, mcpServers: [] });
  return { daemon, kind, env, workdir, editor, sessionId };
}

const question = (editor: AcpClient, from = 0) => editor.until("a question", (came) => (came.method === "session/request_permission" ? came : undefined), from);
const tell = ({ context }: ScriptedTurn, facts: object): void => context.tell({ type: "agent_facts", facts });

const modes = [
  { id: "ask", name: "Ask" },
  { id: "plan", name: "Plan", description: "Only looks" },
];
const options = [
  {
    type: "select" as const,
    id: "model",
    name: "Model",
    category: "model",
    value: "small",
    choices: [
      { id: "small", name: "Small" },
      { id: "large", name: "Large", group: "Big" },
    ],
  },
  { type: "boolean" as const, id: "fast", name: "Fast", value: false },
];

test("title, modes, settings, commands and use are told when the agent tells them, and again when they change", async () => {
  const { kind, editor, sessionId } = await scene();
  const answer = editor.must("session/prompt", words(sessionId, "go"));
  const turn = await kind.turn();
  tell(turn, {
    title: "A title",
    mode: "ask",
    modes,
    options,
    commands: [{ name: "test", description: "Runs tests", hint: "which" }],
    use: { used: 5, size: 100, cost: { amount: 0.5, currency: "USD" } },
  });
  await editor.update("usage_update");
  turn.end();
  await answer;
  const told = Object.fromEntries(editor.updates().map((update) => [update["sessionUpdate"], update]));
  expect(told).toMatchObject({
    session_info_update: { title: "A title" },
    current_mode_update: { currentModeId: "ask" },
    available_commands_update: { availableCommands: [{ name: "test", description: "Runs tests", input: { hint: "which" } }] },
    usage_update: { used: 5, size: 100, cost: { amount: 0.5, currency: "USD" } },
  });
  expect(told["config_option_update"]?.["configOptions"]).toMatchObject([
    { id: "mode", category: "mode", type: "select", currentValue: "ask", options: [{ value: "ask" }, { value: "plan", description: "Only looks" }] },
    {
      id: "model",
      category: "model",
      currentValue: "small",
      options: [
        { value: "small", name: "Small" },
        { value: "large", name: "Big: Large" },
      ],
    },
    // This client does not know switches.
    { id: "fast", type: "select", currentValue: "false", options: [{ value: "true" }, { value: "false" }] },
  ]);

  const count = editor.came.length;
  expect(await editor.must("session/set_mode", { sessionId, modeId: "plan" })).toEqual({});
  expect(await editor.update("current_mode_update", count)).toMatchObject({ currentModeId: "plan" });
  const { configOptions } = await editor.must("session/set_config_option", { sessionId, configId: "fast", value: "true" });
  expect(configOptions.map(({ currentValue }: { currentValue: unknown }) => currentValue)).toEqual(["plan", "small", "true"]);
  expect((await editor.must("session/set_config_option", { sessionId, configId: "mode", value: "ask" })).configOptions[0].currentValue).toBe("ask");
  for (const [configId, value] of [
    ["none", "x"],
    ["fast", "perhaps"],
    ["model", "huge"],
    ["mode", "none"],
  ])
    expect(await editor.ask("session/set_config_option", { sessionId, configId, value })).toMatchObject({ error: { code: -32602 } });
});

test("what is known is in the answer to session/load, and a client that knows switches gets them", async () => {
  const { daemon, kind, env, editor, sessionId } = await scene();
  const answer = editor.must("session/prompt", words(sessionId, "go"));
  const turn = await kind.turn();
  tell(turn, { mode: "ask", modes, options, title: "A title" });
  turn.end();
  await answer;
  const next = rig.editor({ env });
  const session = { configOptions: { boolean: {} } };
  await next.must("initialize", { protocolVersion: 1, clientCapabilities: { session } });
  const loaded = await next.must("session/load", { sessionId, cwd: daemon.root, mcpServers: [] });
  expect(loaded.modes).toEqual({ currentModeId: "ask", availableModes: modes });
  expect(loaded.configOptions.at(-1)).toMatchObject({ id: "fast", type: "boolean", currentValue: false });
  expect(await next.update("session_info_update")).toMatchObject({ title: "A title" });
  const changed = await next.must("session/set_config_option", { sessionId, configId: "fast", type: "boolean", value: true });
  expect(changed.configOptions.at(-1)).toMatchObject({ type: "boolean", currentValue: true });
});

test("tool calls come with diffs, places and what they put out; a changed call keeps what it showed", async () => {
  const { kind, workdir, editor, sessionId } = await scene();
  const answer = editor.must("session/prompt", words(sessionId, "go"));
  const turn = await kind.turn();
  const toolCallId = `${turn.turnId}/c1`;
  const base = { tool_call_id: "c1", message_id: "m1", tool: "edit", input: { path: "a.ts" } };
  await turn.yield({
    type: "tool_call",
    ...base,
    kind: "edit",
    title: "Edit a.ts",
    locations: [{ path: "a.ts", line: 3 }],
    diffs: [{ path: "a.ts", old_text: "1", new_text: "2" }],
  });
  await turn.update("c1", "in_progress");
  await turn.yield({ type: "tool_call_chunk", tool_call_id: "c1", content: { type: "text", text: "half" } });
  const running = await editor.until("output", ({ params }) => (params?.["update"]?.content?.length === 2 ? params["update"] : undefined));
  const diff = { type: "diff", path: join(workdir, "a.ts"), oldText: "1", newText: "2" };
  expect(running).toMatchObject({ toolCallId, content: [diff, { content: { text: "```\nhalf\n```" } }] });
  await turn.yield({
    type: "tool_call_changed",
    tool_call_id: "c1",
    title: "Edit two",
    locations: [{ path: "/b.ts" }],
    diffs: [{ path: "/b.ts", old_text: null, new_text: "3" }],
  });
  await turn.update("c1", "completed", "done");
  await turn.yield({ type: "plan", entries: [{ content: "test", priority: "high", status: "pending" }] });
  turn.end();
  expect(await answer).toEqual({ stopReason: "end_turn" });
  const updates = editor.updates().filter((update) => update["toolCallId"] === toolCallId);
  expect(updates[0]).toMatchObject({
    sessionUpdate: "tool_call",
    title: "Edit a.ts",
    name: "edit",
    kind: "edit",
    content: [diff],
    locations: [{ path: join(workdir, "a.ts"), line: 3 }],
  });
  expect(updates.at(-2)).toMatchObject({
    title: "Edit two",
    locations: [{ path: "/b.ts" }],
    content: [{ path: "/b.ts", oldText: null }, { content: { text: "```\nhalf\n```" } }],
  });
  expect(updates.at(-1)).toMatchObject({ status: "completed", content: [{ type: "diff", path: "/b.ts" }, { content: { text: "```\ndone\n```" } }] });
  expect(editor.updates().find(({ sessionUpdate }) => sessionUpdate === "plan")).toMatchObject({
    entries: [{ content: "test", priority: "high", status: "pending" }],
  });
});

test("B7 output of a running tool is told by its end, and not once for each piece", async () => {
  const { kind, editor, sessionId } = await scene();
  const answer = editor.must("session/prompt", words(sessionId, "go"));
  const turn = await kind.turn();
  await turn.call("c1");
  const count = 2_000;
  await Promise.all(
    Array.from({ length: count }, (_, at) =>
      turn.yield({ type: "tool_call_chunk", tool_call_id: "c1", content: { type: "text", text: `line ${at} of output\n` } }),
    ),
  );
  const last = await editor.until("the last line", ({ params }) =>
    params?.["update"]?.content?.[0]?.content.text.includes(`line ${count - 1} of output\n`) ? params["update"] : undefined,
  );
  expect(last.content[0].content.text.length).toBeLessThanOrEqual(limits.acp_running_output_chars_max + "```\n```".length);
  turn.end();
  await answer;
  expect(editor.updates().filter(({ sessionUpdate }) => sessionUpdate === "tool_call_update").length).toBeLessThan(count / 4);
});

const answers = (...kinds: [ApprovalOption["kind"], string?][]): ApprovalOption[] =>
  kinds.map(([kind, id = kind]) => ({ option_id: id, kind, label: `Say ${id}`, remembers: kind.endsWith("always") ? "The agent remembers it." : null }));

test("B26 of an agent's own answers at most one of each of ACP's kinds is offered, and none that nobody knows", async () => {
  const { kind, editor, sessionId } = await scene();
  const answer = editor.must("session/prompt", words(sessionId, "go"));
  const turn = await kind.turn();
  await turn.call("c1");
  const asked = turn.ask("c1", {}, "What it does", {
    options: answers(["other"], ["allow_once"], ["allow_always"], ["allow_once", "allow_once_2"], ["reject_once"], ["reject_always"]),
  });
  const first = await question(editor);
  const offered = ({ params }: typeof first) => params?.["options"].map(({ kind: its, optionId }: Record<string, string>) => [its, optionId]);
  expect(offered(first)).toEqual([
    ["allow_once", "allow_once"],
    ["allow_always", "allow_always"],
    ["reject_once", "reject_once"],
    ["reject_always", "reject_always"],
  ]);
  expect(first.params?.["toolCall"].content).toEqual([{ type: "content", content: { type: "text", text: "```\nWhat it does\n```" } }]);
  editor.answer(first, "allow_always");
  expect(await asked).toMatchObject({ allowed: true, optionId: "allow_always" });

  // Nothing that allows: the rest is offered all the same.
  await turn.call("c2");
  const count = editor.came.length;
  const again = turn.ask("c2", {}, "More", { options: answers(["other"], ["reject_once"]) });
  const second = await question(editor, count);
  expect(offered(second)).toEqual([["reject_once", "reject_once"]]);
  // An answer that was not offered is none.
  editor.say({ id: second.id ?? 0, result: { outcome: { outcome: "selected", optionId: "other" } } });
  editor.tell("session/cancel", { sessionId });
  expect(await again).toMatchObject({ allowed: false });
  turn.end("cancelled");
  expect(await answer).toEqual({ stopReason: "cancelled" });
});

test("B25 what is asked, and what a tool put out, is code to an editor that shows text as Markdown, whatever stands in it", async () => {
  const { kind, editor, sessionId } = await scene({ permit: () => "allow_once" });
  const answer = editor.must("session/prompt", words(sessionId, "go"));
  const turn = await kind.turn();
  const hides = "$ ls\n```\n<!-- \n````\n$ rm -rf * -->";
  await turn.call("c1");
  await turn.ask("c1", {}, hides);
  const shown = "`````\n" + hides + "\n`````";
  expect((await question(editor)).params?.["toolCall"].content[0].content.text).toBe(shown);
  await turn.update("c1", "completed", hides);

  // What an agent has set as code by itself is as it was; what it wrote for people is not code.
  const own = "```sh\nls\n```";
  await turn.call("c2");
  await turn.update("c2", "completed", own);
  await turn.yield({ type: "tool_call", tool_call_id: "c3", message_id: "m1", tool: "task", kind: "think", title: "Task", input: {} });
  await turn.update("c3", "completed", "It is **done**.");
  turn.end();
  expect(await answer).toEqual({ stopReason: "end_turn" });
  const results = editor.updates().flatMap(({ status, content }) => (status === "completed" ? [content[0].content.text] : []));
  expect(results).toEqual([shown, own, "It is **done**."]);
});

test("a question that no editor can answer rightly is left to terminals, and the editor is told so", async () => {
  const { kind, editor, sessionId } = await scene({ permit: () => "allow_once" });
  const answer = editor.must("session/prompt", words(sessionId, "go"));
  const turn = await kind.turn();
  await turn.call("c1");
  void turn.ask("c1", {}, "What it does", { options: answers(["other"]) });
  await editor.until("words", ({ params }) => (params?.["update"]?.content?.text?.includes(`sessiond approve --session ${sessionId}`) ? true : undefined));
  expect(editor.questions()).toEqual([]);
  editor.tell("session/cancel", { sessionId });
  turn.end("cancelled");
  expect(await answer).toEqual({ stopReason: "cancelled" });
});

test("an answer of cancelled alone leaves the question open for others", async () => {
  const { kind, editor, sessionId } = await scene({ permit: () => "cancelled" });
  const answer = editor.must("session/prompt", words(sessionId, "go"));
  const turn = await kind.turn();
  await turn.call("c1");
  const asked = turn.ask("c1");
  await question(editor);
  await editor.must("session/list");
  let settled = false;
  void asked.then(() => (settled = true));
  await editor.must("session/list");
  expect(settled).toBe(false);
  editor.tell("session/cancel", { sessionId });
  expect(await asked).toMatchObject({ allowed: false, cause: "interrupt" });
  turn.end("cancelled");
  expect(await answer).toEqual({ stopReason: "cancelled" });
});

/** Whose the wheel becomes, until it is nobody's. */
async function handsUntilFree(viewer: ViewerSeat): Promise<(string | null)[]> {
  const hands: (string | null)[] = [];
  for await (const event of viewer.events) {
    if (event.type === "frame" && event.frame.event.type === "driver_changed") hands.push(event.frame.event.to);
    if (hands.at(-1) === null) break;
  }
  return hands;
}

const silences: [how: string, offered: ApprovalOption[] | undefined, say: (asked: Came, editor: AcpClient) => void][] = [
  ["cancelled", undefined, (asked, editor) => editor.answer(asked, "cancelled")],
  ["an error", undefined, ({ id = 0 }, editor) => editor.say({ id, error: { code: -32601, message: "no questions here" } })],
  ["nothing that it could be offered", answers(["other"]), () => undefined],
];

for (const [how, offered, say] of silences)
  test(`B28 an editor that makes no choice in a turn it came back to leaves the wheel to others and the clock to the policy: ${how}`, async () => {
    const { kind, editor, env, workdir } = await scene();
    await using host = await connect({ env, autoStart: false });
    const session = await host.startSession({ workdir, policy: { type: "reject_after", ms: 600_000 } });
    const driver = await session.attach({ as: "driver" });
    void driver.prompt("go").catch(() => undefined);
    const turn = await kind.turn();
    await turn.call("c1");
    void turn.ask("c1", {}, "What it does", offered && { options: offered });
    while (driver.state.approvals.length === 0) await driver.changed();
    await driver.detach();
    const viewer = await (await host.openSession(session.id)).attach({ as: "viewer" });
    const hands = handsUntilFree(viewer);
    await editor.must("session/resume", { sessionId: session.id, cwd: workdir });
    if (offered === undefined) say(await question(editor), editor);
    // It has taken the wheel for the question, and given it back.
    expect(await hands).toEqual([expect.stringMatching(/^seat_/), null]);
    expect(viewer.state.approvals).toMatchObject([{ deadline: expect.any(Number) }]);
    expect((await viewer.takeDriver()).role).toBe("driver");
  });

test("how a turn ends is how its prompt is answered; a failure is an error with the agent's words", async () => {
  const { kind, editor, sessionId } = await scene();
  for (const stop of ["max_tokens", "max_turn_requests", "refusal"] as const) {
    const answer = editor.must("session/prompt", words(sessionId, "go"));
    (await kind.turn()).end(stop);
    expect(await answer).toEqual({ stopReason: stop });
  }
  const answer = editor.ask("session/prompt", words(sessionId, "go"));
  void (await kind.turn()).yield({ type: "turn_end", stop_reason: "failed", error: { code: "model", message: "The model is on fire." } });
  expect(await answer).toMatchObject({ error: { code: -32603, message: "The model is on fire.", data: { code: "model" } } });
});
