import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { AgentDriver } from "../support/agent-driver.ts";
import { startModelServer, type ModelServer, type Script } from "../support/model-server.ts";

/** The tool calls of one answer: where they are about, and how many there may be. */
const servers: ModelServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});
async function against(script: Script): Promise<{ driver: AgentDriver; server: ModelServer }> {
  const server = await startModelServer(script);
  servers.push(server);
  return { server, driver: new AgentDriver({ baseURL: server.baseURL, apiKey: "k", named: "m" }) };
}

test("a call of read, write or edit says which file it concerns, as the model names it; others, and paths that name no file, say none", async () => {
  const calls: [string, object][] = [
    ["read", { path: "./a.txt" }],
    ["write", { path: "b/c.txt", content: "x" }],
    ["edit", { path: "b/c.txt", old_text: "x", new_text: "y" }],
    ["list", { path: "b" }],
    ["shell", { command: "true" }],
    ["read", { wrong: 1 }],
    ["read", { path: "x".repeat(limits.workdir_bytes_max + 1) }],
    ["nonesuch", { path: "a" }],
  ];
  const { driver } = await against([
    (reply) => (calls.forEach(([name, input], index) => reply.call(index, name, input)), reply.finish("tool_calls")),
    (reply) => (reply.text("done"), reply.finish()),
  ]);
  const turn = driver.prompt("go");
  expect((await turn.ended).stop_reason).toBe("end_turn");
  expect(turn.events.flatMap((event) => (event.type === "tool_call" ? [event.locations] : []))).toEqual([
    [{ path: "./a.txt" }],
    [{ path: "b/c.txt" }],
    [{ path: "b/c.txt" }],
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});

test("of more calls in one answer than allowed the first are run, one says that the rest is not, and the model is told", async () => {
  const most = limits.calls_open_max;
  const { driver, server } = await against([
    (reply) => {
      for (let index = 0; index < most + 5; index += 1) reply.call(index, "list", {});
      reply.finish("tool_calls");
    },
    (reply) => (reply.text("done"), reply.finish()),
  ]);
  const turn = driver.prompt("go");
  expect((await turn.ended).stop_reason).toBe("end_turn");
  expect(turn.events.filter((event) => event.type === "tool_call")).toHaveLength(most + 1);
  expect(turn.results.filter(({ status }) => status === "completed")).toHaveLength(most);
  const [refused, ...others] = turn.results.filter(({ status }) => status === "failed");
  expect([refused?.result, others]).toEqual([
    `More than ${most} calls in one answer: the first ${most} are run; this one and 4 after it are not. Make fewer calls at a time.`,
    [],
  ]);
  const told = server.requests[1]?.body.messages ?? [];
  expect(told.find((message) => message.tool_calls !== undefined)?.tool_calls).toHaveLength(most + 1);
  expect(told.filter((message) => message.role === "tool" && message.content === refused?.result)).toHaveLength(1);
});

test("exactly as many calls as allowed are all run", async () => {
  const { driver } = await against([
    (reply) => {
      for (let index = 0; index < limits.calls_open_max; index += 1) reply.call(index, "list", {});
      reply.finish("tool_calls");
    },
    (reply) => (reply.text("done"), reply.finish()),
  ]);
  const turn = driver.prompt("go");
  await turn.ended;
  expect(turn.results.map(({ status }) => status)).toEqual(Array.from({ length: limits.calls_open_max }, () => "completed"));
});
