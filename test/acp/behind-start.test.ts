import { chmodSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { readConfig } from "../../packages/daemon/src/config.ts";
import { testEnv, testRoot } from "../../packages/daemon/src/testing.ts";
import { AcpHouse, AcpStreet, agentTable, configure, said, scriptedAgent, turn, type AgentScript } from "../support/acp-house.ts";
import { House } from "../support/built-in-session.ts";
import { eventsOf, type TestSeat } from "../support/session-rig.ts";

/** How an ACP agent is found, started and given its conversation back; and what is said when that fails. */
const street = new AcpStreet();
const plain: House[] = [];
afterEach(async () => {
  expect(await street.close()).toEqual([]);
  await Promise.all(plain.splice(0).map((house) => house.close()));
});

const agents = async (house: House) => (await house.daemon.call("list_agents", {}, house.owner)).agents;
const failure = async (script: AgentScript, limits = {}): Promise<{ code?: string; message?: string }> => {
  const house = await street.open({ script, limits: { kill_wait_ms: 200, ...limits } });
  const end = await turn(await house.driver(), "say x");
  expect(end.stop_reason).toBe("failed");
  return end.error ?? {};
};

test("B45 an agent of another version, one that hangs, one that refuses, and one that ends at once fail the prompt with words that say which", async () => {
  expect(await failure({ version: 2 })).toEqual({
    code: "agent_unavailable",
    message: expect.stringContaining("speaks version 2 of the protocol, and sessiond 1"),
  });
  expect(await failure({ version: "old" })).toMatchObject({ code: "agent_unavailable", message: expect.stringContaining("its answer is not understood") });
  expect(await failure({ hang: ["initialize"] }, { agent_start_wait_ms: 300 })).toMatchObject({
    message: expect.stringContaining("did not answer initialize within 300 ms"),
  });
  expect(await failure({ hang: ["session/new"] }, { agent_start_wait_ms: 4_000 })).toMatchObject({
    message: expect.stringContaining("did not answer session/new"),
  });
  expect(await failure({ errors: { "session/new": { code: -32603, message: "no more\u202e room" } } })).toMatchObject({
    code: "agent_unavailable",
    message: String.raw`The agent scripted cannot run: it refused session/new: no more\u{202e} room.`,
  });
  expect(await failure({ first: ["stderr no such model", "crash 9"] })).toEqual({
    code: "agent_unavailable",
    message: "The agent scripted ended while it was started (exit code 9; it said last: no such model).",
  });
});

test.each(["session/new", "session/prompt"])(
  "B45 a login that is missing at %s fails the prompt in the agent's words, with what to do; a later one is looked for anew",
  async (method) => {
    const script = {
      authMethods: [
        { id: "oauth", name: "Log in with a browser", description: "opens\u0007 one" },
        { id: "key", name: "A key" },
      ],
      errors: { [method]: { code: -32000, message: "Authentication required", data: { details: "no credentials in ~/.scripted" } } },
    };
    const house = await street.open({ script });
    const driver = await house.driver();
    const end = await turn(driver, "say x");
    expect(end).toMatchObject({ stop_reason: "failed", error: { code: "agent_unavailable" } });
    expect(end.error?.message).toMatch(/^The agent scripted wants to know who you are: Authentication required \(no credentials in ~\/\.scripted\)\./);
    expect(end.error?.message).toMatch(/log in once with the agent's own program, in a terminal.*\[agents\.env\]/);
    expect(end.error?.message).toContain(String.raw`It offers: Log in with a browser (opens\u{7} one); A key.`);
    await turn(driver, "say x");
    expect(house.told("initialize")).toHaveLength(2);
  },
);

const reopened = async (script: AgentScript, prompt = "history", limits = {}): Promise<{ house: AcpHouse; driver: TestSeat }> => {
  const house = await street.open({ script, limits });
  const first = await house.driver();
  await turn(first, "say before");
  await first.detach();
  await house.house.restart();
  const driver = await house.driver();
  await turn(driver, prompt);
  return { house, driver };
};

test("B11 after a restart the conversation is resumed where the agent can, and what was said before is there", async () => {
  const { house, driver } = await reopened({ caps: { loadSession: true, sessionCapabilities: { resume: {} } } });
  expect(said(driver)).toEqual(["before", "1 before"]);
  expect(eventsOf(driver.frames, "agent_conversation")).toMatchObject([{ how: "resumed" }]);
  expect(house.told("session/load")).toEqual([]);
  const [prompt] = house.told("session/prompt");
  expect(house.told("session/resume")).toMatchObject([{ params: { sessionId: prompt?.params?.["sessionId"], cwd: join(house.root, "work"), mcpServers: [] } }]);
});

test("B11 else it is loaded, and what the agent replays of it is not said twice", async () => {
  const { driver } = await reopened({ caps: { loadSession: true } });
  expect(said(driver)).toEqual(["before", "1 before"]);
  expect(eventsOf(driver.frames, "agent_conversation")).toMatchObject([{ how: "loaded" }]);
  expect(eventsOf(driver.frames, "tool_call")).toEqual([]);
  expect(eventsOf(driver.frames, "notice")).toEqual([]);
});

test("B11 nor what it replays when it has said already that the conversation is loaded, as gemini does", async () => {
  const { driver } = await reopened({ caps: { loadSession: true }, replaysLate: 50 }, "after-replay\nhistory", { agent_replay_quiet_ms: 1_000 });
  expect(said(driver)).toEqual(["before", "1 before"]);
  expect(eventsOf(driver.frames, "tool_call")).toEqual([]);
});

test("an agent that has no way to take a conversation up, or refuses to, begins a new one, and everybody is told", async () => {
  const without = await reopened({});
  expect(said(without.driver)).toEqual(["before", "0 before"]);
  expect(eventsOf(without.driver.frames, "notice")).toMatchObject([
    { code: "agent_lost_context", text: "The agent scripted knows nothing of what was said before: it has no way to take up a conversation." },
  ]);
  const refusal = { code: -32603, message: "it is gone" };
  const refused = await reopened({
    caps: { loadSession: true, sessionCapabilities: { resume: {} } },
    errors: { "session/resume": refusal, "session/load": refusal },
  });
  expect(said(refused.driver)).toEqual(["before", "0 before"]);
  expect(eventsOf(refused.driver.frames, "notice")).toMatchObject([{ text: expect.stringContaining("it refused to take the conversation up: it is gone") }]);
  expect(eventsOf(refused.driver.frames, "agent_conversation")).toMatchObject([{ how: "new" }]);
});

test("nobody is told of a lost conversation in which nothing was said", async () => {
  const house = await street.open({ script: { errors: { "session/prompt": { code: -32000, message: "who are you?" } } } });
  const driver = await house.driver();
  await turn(driver, "say x");
  expect(eventsOf(driver.frames, "agent_conversation")).toHaveLength(1);
  expect(eventsOf(driver.frames, "notice")).toEqual([]);
});

test("B46 B2 an agent gets the environment of its session and of its entry, nothing that leads to sessiond's own directories, and no key but its own", async () => {
  const root = await testRoot();
  const own = { OWN_API_KEY: "sk-own-key-of-the-agent", LEADS_THERE: join(root, "state/sessiond/x") };
  const house = await AcpHouse.open({ root, env: own, model: { apiKey: "sk-of-the-daemon-itself" } });
  plain.push(house.house);
  const driver = await house.driver({ env: { PATH: "/session/bin:/usr/bin", EDITOR: "vi" } });
  await turn(driver, "environment\nstderr I was given sk-own-key-of-the-agent\ncrash 1");
  const told = JSON.parse(said(driver)[0] ?? "{}") as Record<string, string>;
  expect(told).toMatchObject({ OWN_API_KEY: "sk-own-key-of-the-agent", HOME: join(root, "home"), CWD: join(root, "work") });
  expect(told["PATH"]?.split(":")[0]).toBe("/session/bin");
  expect(told["PATH"]?.split(":").at(-1)).toBe(join(process.execPath, ".."));
  expect(Object.keys(told).filter((name) => name.startsWith("SESSIOND_"))).toEqual(["SESSIOND_MARK"]);
  expect(told).not.toHaveProperty("LEADS_THERE");
  expect(JSON.stringify(told)).not.toContain("sk-of-the-daemon-itself");
  // What it says about it beside its answers, and how it ended, is without it.
  const log = readFileSync(house.file(driver, "agent-stderr.log"), "utf8");
  expect(log).toContain("I was given …\n");
  expect(driver.state.last_turn?.error?.message).toContain("it said last: I was given …");
  const told2 = JSON.stringify([driver.state.last_turn, await agents(house.house), log]);
  expect(told2).not.toContain("sk-own-key");
});

test("what an agent says beside its answers is kept in the session's directory, for its owner alone, and has a bound", async () => {
  const house = await street.open();
  const driver = await house.driver();
  await turn(driver, "stderr-much 2500\nstderr == ready for nothing");
  await driver.rig.stop();
  const [now, before] = ["agent-stderr.log", "agent-stderr.log.1"].map((name) => statSync(house.file(driver, name)));
  expect([now?.mode, before?.mode].map((mode) => (mode ?? 0) & 0o777)).toEqual([0o600, 0o600]);
  expect((now?.size ?? 0) + (before?.size ?? 0)).toBeLessThan(2 * 1_048_576 + 100_000);
  const text = readFileSync(house.file(driver, "agent-stderr.log"), "utf8");
  expect(text).toContain("line 2499 yyy");
  expect(text).toContain("\n == ready for nothing\n");
});

test("an agent is found by its path, along PATH, and in the usual places of a home; never in the project that it is to work on", async () => {
  const root = await testRoot();
  const workdir = join(root, "work");
  const places = [join(root, "home/.nvm/versions/node/v9.1.0/bin"), join(root, "home/.nvm/versions/node/v22.3.0/bin"), join(workdir, "node_modules/.bin")];
  const script = `#!/usr/bin/env node\nimport(${JSON.stringify(scriptedAgent)});\n`;
  for (const place of places) {
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, "my-agent"), script, { mode: 0o755 });
  }
  const { command: _command, args: _args, ...entry } = agentTable(root);
  configure(root, [
    { ...entry, command: "my-agent" },
    { ...entry, name: "elsewhere", command: "~/bin/other" },
    { ...entry, name: "nowhere", command: "no-such-agent" },
  ]);
  mkdirSync(join(root, "home/bin"), { recursive: true });
  symlinkSync(join(places[0] as string, "my-agent"), join(root, "home/bin/other"));
  const house = await House.open({ root });
  plain.push(house);
  const listed = new Map((await agents(house)).map((agent) => [agent.name, agent]));
  expect(listed.get("scripted")).toMatchObject({ kind: "acp", command: join(places[1] as string, "my-agent"), unavailable: null });
  expect(listed.get("elsewhere")).toMatchObject({ command: join(root, "home/bin/other"), unavailable: null });
  expect(listed.get("nowhere")).toMatchObject({
    command: "no-such-agent",
    unavailable: expect.stringContaining("give its path as command under [[agents]] in config.toml"),
  });
  // A thin PATH is no obstacle, nor that `node` stands on none.
  const started = await house.daemon.call(
    "start_or_get_for_workdir",
    { workdir: house.workdir(), agent: "scripted", env: { PATH: `${join(workdir, "node_modules/.bin")}:relative` } },
    house.owner,
  );
  const driver = await house.driver(started);
  expect(await turn(driver, "environment")).toMatchObject({ stop_reason: "end_turn" });
  expect(said(driver)[0]).toContain(`"PATH":"${places[1]}:`);
});

test("B45 a prompt for an agent whose program is not there is refused, with how to get it; ready entries are offered where they are found", async () => {
  const root = await testRoot();
  const bin = join(root, "home/.local/bin");
  mkdirSync(bin, { recursive: true });
  const house = await House.open({ root });
  plain.push(house);
  const there = (await agents(house)).map(({ name }) => name);
  // This machine may have some.
  expect(there).not.toContain("auggie");
  const started = await house.daemon.call("start_or_get_for_workdir", { workdir: house.workdir(), agent: "auggie" }, house.owner);
  const driver = await house.driver(started);
  const refusal = await driver.prompt("hello").catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "agent_unavailable", message: expect.stringContaining("npm install -g @augmentcode/auggie") });
  expect(driver.state.turns).toBe(0);
  writeFileSync(join(bin, "auggie"), `#!/bin/sh\nexec ${process.execPath} ${scriptedAgent}\n`);
  chmodSync(join(bin, "auggie"), 0o755);
  expect((await agents(house)).find(({ name }) => name === "auggie")).toMatchObject({ kind: "acp", command: join(bin, "auggie"), unavailable: null });
  expect(await turn(driver, "environment")).toMatchObject({ stop_reason: "end_turn" });
  expect(said(driver)[0]).toContain('"AUGMENT_DISABLE_AUTO_UPDATE":"1"');
});

test.each([
  [{ name: "Gemini", command: "x" }, "agents.0.name: small letters, digits, - and _ are expected"],
  [{ name: "openai", command: "x" }, "openai is the built-in agent"],
  [{ name: "a", command: "./x" }, "an absolute path, or a name without a slash, is expected"],
  [{ name: "a", command: "" }, "agents.0.command"],
  [{ name: "a", command: "x", cwd: "work" }, "agents.0.cwd: an absolute path is expected"],
  [{ name: "a", command: "x", env: { SESSIOND_MARK: "x" } }, "agents.0.env: SESSIOND_MARK: SESSIOND_* is sessiond's own"],
  [{ name: "a", command: "x", env: { "A=B": "x" } }, "agents.0.env: A=B: the name of a variable is expected"],
  [{ name: "a", command: "x", shell: true }, 'Unrecognized key: "shell"'],
])("an entry that is not understood starts no daemon, and says where: %j", async (entry, words) => {
  const root = await testRoot();
  configure(root, [entry]);
  expect(() => readConfig(testEnv(root), [])).toThrow(words);
});

test("two entries of one name start no daemon; an entry with a ready one's name stands in its place", async () => {
  const root = await testRoot();
  configure(root, [agentTable(root, {}, "gemini"), agentTable(root, {}, "gemini")]);
  expect(() => readConfig(testEnv(root), [])).toThrow("two agents have the same name");
  configure(root, [agentTable(root, {}, "gemini")]);
  const house = await House.open({ root });
  plain.push(house);
  expect((await agents(house)).filter(({ name }) => name === "gemini")).toMatchObject([{ command: process.execPath }]);
  expect(readdirSync(root)).not.toContain("heard");
});

test("a sandbox is refused: what an agent runs by itself is in none", async () => {
  const house = await street.open();
  const refusal = await house.driver({ sandbox: "no_network" }).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "unsupported", message: expect.stringContaining("the agent scripted has no sandbox") });
});
