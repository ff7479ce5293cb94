import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "@sessiond/shared";
import { afterEach, expect, test } from "vitest";
import { words, type AcpClient } from "../support/acp-client.ts";
import { FrontRig } from "../support/acp-front-rig.ts";
import type { DaemonHome } from "../support/daemon-home.ts";

const rig = new FrontRig();
afterEach(() => rig.end());

const question = (editor: AcpClient, from = 0) => editor.until("a question", (came) => (came.method === "session/request_permission" ? came : undefined), from);
const begun = async (editor: AcpClient, { workdir }: DaemonHome): Promise<string> =>
  (await editor.must("session/new", { cwd: workdir, mcpServers: [] })).sessionId;

test("a prompt is answered when its turn has ended, and all of its updates were told before", async () => {
  const home = rig.home();
  const editor = rig.editor(home);
  expect(await editor.initialize()).toMatchObject({ protocolVersion: 1, authMethods: [], agentCapabilities: { loadSession: true } });
  const sessionId = await begun(editor, home);
  expect(sessionId).toMatch(/^ses_[0-9A-Za-z]+$/);
  expect(await editor.must("session/prompt", words(sessionId, "hello"))).toEqual({ stopReason: "end_turn" });
  expect(editor.text()).toContain("practice");
  const count = editor.came.length;
  expect(await editor.end()).toBe(0);
  expect(editor.came.slice(count)).toEqual([]);
});

test("a tool that wants permission is asked for in the editor, with the whole call, and runs when it is allowed", async () => {
  const home = rig.home();
  const editor = await rig.met(home, { permit: () => "allow_once" });
  const sessionId = await begun(editor, home);
  expect(await editor.must("session/prompt", words(sessionId, "write notes.txt: hello"))).toEqual({ stopReason: "end_turn" });
  expect(readFileSync(join(home.workdir, "notes.txt"), "utf8")).toBe("hello");
  const [asked, ...others] = editor.questions();
  expect(others).toEqual([]);
  const path = join(home.workdir, "notes.txt");
  expect(asked?.params?.["toolCall"]).toMatchObject({ title: "write notes.txt", kind: "edit", locations: [{ path }], rawInput: { content: "hello" } });
  expect(asked?.params?.["options"].map(({ kind }: { kind: string }) => kind)).toEqual(["allow_once", "allow_always", "reject_once", "reject_always"]);
  const call = asked?.params?.["toolCall"].toolCallId;
  const statuses = editor.updates().filter(({ toolCallId }) => toolCallId === call);
  expect(statuses.map(({ sessionUpdate, status }) => [sessionUpdate, status])).toEqual([
    ["tool_call", "pending"],
    ["tool_call_update", "in_progress"],
    ["tool_call_update", "completed"],
  ]);
});

test("a tool that is refused in the editor does not run, and the turn goes on", async () => {
  const home = rig.home();
  const editor = await rig.met(home, { permit: () => "reject_once" });
  const sessionId = await begun(editor, home);
  expect(await editor.must("session/prompt", words(sessionId, "write notes.txt: hello"))).toEqual({ stopReason: "end_turn" });
  expect(existsSync(join(home.workdir, "notes.txt"))).toBe(false);
  expect(editor.updates().some(({ status }) => status === "failed")).toBe(true);
});

test("what is allowed always counts for the session, and is not asked again", async () => {
  const home = rig.home();
  const editor = await rig.met(home, { permit: () => "allow_always" });
  const sessionId = await begun(editor, home);
  await editor.must("session/prompt", words(sessionId, "run true"));
  await editor.must("session/prompt", words(sessionId, "run true"));
  expect(editor.questions()).toHaveLength(1);
  // Not for the directory: another session asks.
  await editor.must("session/prompt", words(await begun(editor, home), "run true"));
  expect(editor.questions()).toHaveLength(2);
});

test("session/cancel ends the turn, withdraws its question, and the prompt is answered with cancelled", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  const answer = editor.must("session/prompt", words(sessionId, "write notes.txt: hello"));
  const { id } = await question(editor);
  editor.tell("session/cancel", { sessionId });
  expect(await answer).toEqual({ stopReason: "cancelled" });
  expect(editor.came.filter(({ method }) => method === "$/cancel_request")).toMatchObject([{ params: { requestId: id } }]);
  // Answered all the same, and too late.
  editor.answer({ id: id ?? 0, params: { options: [{ kind: "allow_once", optionId: "allow_once" }] } }, "allow_once");
  expect(await editor.must("session/prompt", words(sessionId, "hello"))).toEqual({ stopReason: "end_turn" });
  expect(existsSync(join(home.workdir, "notes.txt"))).toBe(false);
});

test("B22 a cancel right behind its prompt is honoured, and so is one by $/cancel_request", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  const first = editor.must("session/prompt", words(sessionId, "run sleep 600"));
  editor.tell("session/cancel", { sessionId });
  expect(await first).toEqual({ stopReason: "cancelled" });
  const second = editor.must("session/prompt", words(sessionId, "run sleep 601"));
  await question(editor);
  editor.tell("$/cancel_request", { requestId: [...editor.asked].at(-1)?.[0] });
  expect(await second).toEqual({ stopReason: "cancelled" });
});

test("two prompts at once run one after the other, each with an answer of its own; a cancel takes both", async () => {
  const home = rig.home();
  const editor = await rig.met(home, { permit: () => "allow_once" });
  const sessionId = await begun(editor, home);
  const order: string[] = [];
  const [one, two] = ["write one.txt: 1", "write two.txt: 2"].map(async (text, index) => {
    const answer = await editor.must("session/prompt", words(sessionId, text));
    order.push(`${index} ${existsSync(join(home.workdir, "two.txt"))}`);
    return answer;
  });
  expect(await one).toEqual({ stopReason: "end_turn" });
  expect(await two).toEqual({ stopReason: "end_turn" });
  expect(order).toEqual(["0 false", "1 true"]);

  editor.permit = undefined;
  const from = editor.came.length;
  const both = ["write three.txt: 3", "write four.txt: 4"].map((text) => editor.must("session/prompt", words(sessionId, text)));
  await question(editor, from);
  editor.tell("session/cancel", { sessionId });
  expect(await Promise.all(both)).toEqual([{ stopReason: "cancelled" }, { stopReason: "cancelled" }]);
  editor.permit = () => "allow_once";
  expect(await editor.must("session/prompt", words(sessionId, "hello"))).toEqual({ stopReason: "end_turn" });
  expect(existsSync(join(home.workdir, "four.txt"))).toBe(false);
});

test("what an agent cannot be given is refused in a sentence, and texts and links of resources are given", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  const prompt = (...parts: object[]) => editor.ask("session/prompt", { sessionId, prompt: parts });
  const resource = (contents: object) => ({ type: "resource", resource: { uri: "file:///a.bin", ...contents } });
  expect(await prompt({ type: "audio", data: "AAAA", mimeType: "audio/wav" })).toMatchObject({ error: { code: -32602, message: /cannot go with it/ } });
  expect(await prompt(resource({ blob: "AAAA" }))).toMatchObject({ error: { code: -32602, message: /not text/ } });
  expect(await prompt()).toMatchObject({ error: { code: -32602 } });
  expect(await prompt({ type: "image", data: "not base64!", mimeType: "image/png" })).toMatchObject({ error: { code: -32602, data: { code: "bad_request" } } });
  const link = { type: "resource_link", uri: "file:///b.txt", name: "b.txt" };
  expect(await prompt({ type: "text", text: "hello " }, resource({ text: "of a file" }), link, { type: "text", text: "!" })).toMatchObject({
    result: { stopReason: "end_turn" },
  });
  const accepted = home.journal(sessionId).find(({ event }) => event.type === "prompt_accepted")?.event;
  expect(accepted?.["parts"]).toMatchObject([{ type: "text" }, { type: "resource", text: "of a file" }, { type: "resource_link" }, { type: "text" }]);
});

test("errors are sentences with our code, and unknown sessions and methods have ACP's numbers", async () => {
  const home = rig.home('[model]\nname = ""\n');
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  expect(await editor.ask("session/prompt", words(sessionId, "hello"))).toMatchObject({ error: { code: -32603, data: { code: "agent_unavailable" } } });
  const nobody = `ses_${"0".repeat(22)}`;
  expect(await editor.ask("session/prompt", words(nobody, "hello"))).toMatchObject({ error: { code: -32002, message: /not open here/ } });
  for (const method of ["session/load", "session/resume"])
    expect(await editor.ask(method, { sessionId: nobody, cwd: home.workdir, mcpServers: [] })).toMatchObject({
      error: { code: -32002, data: { code: "not_found" } },
    });
  expect(await editor.ask("session/new", { cwd: "/nowhere", mcpServers: [] })).toMatchObject({ error: { code: -32602, data: { code: "workdir_invalid" } } });
  expect(await editor.ask("session/fork", { sessionId })).toMatchObject({ error: { code: -32601 } });
  expect(await editor.ask("session/new", {})).toMatchObject({ error: { code: -32602, message: /cwd/ } });
});

test("a prompt right behind a cancel runs, and is not taken for a cancelled one", async () => {
  const home = rig.home();
  const editor = await rig.met(home, { permit: ({ toolCall }) => (toolCall.rawInput.command === "true" ? "allow_once" : undefined) });
  const sessionId = await begun(editor, home);
  const first = editor.must("session/prompt", words(sessionId, "run sleep 600"));
  await question(editor);
  editor.tell("session/cancel", { sessionId });
  const second = editor.must("session/prompt", words(sessionId, "run true"));
  expect(await first).toEqual({ stopReason: "cancelled" });
  expect(await second).toEqual({ stopReason: "end_turn" });
});

test("B23 a prompt that waits when the queue is held is taken back and answered, not left to hang", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  const first = editor.must("session/prompt", words(sessionId, "run sleep 600"));
  await question(editor);
  const second = editor.must("session/prompt", words(sessionId, "write notes.txt: hello"));
  const session = (await home.connect()).session(sessionId);
  while ((await session.info()).queue.length === 0);
  // Somebody else ends the turn.
  await session.interrupt();
  expect(await first).toEqual({ stopReason: "cancelled" });
  expect(await second).toEqual({ stopReason: "cancelled" });
  expect((await session.info()).queue).toEqual([]);
  expect(await editor.must("session/prompt", words(sessionId, "hello"))).toEqual({ stopReason: "end_turn" });
});

test("B7 prompts and sessions beyond a limit are refused with its name", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  const open = Array.from({ length: limits.acp_prompts_open_max }, () => editor.must("session/prompt", words(sessionId, "run sleep 600")));
  expect(await editor.ask("session/prompt", words(sessionId, "hello"))).toMatchObject({
    error: { message: /acp_prompts_open_max/, data: { code: "limit_reached" } },
  });
  editor.tell("session/cancel", { sessionId });
  for (const answer of open) expect(await answer).toEqual({ stopReason: "cancelled" });
  const others = await Promise.all(Array.from({ length: limits.acp_sessions_max }, () => editor.ask("session/new", { cwd: home.workdir, mcpServers: [] })));
  expect(others.filter(({ error }) => error !== undefined)).toMatchObject([{ error: { message: /acp_sessions_max/ } }]);
  await editor.must("session/close", { sessionId });
  expect(await begun(editor, home)).toMatch(/^ses_/);
});

test("whatever an editor calls itself, others see a line of a label's length without what deceives", async () => {
  const home = rig.home();
  const seen: string[] = [];
  for (const clientInfo of [{ name: `\u202e zed\n\u001b[31m${"\u{1f600}".repeat(80)}`, version: "1" }, { name: "", version: "" }, { name: 7 }, "zed", null]) {
    const editor = rig.editor(home);
    await editor.must("initialize", { protocolVersion: 1, clientInfo, clientCapabilities: [] });
    const sessionId = await begun(editor, home);
    const info = await (await home.connect()).session(sessionId).info();
    seen.push(...info.seats.map(({ label }) => label));
  }
  expect(seen[0]).toMatch(/^zed \[31m(\u{1f600})+$/u);
  expect(seen[0]?.length).toBeLessThanOrEqual(limits.label_chars_max);
  expect(seen.slice(1)).toEqual(["ACP client", "ACP client", "ACP client", "ACP client"]);
});
