import { afterEach, expect, test } from "vitest";
import { AcpClient, words, type ClientOptions } from "../support/acp-client.ts";
import { DaemonHome } from "../support/daemon-home.ts";

const homes: DaemonHome[] = [];
const clients: AcpClient[] = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.kill()));
  await Promise.all(homes.splice(0).map((home) => home.close()));
});

function home(): DaemonHome {
  const made = new DaemonHome();
  homes.push(made);
  return made;
}

function client(at: DaemonHome, options: Partial<ClientOptions> = {}): AcpClient {
  const made = new AcpClient({ env: at.env, ...options });
  clients.push(made);
  return made;
}

test("a prompt is answered when its turn has ended, and all of its updates were told before", async () => {
  const at = home();
  const editor = client(at);
  const { agentCapabilities, protocolVersion, authMethods } = await editor.initialize();
  expect(protocolVersion).toBe(1);
  expect(authMethods).toEqual([]);
  expect(agentCapabilities.loadSession).toBe(true);
  const { sessionId } = await editor.must("session/new", { cwd: at.workdir, mcpServers: [] });
  expect(sessionId).toMatch(/^ses_/);
  const answer = await editor.must("session/prompt", words(sessionId, "hello"));
  expect(answer).toEqual({ stopReason: "end_turn" });
  expect(editor.text()).not.toBe("");
  const count = editor.came.length;
  expect(await editor.end()).toBe(0);
  expect(editor.came.slice(count)).toEqual([]);
  expect(editor.stderr).toBe("");
  expect(editor.noise).toEqual([]);
});

test("a tool that wants permission is asked for in the editor, and runs when it is allowed", async () => {
  const at = home();
  const editor = client(at, { permit: () => "allow_once" });
  await editor.initialize();
  const { sessionId } = await editor.must("session/new", { cwd: at.workdir, mcpServers: [] });
  expect(await editor.must("session/prompt", words(sessionId, "write notes.txt: hello"))).toEqual({ stopReason: "end_turn" });
  expect(editor.questions()).toHaveLength(1);
});

test("session/cancel ends the turn, and withdraws its question", async () => {
  const at = home();
  const editor = client(at);
  await editor.initialize();
  const { sessionId } = await editor.must("session/new", { cwd: at.workdir, mcpServers: [] });
  const answer = editor.must("session/prompt", words(sessionId, "write notes.txt: hello"));
  await editor.until("a question", (came) => (came.method === "session/request_permission" ? came : undefined));
  editor.tell("session/cancel", { sessionId });
  expect(await answer).toEqual({ stopReason: "cancelled" });
});
