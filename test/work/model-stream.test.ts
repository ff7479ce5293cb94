import { expect, test, vi } from "vitest";
import { limits, type SessionEvent } from "@sessiond/shared";
import { AnswerEvents } from "../../packages/daemon/src/agents/openai/answer-events.ts";
import { ChatModel, type ModelDelta, type ModelOutcome } from "../../packages/daemon/src/agents/openai/model.ts";
import { systemClock } from "../../packages/daemon/src/clock.ts";
import { RunningTurn } from "../../packages/daemon/src/session/turn.ts";

/** What a model's server sends at once costs steps once: of the streams that it goes through, of the agent, of the turn. */
const encoder = new TextEncoder();
const event = (rest: object): string => `data: ${JSON.stringify({ choices: [{ index: 0, ...rest }] })}\n\n`;
const says = (content: string): string => event({ delta: { content } });
const numbers = (count: number): string[] => Array.from({ length: count }, (_, n) => `${n} `);
const finish = `${event({ delta: {}, finish_reason: "stop" })}data: [DONE]\n\n`;

interface Heard {
  readonly groups: (readonly ModelDelta[])[];
  readonly outcome: ModelOutcome;
}

/** @param parts  what the network brings, one by one: the next when the one before was heard of */
async function heard(parts: readonly string[]): Promise<Heard> {
  const left = [...parts];
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const part = left.shift();
      if (part === undefined) controller.close();
      else controller.enqueue(encoder.encode(part));
    },
  });
  const headers = { "content-type": "text/event-stream" };
  const model = new ChatModel({
    apiKey: "k",
    baseURL: "http://model.invalid/v1",
    limits,
    fetch: () => Promise.resolve(new Response(body, { headers })),
  });
  const answer = model.ask({ model: "m", messages: [], tools: [] }, new AbortController().signal);
  const groups: (readonly ModelDelta[])[] = [];
  for (;;) {
    const next = await answer.next();
    if (next.done === true) return { groups, outcome: next.value };
    groups.push(next.value);
  }
}

const textOf = ({ groups }: Heard): string =>
  groups
    .flat()
    .map(({ text }) => text)
    .join("");

test("B30 chunks that came together go on together, each of them a chunk still: as many steps as the network took, whatever is in them", async () => {
  for (const chunks of [1, 10, 1_000]) {
    const texts = numbers(chunks);
    const read = vi.spyOn(ReadableStreamDefaultReader.prototype, "read");
    const all = await heard([texts.map(says).join(""), texts.map(says).join(""), finish]);
    const reads = read.mock.calls.length;
    read.mockRestore();
    expect(all.outcome).toMatchObject({ type: "answered", reason: "stop" });
    expect(
      all.groups.map((group) => group.map(({ text }) => text)),
      `${chunks} chunks`,
    ).toEqual([texts, texts]);
    expect(reads, `${chunks} chunks`).toBeLessThanOrEqual(4);
  }
});

test("B24 an event that is cut by the network goes with those behind it; ones of other servers' line ends, of several lines, and comments are read alike", async () => {
  const texts = numbers(100);
  const whole = texts.map(says).join("");
  const cut = Math.trunc(whole.length / 2);
  const halves = await heard([whole.slice(0, cut), whole.slice(cut), finish]);
  expect(halves.groups).toHaveLength(2);
  expect(textOf(halves)).toBe(texts.join(""));
  const odd = ["\r\n", "\r"].map((end) => (says("a") + says("b") + finish).replaceAll("\n", end));
  for (const text of odd) expect(textOf(await heard([text]))).toBe("ab");
  expect(textOf(await heard([`: hello\n\nevent: x\nid: 1\n\n${says("é").replace(`,"delta"`, `,\ndata: "delta"`)}${finish}`]))).toBe("é");
});

test("B24 comments are no group: who waits for the model waits on, and is told at the end that there was nothing", async () => {
  expect(await new AnswerEvents(new Response(": still here\n\n: still here\n\n"), limits).next()).toBeNull();
  expect(await new AnswerEvents(new Response(": still here\n\ndata: 1\n\n"), limits).next()).toEqual(["1"]);
});

test("B24 of what comes together with an error, or with what is no JSON, is kept what came before it; behind the end nothing is heard", async () => {
  for (const wrong of [`data: {"error":{"message":"no more","code":"overloaded"}}\n\n`, "data: {\n\n"]) {
    const broken = await heard([says("kept ") + wrong + says("lost")]);
    expect(textOf(broken)).toBe("kept ");
    expect(broken.outcome).toMatchObject({ type: "failed", error: { code: "model_cut" } });
  }
  const over = await heard([says("all") + finish + says("more"), says("more")]);
  expect([textOf(over), over.outcome.type]).toEqual(["all", "answered"]);
});

test("B24 in a group, too, an agent that outruns the disk waits behind the chunk that is too much, and an interrupt is heard before the next", async () => {
  const chunks = numbers(10).map((text) => ({ type: "agent_message_chunk" as const, message_id: "m", content: { type: "text" as const, text } }));
  async function* agent() {
    yield chunks;
    yield { type: "turn_end" as const, stop_reason: "end_turn" as const };
  }
  const applied: SessionEvent[] = [];
  let drain = (): void => undefined;
  let steps = 0;
  const host = {
    clock: systemClock,
    interrupt_wait_ms: 1,
    apply: (event: SessionEvent) => applied.push(event),
    begun: () => Promise.resolve(),
    durable: () => Promise.resolve(),
    drained: () => (applied.length === 4 || applied.length === 8 ? (steps++, new Promise<void>((resolve) => (drain = resolve))) : null),
    ask: () => Promise.reject(new Error("not asked")),
    withdraw: () => undefined,
    steer: () => 0,
    kill: () => Promise.resolve(),
    report: () => undefined,
  };
  const turn = new RunningTurn(host, `trn_${"x".repeat(22)}`, agent);
  for (const most of [4, 8]) {
    await vi.waitFor(() => expect(applied).toHaveLength(most));
    if (most === 4) drain();
  }
  turn.abort("interrupt");
  drain();
  expect(await turn.done).toEqual({ stop_reason: "cancelled" });
  expect([applied.length, steps]).toEqual([8, 2]);
});
