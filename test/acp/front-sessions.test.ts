import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { words, type AcpClient, type Json } from "../support/acp-client.ts";
import { FrontRig } from "../support/acp-front-rig.ts";
import type { DaemonHome } from "../support/daemon-home.ts";

const rig = new FrontRig();
afterEach(() => rig.end());

const question = (editor: AcpClient, from = 0) => editor.until("a question", (came) => (came.method === "session/request_permission" ? came : undefined), from);
const begun = async (editor: AcpClient, { workdir }: Pick<DaemonHome, "workdir">): Promise<string> =>
  (await editor.must("session/new", { cwd: workdir, mcpServers: [] })).sessionId;
/** Kinds of updates in a row, each row of one kind once. */
const kinds = (updates: readonly Record<string, Json>[]): string[] =>
  updates.map(({ sessionUpdate }) => sessionUpdate as string).filter((kind, at, all) => kind !== all[at - 1]);

test("session/list tells of all sessions, those of a directory, and in pages", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const other = join(home.root, "other");
  mkdirSync(other);
  const [first, second] = [await begun(editor, home), await begun(editor, { workdir: other })];
  expect(second).not.toBe(first);
  const { sessions } = await editor.must("session/list");
  expect(sessions.map(({ sessionId }: { sessionId: string }) => sessionId).toSorted()).toEqual([first, second].toSorted());
  expect((await editor.must("session/list", { cwd: other })).sessions).toMatchObject([{ sessionId: second, cwd: other }]);
  expect(await editor.ask("session/list", { cursor: "nonsense" })).toMatchObject({ error: { code: -32602 } });
});

test("session/load replays the conversation before it answers, and the session goes on", async () => {
  const home = rig.home();
  const editor = await rig.met(home, { permit: () => "allow_once" });
  const sessionId = await begun(editor, home);
  await editor.must("session/prompt", words(sessionId, "write notes.txt: hello"));
  const seen = kinds(editor.updates());
  await editor.end();

  const next = await rig.met(home, { permit: () => "allow_once" });
  await next.must("session/load", { sessionId, cwd: home.workdir, mcpServers: [] });
  const answered = next.came.findIndex(({ id }) => id === 2);
  expect(kinds(next.updates())).toEqual(["user_message_chunk", ...seen]);
  expect(next.came.slice(answered + 1)).toEqual([]);
  expect(next.text("user_message_chunk")).toBe("write notes.txt: hello");
  // As it was told when it happened, ids and all.
  const calls = (client: AcpClient) => client.updates().filter(({ toolCallId }) => toolCallId !== undefined);
  expect(calls(next)).toEqual(calls(editor));
  expect(await next.must("session/prompt", words(sessionId, "hello"))).toEqual({ stopReason: "end_turn" });
  expect(next.questions()).toEqual([]);
});

test("session/resume goes on without a word of what was", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  await editor.must("session/prompt", words(sessionId, "hello"));
  const next = await rig.met(home);
  await next.must("session/resume", { sessionId, cwd: home.workdir });
  expect(next.updates()).toEqual([]);
  expect(await next.must("session/prompt", words(sessionId, "hello"))).toEqual({ stopReason: "end_turn" });
});

test("B27 an editor that comes back to an open question that nobody drives is asked it again, by load and by resume", async () => {
  for (const method of ["session/load", "session/resume"]) {
    const home = rig.home();
    const editor = await rig.met(home);
    const sessionId = await begun(editor, home);
    void editor.ask("session/prompt", words(sessionId, "write notes.txt: hello")).catch(() => undefined);
    await question(editor);
    expect(await editor.end()).toBe(0);

    const next = await rig.met(home);
    await next.must(method, { sessionId, cwd: home.workdir, mcpServers: [] });
    const answered = next.came.findIndex(({ id }) => id === 2);
    const asked = await question(next);
    expect(next.came.indexOf(asked)).toBeGreaterThan(answered);
    expect(asked.params?.["toolCall"]).toMatchObject({ title: "write notes.txt", kind: "edit" });
    next.answer(asked, "allow_once");
    // … and hears how it goes on.
    await next.until("the end of the call", ({ params }) => (params?.["update"]?.status === "completed" ? true : undefined));
    while (next.text() === "") await next.update("agent_message_chunk", next.came.length);
    const host = await home.connect();
    await host.session(sessionId).waitFor("idle");
    expect((await host.session(sessionId).info()).last_turn?.stop_reason).toBe("end_turn");
  }
});

test("B14 a session that is loaded several times at once has one seat here, and none when it is closed", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  await editor.must("session/prompt", words(sessionId, "hello"));
  await editor.end();
  const next = await rig.met(home);
  const methods = ["session/load", "session/resume", "session/load"];
  await Promise.all(methods.map((method) => next.must(method, { sessionId, cwd: home.workdir, mcpServers: [] })));
  const session = (await home.connect()).session(sessionId);
  expect((await session.info()).seats).toMatchObject([{ role: "viewer" }]);
  expect(await next.must("session/prompt", words(sessionId, "hello"))).toEqual({ stopReason: "end_turn" });
  await next.must("session/close", { sessionId });
  expect((await session.info()).seats).toEqual([]);
});

test("B27 an open question that nobody drives is asked once where its session is loaded several times at once", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  void editor.ask("session/prompt", words(sessionId, "write notes.txt: hello")).catch(() => undefined);
  await question(editor);
  await editor.end();
  const next = await rig.met(home);
  await Promise.all([1, 2, 3].map(() => next.must("session/load", { sessionId, cwd: home.workdir, mcpServers: [] })));
  // One of those that were left may have asked already: then it was withdrawn.
  const withdrawn = () => next.came.flatMap(({ method, params }) => (method === "$/cancel_request" ? [params?.["requestId"]] : []));
  const asked = await next.until("a question that stands", (came) =>
    came.method === "session/request_permission" && !withdrawn().includes(came.id) ? came : undefined,
  );
  next.answer(asked, "allow_once");
  await next.until("the end of the call", ({ params }) => (params?.["update"]?.status === "completed" ? true : undefined));
  const session = (await home.connect()).session(sessionId);
  await session.waitFor("idle");
  await next.must("session/close", { sessionId });
  expect((await session.info()).seats).toEqual([]);
});

test("a stopped session is loaded with its conversation, and its next life begins", async () => {
  const home = rig.home();
  const editor = await rig.met(home, { flags: ["--close", "stop"] });
  const sessionId = await begun(editor, home);
  await editor.must("session/prompt", words(sessionId, "hello"));
  expect(await editor.must("session/close", { sessionId })).toEqual({});
  expect(await editor.ask("session/prompt", words(sessionId, "hello"))).toMatchObject({ error: { code: -32002 } });
  const host = await home.connect();
  expect((await host.session(sessionId).info()).life_state).toBe("stopped");
  await editor.must("session/load", { sessionId, cwd: home.workdir, mcpServers: [] });
  expect(editor.text("user_message_chunk")).toBe("hello");
  expect(await editor.must("session/prompt", words(sessionId, "hello"))).toEqual({ stopReason: "end_turn" });
});

test("session/close leaves the seat, and the session works on", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  const answer = editor.must("session/prompt", words(sessionId, "write notes.txt: hello"));
  await question(editor);
  expect(await editor.must("session/close", { sessionId })).toEqual({});
  expect(await answer).toEqual({ stopReason: "cancelled" });
  const info = await (await home.connect()).session(sessionId).info();
  expect(info).toMatchObject({ seats: [], status: "awaiting_approval" });
});

test("B11 --workdir gives the one session of a directory each time, without a replay", async () => {
  const home = rig.home();
  const flags = ["--workdir", home.workdir];
  const editor = await rig.met(home, { flags });
  const { sessionId } = await editor.must("session/new", { cwd: "/", mcpServers: [] });
  expect(await editor.must("session/new", { cwd: "/tmp", mcpServers: [] })).toEqual({ sessionId });
  await editor.must("session/prompt", words(sessionId, "hello"));
  const next = await rig.met(home, { flags });
  expect(await next.must("session/new", { cwd: "/", mcpServers: [] })).toEqual({ sessionId });
  expect(next.updates()).toEqual([]);
  const host = await home.connect();
  const session = await host.sessionForWorkdir(home.workdir);
  expect(session.id).toBe(sessionId);
});

test("B1 --token-file gives one session, as far as its token goes; B2 nothing that is said holds it", async () => {
  const home = rig.home();
  const host = await home.connect();
  const session = await host.sessionForWorkdir(home.workdir);
  const other = await host.startSession({ workdir: home.workdir });
  const tokens = { control: "", view: "" };
  for (const right of ["control", "view"] as const) tokens[right] = (await session.mintToken({ right, label: right })).token;
  const file = (name: string, text: string, mode = 0o600): string[] => {
    writeFileSync(join(home.root, name), text, { mode });
    return ["--token-file", join(home.root, name)];
  };
  const driver = await rig.met(home, { flags: file("control", `${tokens.control}\n`), permit: () => "allow_once" });
  const { sessionId } = await driver.must("session/new", { cwd: "/", mcpServers: [] });
  expect(sessionId).toBe(session.id);
  expect(await driver.must("session/prompt", words(sessionId, "write notes.txt: hello"))).toEqual({ stopReason: "end_turn" });
  // What only the owner's tokens may give is not offered.
  const [asked] = driver.questions();
  expect(asked?.params?.["options"].map(({ optionId }: { optionId: string }) => optionId)).toEqual(["allow_once", "allow_session", "reject_once"]);
  expect((await driver.must("session/list")).sessions).toMatchObject([{ sessionId }]);
  expect(await driver.ask("session/load", { sessionId: other.id, cwd: "/", mcpServers: [] })).toMatchObject({ error: { code: -32002 } });

  const viewer = await rig.met(home, { flags: file("view", tokens.view) });
  await viewer.must("session/load", { sessionId, cwd: "/", mcpServers: [] });
  expect(await viewer.ask("session/prompt", words(sessionId, "hello"))).toMatchObject({ error: { data: { code: "role_too_small" } } });
  for (const flags of [file("open", tokens.control, 0o644), file("wrong", "ssd_c_nonsense"), ["--token-file", join(home.root, "none")]]) {
    const refused = await rig.met(home, { flags });
    const { error } = await refused.ask("session/new", { cwd: "/", mcpServers: [] });
    expect(error?.data).toEqual({ code: "unauthenticated" });
    expect(error?.message).toContain(flags[1]);
  }
  for (const client of [driver, viewer]) for (const token of Object.values(tokens)) expect(JSON.stringify(client.came)).not.toContain(token);
});

test("sessions of one editor do not wait for each other", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const [one, two] = [await begun(editor, home), await begun(editor, home)];
  const waiting = editor.must("session/prompt", words(one, "write notes.txt: hello"));
  const asked = await question(editor);
  expect(await editor.must("session/prompt", words(two, "hello"))).toEqual({ stopReason: "end_turn" });
  // Of one that is not meant nothing is ended.
  editor.tell("session/cancel", { sessionId: two });
  editor.answer(asked, "allow_once");
  expect(await waiting).toEqual({ stopReason: "end_turn" });
});
