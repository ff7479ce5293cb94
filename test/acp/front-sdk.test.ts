import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import * as acp from "@agentclientprotocol/sdk";
import { afterEach, expect, test } from "vitest";
import { commandFile, words } from "../support/acp-client.ts";
import { FrontRig } from "../support/acp-front-rig.ts";

const rig = new FrontRig();
afterEach(() => rig.end());

test("the protocol's own client, in its own words: new, prompt, permission, cancel, list, load, close", async () => {
  const home = rig.home();
  const child = spawn(process.execPath, [commandFile, "acp"], { env: home.env, stdio: ["pipe", "pipe", "inherit"] });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const stream = acp.ndJsonStream(Writable.toWeb(child.stdin), Readable.toWeb(child.stdout) as ReadableStream<Uint8Array>);
  const updates: acp.SessionUpdate[] = [];
  let answerWith = "allow_once";
  let asked = 0;
  const client = acp
    .client()
    .onRequest("session/request_permission", ({ params }) => {
      asked += 1;
      const option = params.options.find(({ kind }) => kind === answerWith);
      return { outcome: option === undefined ? { outcome: "cancelled" } : { outcome: "selected", optionId: option.optionId } };
    })
    .onNotification("session/update", ({ params }) => void updates.push(params.update));
  await client.connectWith(stream, async (agent) => {
    const { agentCapabilities } = await agent.request("initialize", { protocolVersion: acp.PROTOCOL_VERSION, clientCapabilities: {} });
    expect(agentCapabilities?.sessionCapabilities).toMatchObject({ list: {}, resume: {}, close: {} });
    const { sessionId } = await agent.request("session/new", { cwd: home.workdir, mcpServers: [] });
    const prompt = (text: string) => agent.request("session/prompt", { sessionId, prompt: [{ type: "text", text }] });
    expect(await prompt("write notes.txt: hello")).toEqual({ stopReason: "end_turn" });
    expect(readFileSync(join(home.workdir, "notes.txt"), "utf8")).toBe("hello");
    expect(asked).toBe(1);

    answerWith = "none";
    const cancelled = prompt("run sleep 600");
    while (asked < 2) await new Promise((resolve) => setImmediate(resolve));
    await agent.notify("session/cancel", { sessionId });
    expect(await cancelled).toEqual({ stopReason: "cancelled" });

    expect((await agent.request("session/list", {})).sessions).toMatchObject([{ sessionId, cwd: home.workdir }]);
    await agent.request("session/close", { sessionId });
    const before = updates.length;
    await agent.request("session/load", { sessionId, cwd: home.workdir, mcpServers: [] });
    expect(updates.slice(before).map(({ sessionUpdate }) => sessionUpdate)).toContain("user_message_chunk");
    await expect(agent.request("session/prompt", { sessionId: "ses_unknown", prompt: [] })).rejects.toMatchObject({ code: -32602 });
  });
  child.stdin.end();
  expect(await exited).toBe(0);
});

test("nonsense on stdin is answered or passed over, and the editor is served all the same", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const { sessionId } = await editor.must("session/new", { cwd: home.workdir, mcpServers: [] });
  const count = editor.came.length;
  for (const line of [
    "",
    "no json",
    "[]",
    '{"jsonrpc":"2.0"}',
    '{"jsonrpc":"2.0","id":{},"method":1}',
    '{"jsonrpc":"2.0","method":"session/cancel"}',
    "null",
    "\u0000",
  ])
    editor.child.stdin?.write(`${line}\n`);
  editor.tell("session/cancel", { sessionId: 7 });
  editor.tell("session/unheard_of", {});
  editor.say({ id: 77_777, result: {} });
  for (const params of [null, [], 1, { sessionId }, { sessionId, prompt: "text" }, { sessionId, prompt: [null, 7, { type: "new" }] }])
    expect((await editor.ask("session/prompt", params as object)).error?.code).toBe(-32602);
  expect(await editor.must("session/prompt", words(sessionId, "hello"))).toEqual({ stopReason: "end_turn" });
  // What says nothing of an id is told of, and not held against the schema of an answer.
  editor.came.splice(count, editor.came.length, ...editor.came.slice(count).filter(({ id }) => id !== null));
});
