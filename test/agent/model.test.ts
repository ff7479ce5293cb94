import type { ServerResponse } from "node:http";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { AgentDriver, allow, refuse } from "../support/agent-driver.ts";
import type { DriverOptions } from "../support/agent-driver.ts";
import type { ModelServer, Script } from "../support/model-server.ts";
import { startModelServer } from "../support/model-server.ts";

const servers: ModelServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function against(script: Script, options: DriverOptions = {}): Promise<{ driver: AgentDriver; server: ModelServer }> {
  const server = await startModelServer(script);
  servers.push(server);
  return { server, driver: new AgentDriver({ baseURL: server.baseURL, apiKey: "sk-verysecret123", named: "m", sleep: async () => {}, ...options }) };
}

test("an answer streams as message chunks, its usage is in the turn's end", async () => {
  const { driver, server } = await against([
    (reply) => (reply.delta({ reasoning_content: "hm" }), reply.text("Hel"), reply.text("lo"), reply.usage(7, 2), reply.finish()),
  ]);
  const turn = driver.prompt("hi");
  expect(await turn.ended).toEqual({ type: "turn_end", stop_reason: "end_turn", usage: { input_tokens: 7, output_tokens: 2 } });
  expect([turn.text(), turn.text("agent_thought_chunk")]).toEqual(["Hello", "hm"]);
  expect(server.requests[0]?.body.messages.map((message) => message.role)).toEqual(["system", "user"]);
  expect(server.requests[0]?.body.messages[0]?.content).toContain(driver.workdir);
  expect(server.requests[0]?.headers.authorization).toBe("Bearer sk-verysecret123");
});

test("B2 a refused key ends the turn with a sentence that does not hold the key", async () => {
  const { driver, server } = await against([(reply) => reply.status(401, {}, { error: { message: "Incorrect API key provided: sk-verysecret123" } })]);
  const end = await driver.prompt("hi").ended;
  expect(end).toMatchObject({ stop_reason: "failed", error: { code: "model_auth" } });
  expect(end.error?.message).toMatch(/refused the key.*OPENAI_API_KEY/);
  expect(JSON.stringify(end)).not.toContain("verysecret");
  expect(server.requests).toHaveLength(1);
});

test("B2 a server that repeats the key in another error does not bring it into the journal", async () => {
  const { driver } = await against([(reply) => reply.status(400, {}, { error: { message: "bad header Bearer sk-verysecret123" } })]);
  expect(JSON.stringify(await driver.prompt("hi").ended)).not.toContain("verysecret");
});

test("429 is tried again after the server's own retry-after, and 5xx too", async () => {
  const waits: number[] = [];
  const script: Script = [(reply) => reply.status(429, { "retry-after": "7" }), (reply) => reply.status(503), (reply) => (reply.text("ok"), reply.finish())];
  const { driver } = await against(script, { sleep: async (ms) => void waits.push(ms) });
  const turn = driver.prompt("hi");
  expect((await turn.ended).stop_reason).toBe("end_turn");
  expect(waits).toEqual([7_000, 1_000]);
});

test("after the last retry the turn fails and says why", async () => {
  const { driver, server } = await against([(reply) => reply.status(429, { "retry-after-ms": "1" })]);
  expect(await driver.prompt("hi").ended).toMatchObject({ stop_reason: "failed", error: { code: "model_rate_limited" } });
  expect(server.requests).toHaveLength(4);
});

test("a stream that is cut in the middle is a failed turn, and what came of it stays", async () => {
  const { driver, server } = await against([
    (reply) => (reply.text("half an"), setImmediate(() => reply.cut())),
    (reply) => (reply.text("whole"), reply.finish()),
  ]);
  const turn = driver.prompt("hi");
  expect(await turn.ended).toMatchObject({ stop_reason: "failed", error: { code: "model_cut" } });
  await driver.prompt("again").ended;
  expect(server.requests[1]?.body.messages.slice(1).map((message) => message.content)).toEqual(["hi", "half an", "again"]);
});

test("a stream that ends without finish_reason is a failed turn", async () => {
  const { driver } = await against([(reply) => (reply.text("half"), reply.end())]);
  expect(await driver.prompt("hi").ended).toMatchObject({ stop_reason: "failed", error: { code: "model_cut" } });
});

test("a stream that falls silent is ended by the watchdog, and the connection with it", async () => {
  let gone: Promise<void> | undefined;
  const { driver } = await against([(reply) => (reply.text("then nothing"), void (gone = reply.gone))], { limits: { model_idle_ms: 80 } });
  expect(await driver.prompt("hi").ended).toMatchObject({ stop_reason: "failed", error: { code: "model_silent" } });
  await gone;
});

test("a server that only comments says nothing, and is ended by the watchdog too", async () => {
  const comment = (reply: { readonly raw: ServerResponse; readonly gone: Promise<void> }): void => {
    reply.raw.writeHead(200, { "content-type": "text/event-stream" });
    const commenting = setInterval(() => reply.raw.write(": still here\n\n"), 10);
    void reply.gone.then(() => clearInterval(commenting));
  };
  const { driver } = await against([comment], { limits: { model_idle_ms: 500 } });
  expect(await driver.prompt("hi").ended).toMatchObject({ stop_reason: "failed", error: { code: "model_silent" } });
});

test("a server that never answers is ended by the watchdog too", async () => {
  const { driver } = await against([() => {}], { limits: { model_idle_ms: 80 } });
  expect(await driver.prompt("hi").ended).toMatchObject({ stop_reason: "failed", error: { code: "model_silent" } });
});

test("an interrupted stream ends as cancelled, not as an answer, and leaves a valid conversation", async () => {
  let gone: Promise<void> | undefined;
  const { driver, server } = await against([(reply) => (reply.text("never fini"), void (gone = reply.gone)), (reply) => (reply.text("ok"), reply.finish())]);
  const turn = driver.prompt("hi");
  await turn.until(({ events }) => events.length > 0);
  turn.interrupt();
  expect((await turn.ended).stop_reason).toBe("cancelled");
  await gone;
  expect((await driver.prompt("on").ended).stop_reason).toBe("end_turn");
  expect(server.requests[1]?.body.messages).toHaveLength(4);
});

test("nobody listening is a failed turn with a sentence", async () => {
  const { driver, server } = await against([]);
  await server.close();
  expect(await driver.prompt("hi").ended).toMatchObject({
    stop_reason: "failed",
    error: { code: "model_unreachable", message: expect.stringContaining("ECONNREFUSED") },
  });
});

test("finish reasons become stop reasons", async () => {
  const { driver } = await against([(reply) => (reply.text("a"), reply.finish("length")), (reply) => (reply.text("b"), reply.finish("content_filter"))]);
  expect((await driver.prompt("1").ended).stop_reason).toBe("max_tokens");
  expect((await driver.prompt("2").ended).stop_reason).toBe("refusal");
});

test("malformed arguments, unknown tools and misfitting input fail, are told to the model, and nothing is asked", async () => {
  const first: Script[number] = (reply) => (
    reply.call(0, "write", '{"path": "x'),
    reply.call(1, "fly", {}),
    reply.call(2, "read", { file: "x" }),
    reply.call(3, "shell", "[1]"),
    reply.finish("tool_calls")
  );
  const { driver, server } = await against([first, (reply) => (reply.text("ok"), reply.finish())]);
  const turn = driver.prompt("hi");
  expect((await turn.ended).stop_reason).toBe("end_turn");
  expect(turn.questions).toEqual([]);
  expect(turn.results.map((update) => update.status)).toEqual(["failed", "failed", "failed", "failed"]);
  const told = server.requests[1]?.body.messages.filter((message) => message.role === "tool").map((message) => message.content ?? "") ?? [];
  expect(told).toEqual([
    expect.stringContaining("not a JSON object"),
    expect.stringContaining("no tool fly"),
    expect.stringContaining("do not fit"),
    expect.stringContaining("not a JSON object"),
  ]);
  expect(server.requests[1]?.body.messages.flatMap((message) => message.tool_calls ?? []).map((call) => call.function.arguments)).toEqual([
    "{}",
    "{}",
    '{"file":"x"}',
    "{}",
  ]);
});

test("empty and repeated tool-call ids get ids of our own, and every call its answer", async () => {
  const first: Script[number] = (reply) => (reply.call(0, "list", {}, ""), reply.call(1, "list", {}, ""), reply.finish("tool_calls"));
  const { driver, server } = await against([first, (reply) => (reply.text("ok"), reply.finish())]);
  await driver.prompt("hi").ended;
  const messages = server.requests[1]?.body.messages ?? [];
  const ids = messages.flatMap((message) => message.tool_calls ?? []).map((call) => call.id);
  expect(new Set(ids).size).toBe(2);
  expect(ids.every((id) => /^call_[0-9A-Za-z]{22}$/.test(id))).toBe(true);
  expect(messages.flatMap((message) => message.tool_call_id ?? [])).toEqual(ids);
});

test("arguments in many pieces, and calls without an index, are put together", async () => {
  const piece = (part: object): object => ({ tool_calls: [part] });
  const first: Script[number] = (reply) => {
    reply.delta(piece({ index: 0, id: "a", function: { name: "read", arguments: "" } }));
    for (const part of ['{"pa', 'th":', '"a.txt"}']) reply.delta(piece({ index: 0, function: { arguments: part } }));
    reply.delta(piece({ index: 0, id: "b", function: { name: "list", arguments: "{}" } }));
    reply.delta(piece({ function: { name: "list", arguments: "" } }));
    reply.finish("stop");
  };
  const { driver } = await against([first, (reply) => (reply.text("ok"), reply.finish())]);
  writeFileSync(join(driver.workdir, "a.txt"), "inhalt");
  const turn = driver.prompt("hi");
  await turn.ended;
  expect(turn.results.map((update) => update.result)).toEqual(["inhalt", "a.txt", "a.txt"]);
});

test("parallel calls: all are announced, then all questions asked in order, then each runs in order as its answer comes", async () => {
  const first: Script[number] = (reply) => (
    reply.call(0, "write", { path: "a", content: "1" }),
    reply.call(1, "read", { path: "a" }),
    reply.call(2, "write", { path: "b", content: "2" }),
    reply.finish("tool_calls")
  );
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  const { driver } = await against([first, (reply) => (reply.text("ok"), reply.finish())], {
    judge: (question) => (question.input["path"] === "a" ? held.then(() => allow(question)) : allow(question)),
  });
  const turn = driver.prompt("hi");
  await turn.until(({ questions }) => questions.length === 2);
  expect(turn.questions.map((question) => question.input["path"])).toEqual(["a", "b"]);
  expect(turn.events.map((event) => event.type)).toEqual(["tool_call", "tool_call", "tool_call"]);
  expect(existsSync(join(driver.workdir, "b"))).toBe(false);
  release();
  await turn.ended;
  expect(turn.results.map((update) => [update.status, update.result])).toEqual([
    ["completed", "Created a (1 bytes)."],
    ["completed", "1"],
    ["completed", "Created b (1 bytes)."],
  ]);
});

test("a refusal is told to the model with its reason, and nothing runs", async () => {
  const { driver, server } = await against(
    [(reply) => (reply.call(0, "shell", { command: "touch ran" }), reply.finish("tool_calls")), (reply) => (reply.text("ok"), reply.finish())],
    { judge: refuse("not on a Friday") },
  );
  const turn = driver.prompt("hi");
  expect((await turn.ended).stop_reason).toBe("end_turn");
  expect(turn.events.filter((event) => event.type === "tool_call_update")).toHaveLength(1);
  expect(server.requests[1]?.body.messages.at(-1)?.content).toContain("not on a Friday");
  expect(existsSync(join(driver.workdir, "ran"))).toBe(false);
});

test("an interrupt while a question is open closes every call and the turn", async () => {
  const first: Script[number] = (reply) => (reply.call(0, "shell", { command: "touch ran" }), reply.call(1, "list", {}), reply.finish("tool_calls"));
  const { driver, server } = await against([first, (reply) => (reply.text("ok"), reply.finish())], { judge: () => new Promise(() => {}) });
  const turn = driver.prompt("hi");
  await turn.until(({ questions }) => questions.length === 1);
  turn.interrupt();
  expect((await turn.ended).stop_reason).toBe("cancelled");
  expect(turn.results.map((update) => update.status)).toEqual(["failed", "failed"]);
  await driver.prompt("on").ended;
  expect(server.requests[1]?.body.messages.filter((message) => message.role === "tool")).toHaveLength(2);
});

test("B37 a parked turn is taken up from its transcript: the same question, one run, and on it goes", async () => {
  const script: Script = [
    (reply) => (reply.call(0, "write", { path: "a", content: "1" }), reply.finish("tool_calls")),
    (reply) => (reply.text("done"), reply.finish()),
  ];
  const { driver: before, server } = await against(script, { judge: () => new Promise(() => {}) });
  const parked = before.prompt("hi");
  await parked.until(({ questions }) => questions.length === 1);
  const { driver: after } = { driver: new AgentDriver({ workdir: before.workdir, transcript: before.transcript, baseURL: server.baseURL, named: "m" }) };
  const turn = after.resume(parked.turnId);
  expect((await turn.ended).stop_reason).toBe("end_turn");
  expect(turn.questions).toEqual(parked.questions);
  expect([turn.results.length, turn.text(), readFileSync(join(before.workdir, "a"), "utf8")]).toEqual([1, "done", "1"]);
});

test("a turn has a bounded number of model calls, and one step a bounded number of questions", async () => {
  const ask: Script[number] = (reply) => ([0, 1, 2].forEach((index) => reply.call(index, "shell", { command: "true" })), reply.finish("tool_calls"));
  const { driver, server } = await against([ask], { limits: { turn_requests_max: 2, approvals_pending_max: 2 } });
  const turn = driver.prompt("hi");
  expect((await turn.ended).stop_reason).toBe("max_turn_requests");
  expect([server.requests.length, turn.questions.length, turn.results.map((update) => update.status)]).toEqual([
    2,
    4,
    ["completed", "completed", "failed", "completed", "completed", "failed"],
  ]);
});

test("arguments beyond the limit are refused and not kept whole", async () => {
  const { driver } = await against(
    [(reply) => (reply.call(0, "write", { path: "a", content: "x".repeat(5_000) }), reply.finish("tool_calls")), (reply) => (reply.text("ok"), reply.finish())],
    { limits: { tool_input_bytes_max: 4_000 } },
  );
  const turn = driver.prompt("hi");
  await turn.ended;
  expect(turn.results.map((update) => update.status)).toEqual(["failed"]);
  expect(JSON.stringify(turn.events).length).toBeLessThan(4_000);
});

test("B45 without key, base URL or model's name the agent says what to set and how to try it", () => {
  const named = (options: DriverOptions): string | null => new AgentDriver(options).agent.unavailable();
  expect(named({ named: "gpt" })).toMatch(/OPENAI_API_KEY.*base_url.*--model practice/);
  expect(named({ named: "", baseURL: "http://127.0.0.1:1/v1" })).toMatch(/--model/);
  expect(named({ named: "gpt", apiKey: "k" })).toBeNull();
  expect(named({ named: "practice" })).toBeNull();
});
