/** A model's server that sends without end, or sends the conversation elsewhere: its turn fails in words, and nobody else waits. */
import type { ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { afterEach, expect, test, vi } from "vitest";
import { limits } from "@sessiond/shared";
import { WantedCalls } from "../../packages/daemon/src/agents/openai/wanted-calls.ts";
import { WholeEvents } from "../../packages/daemon/src/agents/openai/whole-events.ts";
import { AgentDriver, type DriverOptions } from "../support/agent-driver.ts";
import { startModelServer, type ModelServer, type Script } from "../support/model-server.ts";

const { model_event_bytes_max: eventMax, model_error_bytes_max: errorMax } = limits;
const servers: ModelServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function server(script: Script): Promise<ModelServer> {
  const started = await startModelServer(script);
  servers.push(started);
  return started;
}
const driverOf = ({ baseURL }: ModelServer, options: DriverOptions = {}): AgentDriver =>
  new AgentDriver({ baseURL, apiKey: "sk-verysecret123", named: "m", sleep: async () => {}, ...options });

const eventStream = { "content-type": "text/event-stream" };

/** Until the client has gone, or has taken far too much. @returns how many bytes were sent */
async function pour(response: ServerResponse, piece: string, { gone, most = 32 * 1_048_576 }: { gone: Promise<void>; most?: number }): Promise<number> {
  let over = false;
  void gone.then(() => (over = true));
  let sent = 0;
  while (!over && sent < most) {
    sent += piece.length;
    if (!response.write(piece)) await Promise.race([gone, new Promise((resolve) => response.once("drain", resolve))]);
  }
  response.end();
  return sent;
}

test.each([
  ["a line that never ends", "x".repeat(60_000)],
  ["lines that never make an event", ": x\n".repeat(15_000)],
])("B24 %s is cut at its limit, with the connection, and the turn fails in words", async (_, piece) => {
  let sent: Promise<number> | undefined;
  const flood = await server([
    (reply) => {
      reply.raw.writeHead(200, eventStream).write("data: ");
      sent = pour(reply.raw, piece, reply);
    },
  ]);
  const end = await driverOf(flood).prompt("hi").ended;
  expect(end).toMatchObject({ stop_reason: "failed", error: { code: "model_too_much" } });
  expect(end.error?.message).toContain(`sent more than ${eventMax} bytes without the end of an event, so the turn was ended`);
  // What the system's buffers took beside it.
  expect(await sent).toBeLessThan(eventMax + 16 * 1_048_576);
  expect(flood.requests).toHaveLength(1);
});

test("B24 what is packed is counted as it is unpacked", async () => {
  const bomb = gzipSync(Buffer.alloc(64 * 1_048_576, "x"));
  const packed = await server([
    (reply) => void reply.raw.writeHead(200, { ...eventStream, "content-encoding": "gzip" }).end(bomb),
    (reply) => void reply.raw.writeHead(400, { "content-encoding": "gzip" }).end(bomb),
  ]);
  expect((await driverOf(packed).prompt("hi").ended).error?.code).toBe("model_too_much");
  expect((await driverOf(packed).prompt("hi").ended).error).toMatchObject({ code: "model_refused", message: expect.stringMatching(/x{100}/) as string });
});

test("B24 an answer without end, of events that say nothing, is cut at its limit", async () => {
  const flood = await server([
    (reply) => void pour(reply.raw.writeHead(200, eventStream), `data: {"choices":[]}\n\n`.repeat(1_000), { ...reply, most: 2_000_000 }),
  ]);
  const { error } = await driverOf(flood, { limits: { model_answer_bytes_max: 300_000 } }).prompt("hi").ended;
  expect(error).toMatchObject({ code: "model_too_much", message: expect.stringContaining("sent more than 300000 bytes in one answer") as string });
});

test("B24 of what is said instead of an answer the beginning is read, and the connection is cut", async () => {
  let sent: Promise<number> | undefined;
  const flood = await server([(reply) => void (sent = pour(reply.raw.writeHead(400, { "content-type": "text/plain" }), "why? ".repeat(10_000), reply))]);
  const { error } = await driverOf(flood).prompt("hi").ended;
  expect(error).toMatchObject({ code: "model_refused", message: expect.stringContaining("why? why?") as string });
  expect(error?.message.length).toBeLessThan(1_000);
  expect(await sent).toBeLessThan(errorMax + 16 * 1_048_576);
});

test("B24 an event of exactly the limit goes through, one byte more does not", async () => {
  const event = (bytes: number): string => {
    const empty = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: "" }, finish_reason: "stop" }] })}\n\n`;
    return empty.replace(`""`, `"${"x".repeat(bytes - empty.length)}"`);
  };
  const exact = await server([1, 0].map((less) => (reply) => void reply.raw.writeHead(200, eventStream).end(event(eventMax + 1 - less))));
  const turn = driverOf(exact).prompt("hi");
  expect((await turn.ended).stop_reason).toBe("end_turn");
  expect(turn.text().length).toBeGreaterThan(eventMax - 200);
  expect((await driverOf(exact).prompt("hi").ended).error?.code).toBe("model_too_much");
});

test("B24 however an event is cut up, the client's decoder sees it once, whole, as soon as its end has come", async () => {
  for (const end of ["\n\n", "\r\r", "\r\n\r\n"]) {
    const events = [`data: 1${end}`, `: ${"long".repeat(1_500)}${end}`, `event: a${end.slice(0, end.length / 2)}data: 2${end}`, "data: cut off"];
    const whole = new WholeEvents(limits);
    const given = [...Buffer.from(events.join(""))].map((byte) => whole.take(Uint8Array.of(byte)));
    let at = 0;
    for (const event of events.slice(0, -1)) {
      at += event.length;
      expect(Buffer.from(given[at - 1] ?? []).toString()).toBe(event);
    }
    expect(given.filter((each) => each !== null)).toHaveLength(events.length - 1);
    expect([Buffer.from(whole.end()).toString(), whole.end().length]).toEqual([events.at(-1), 0]);
  }
});

test("B24 tool calls without number are no answer, and pieces of one cost no more the longer it grows", async () => {
  const { model_calls_max: most } = limits;
  const many = await server([
    (reply) => (reply.delta({ tool_calls: Array.from({ length: most + 1 }, (_, index) => ({ index })) }), reply.finish("tool_calls")),
  ]);
  const { error } = await driverOf(many).prompt("hi").ended;
  expect(error).toMatchObject({ code: "model_too_much", message: expect.stringContaining(`more than ${most} tool calls in one answer`) as string });
  const counted = vi.spyOn(Buffer, "byteLength");
  const calls = new WantedCalls(limits);
  for (let piece = 0; piece < limits.tool_input_bytes_max / 1_024; piece++) calls.add({ index: 0, function: { arguments: "é".repeat(512) } });
  const looked = counted.mock.calls.reduce((sum, [text]) => sum + String(text).length, 0);
  counted.mockRestore();
  expect(looked).toBeLessThanOrEqual(limits.tool_input_bytes_max / 2);
  expect(calls.all().map(({ text, tooLarge }) => [text.length, tooLarge])).toEqual([[limits.tool_input_bytes_max / 2, false]]);
  calls.add({ index: 0, function: { arguments: "x" } });
  expect(calls.all()[0]?.tooLarge).toBe(true);
});

test.each([301, 302, 303, 307, 308])(
  "B2 a model that moved (%s) gets no second request: neither key nor conversation goes where its server says",
  async (status) => {
    const other = await server([(reply) => (reply.text("caught"), reply.finish())]);
    const moved = await server([(reply) => reply.status(status, { location: `${other.baseURL}/chat/completions?key=sk-verysecret123` })]);
    const { error } = await driverOf(moved).prompt("hi").ended;
    expect(error?.code).toBe("model_moved");
    expect(error?.message).toContain(`sent to ${other.baseURL}/chat/completions instead (HTTP ${status}). It was not`);
    expect(error?.message).not.toContain("verysecret");
    expect([moved.requests.length, other.requests.length]).toEqual([1, 0]);
  },
);

test("B38 what a server counts wrongly is counted as nothing, or as the most that one answer can use", async () => {
  for (const [said, counted] of [
    ["1e308", limits.model_usage_tokens_max],
    ["-5", 0],
    ["null", 0],
    ['"many"', 0],
    ["2.9", 2],
  ] as const) {
    const wrong = await server([
      (reply) => {
        reply.raw.writeHead(200, eventStream).write(`data: {"choices":[],"usage":{"prompt_tokens":${said},"completion_tokens":1}}\n\n`);
        reply.finish();
      },
    ]);
    expect(await driverOf(wrong).prompt("hi").ended).toMatchObject({ stop_reason: "end_turn", usage: { input_tokens: counted, output_tokens: 1 } });
  }
});

test("B38 arguments nested deeper than the limit, and a tool's name that is none, are refused in words, and the turn goes on", async () => {
  const { tool_input_depth_max: deepest } = limits;
  const nested = (depth: number): string => `{"path":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;
  const deep = await server([
    (reply) => {
      reply.call(0, "read", nested(50_000));
      reply.call(1, "read", nested(deepest + 1));
      reply.call(2, "read", nested(deepest));
      reply.delta({ tool_calls: [{ index: 3, id: "odd", function: { name: 5, arguments: "{}" } }] });
      reply.finish("tool_calls");
    },
    (reply) => (reply.text("well"), reply.finish()),
  ]);
  const turn = driverOf(deep).prompt("hi");
  expect(await turn.ended).toMatchObject({ stop_reason: "end_turn" });
  const told = deep.requests[1]?.body.messages.filter(({ role }) => role === "tool").map(({ content }) => content ?? "") ?? [];
  expect(told).toHaveLength(4);
  for (const refused of told.slice(0, 2)) expect(refused).toContain(`nested deeper than ${deepest}, so nothing was run. They began: {"path":[[[`);
  expect(told[2]).not.toContain("nested deeper");
});
