import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { commandFile, words, type AcpClient } from "../support/acp-client.ts";
import { FrontRig } from "../support/acp-front-rig.ts";
import type { DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { ancestorsOf, processesWith } from "../support/processes.ts";

const rig = new FrontRig();
afterEach(() => rig.end());

const question = (editor: AcpClient, from = 0) => editor.until("a question", (came) => (came.method === "session/request_permission" ? came : undefined), from);
const begun = async (editor: AcpClient, { workdir }: DaemonHome): Promise<string> =>
  (await editor.must("session/new", { cwd: workdir, mcpServers: [] })).sessionId;
const fronts = (home: DaemonHome): number[] =>
  processesWith(`XDG_STATE_HOME=${join(home.root, "state")}`)
    .filter(({ command }) => command.includes(commandFile))
    .map(({ pid }) => pid);

test("initialize is answered without a daemon, and starts none; with one nobody can reach, sessions are refused in a sentence", async () => {
  const home = rig.home();
  const editor = rig.editor({ env: { ...home.env, SESSIOND_BIN: "/nowhere" } });
  expect((await editor.initialize()).agentInfo).toMatchObject({ name: "sessiond" });
  expect(home.daemons()).toEqual([]);
  expect(await editor.ask("session/new", { cwd: home.workdir, mcpServers: [] })).toMatchObject({ error: { data: { code: "daemon_unreachable" } } });
  // Asked again when there is one.
  await home.startByHand();
  expect(await begun(editor, home)).toMatch(/^ses_/);
});

test("the daemon that it starts is nobody's descendant: editors end what descends from what they started", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  await begun(editor, home);
  const daemon = await home.daemon();
  await eventually("it descends from others", () => !ancestorsOf(daemon).includes(editor.child.pid ?? 0));
});

test("any version is answered by the one there is, and messages before initialize are taken too", async () => {
  const home = rig.home();
  const editor = rig.editor(home);
  expect((await editor.must("initialize", { protocolVersion: 7, clientInfo: null, clientCapabilities: "odd" })).protocolVersion).toBe(1);
  const other = rig.editor(home);
  expect(await begun(other, home)).toMatch(/^ses_/);
});

test("the end of stdin and each signal detach: exit code 0, no process left, the daemon and its turn go on", async () => {
  const home = rig.home();
  for (const signal of [null, "SIGTERM", "SIGINT", "SIGHUP"] as const) {
    const editor = await rig.met(home);
    const sessionId = await begun(editor, home);
    void editor.ask("session/prompt", words(sessionId, "write notes.txt: hello")).catch(() => undefined);
    await question(editor);
    if (signal === null) editor.child.stdin?.end();
    else editor.child.kill(signal);
    expect(await editor.exited).toBe(0);
    expect(fronts(home)).toEqual([]);
    const info = await (await home.connect({ autoStart: false })).session(sessionId).info();
    expect(info).toMatchObject({ life_state: "live", status: "awaiting_approval", seats: [] });
  }
});

test("a daemon that does not answer holds up no goodbye", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  void editor.ask("session/prompt", words(sessionId, "write notes.txt: hello")).catch(() => undefined);
  await question(editor);
  const daemon = await home.daemon();
  process.kill(daemon, "SIGSTOP");
  try {
    expect(await editor.end()).toBe(0);
  } finally {
    process.kill(daemon, "SIGCONT");
  }
});

test("an editor that reads no more is left: its stdout closes, and nothing stays behind", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  editor.child.stdout?.destroy();
  editor.say({ id: 99, method: "session/prompt", params: words(sessionId, "hello") });
  expect(await editor.exited).toBe(0);
  expect(fronts(home)).toEqual([]);
});

test("--close stop ends the sessions that were open here, when the editor goes", async () => {
  const home = rig.home();
  const editor = await rig.met(home, { flags: ["--close", "stop"], permit: () => "allow_once" });
  const [one, two] = [await begun(editor, home), await begun(editor, home)];
  void editor.ask("session/prompt", words(one, "run sleep 600")).catch(() => undefined);
  await eventually("the tool runs", () => (home.tools().length > 0 ? true : undefined));
  expect(await editor.end()).toBe(0);
  expect(home.tools()).toEqual([]);
  const host = await home.connect({ autoStart: false });
  for (const id of [one, two]) expect((await host.session(id).info()).life_state).toBe("stopped");
});

test("B36 a daemon that is killed in the middle of a turn: the prompt is answered when the next one has ended it, and the session goes on", async () => {
  const home = rig.home();
  const editor = await rig.met(home, { permit: () => "allow_once" });
  const sessionId = await begun(editor, home);
  const answer = editor.must("session/prompt", words(sessionId, "run sleep 600"));
  await eventually("the tool runs", () => (home.tools().length > 0 ? true : undefined));
  await home.kill(await home.daemon());
  expect(await answer).toEqual({ stopReason: "cancelled" });
  expect(editor.text()).toContain("restart");
  expect(await editor.must("session/prompt", words(sessionId, "hello"))).toEqual({ stopReason: "end_turn" });
});

test("B37 a question that was open when the daemon was killed is answered afterwards, once", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  const answer = editor.must("session/prompt", words(sessionId, "write notes.txt: hello"));
  const asked = await question(editor);
  await home.kill(await home.daemon());
  await home.daemon();
  editor.answer(asked, "allow_once");
  expect(await answer).toEqual({ stopReason: "end_turn" });
  expect(readFileSync(join(home.workdir, "notes.txt"), "utf8")).toBe("hello");
});

test("the thin environment of an editor is enough: no PATH but the system's, no keys, tools find what is on it", async () => {
  const home = rig.home();
  const { HOME = "", XDG_STATE_HOME = "", XDG_RUNTIME_DIR = "", XDG_CONFIG_HOME = "" } = home.env;
  const env = { HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, PATH: "/usr/bin:/bin", SECRET_KEY: "not for tools" };
  const editor = await rig.met({ env }, { permit: () => "allow_once" });
  const sessionId = await begun(editor, home);
  expect(await editor.must("session/prompt", words(sessionId, 'run echo "$PATH" "$SECRET_KEY" > env.txt'))).toEqual({ stopReason: "end_turn" });
  expect(readFileSync(join(home.workdir, "env.txt"), "utf8").trim()).toBe("/usr/bin:/bin");
});

test("wrong flags are a usage error with a sentence; --help is the command's own, with examples", async () => {
  const home = rig.home();
  for (const [flags, sentence] of [
    [["--observe", "some"], "--observe is one of own, all, none"],
    [["--nonsense"], "'--nonsense'"],
    [["--token-file", "a", "--agent", "b"], "--token-file names its session"],
    [["--viewer", "--close", "stop"], "--viewer only looks and ends no session"],
  ] as const) {
    const editor = rig.editor(home, { flags });
    rig.outspoken.add(editor);
    expect(await editor.exited).toBe(2);
    await eventually("its sentence", () => (editor.stderr.includes(sentence) ? true : undefined));
    expect(editor.stderr).toContain("sessiond acp --help");
  }
  const help = rig.editor(home, { flags: ["--help"] });
  expect(await help.exited).toBe(0);
  await eventually("the help", () => (help.noise.some((line) => line.includes("$ sessiond acp --agent")) ? true : undefined));
  const options = help.noise.flatMap((line) => /^ {2}(--[a-z-]+)/.exec(line)?.[1] ?? []);
  expect(options).toEqual(["--workdir", "--agent", "--model", "--token-file", "--observe", "--viewer", "--close"]);
  help.noise.length = 0;
});

test("it loads only what it needs: nothing of the command, and of the client library nothing before initialize is answered", () => {
  const main = readFileSync(join(dirname(commandFile), "acp-main.js"), "utf8");
  expect(existsSync(join(dirname(commandFile), "acp-front.js"))).toBe(true);
  for (const foreign of ["commander", "node:net", "ZodObject", "class Door"]) expect(main.includes(foreign), foreign).toBe(false);
});
