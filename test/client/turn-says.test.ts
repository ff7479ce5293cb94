import { limits, SessiondError, type ServedSaid, type VerbInput, type VerbOutput } from "@sessiond/shared";
import { expect, test } from "vitest";
import type { Connection } from "../../packages/client/src/connection.ts";
import { TurnSays } from "../../packages/client/src/turn-says.ts";

/** How what an agent says becomes calls: in order, one at a time, together where they can be, and each under its number. */
type Said = VerbInput<"agent_event">;

class Calls {
  readonly made: Said[] = [];
  #open: { answer: (output: VerbOutput<"agent_event">) => void; refuse: (error: SessiondError) => void } | null = null;
  #waiting: (() => void)[] = [];

  readonly connection = {
    call: (_verb: string, said: Said) =>
      new Promise((answer, refuse) => {
        expect(this.#open).toBeNull();
        this.#open = { answer, refuse };
        this.made.push(said);
        for (const wake of this.#waiting.splice(0)) wake();
      }),
  } as unknown as Connection;

  async next(): Promise<Said> {
    while (this.#open === null) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.made.at(-1) as Said;
  }

  async settle(steered: VerbOutput<"agent_event">["steered"] | SessiondError = []): Promise<Said> {
    const said = await this.next();
    const open = this.#open;
    this.#open = null;
    if (steered instanceof SessiondError) open?.refuse(steered);
    else open?.answer({ steered });
    return said;
  }
}

const begin = () => {
  const calls = new Calls();
  const parts = { calls: calls.connection, auth: {}, servingId: "srv_x", turnId: "trn_x", lost: new AbortController().signal };
  return { calls, says: new TurnSays(parts) };
};
const text = (words: string): ServedSaid => ({ type: "agent_message_chunk", message_id: "m", content: { type: "text", text: words } });
const words = ({ events }: Said): string[] => events.map((event) => (event.type === "agent_message_chunk" ? event.content.text : event.type));

test("what is said while a call is under way goes together in the next, behind it", async () => {
  const { calls, says } = begin();
  await says.say(text("a"));
  await calls.next();
  for (const each of ["b", "c", "d"]) await says.say(text(each));
  await calls.settle();
  await calls.settle();
  await says.taken();
  expect(calls.made.map((said) => [said.number, words(said)])).toEqual([
    [1, ["a"]],
    [2, ["b", "c", "d"]],
  ]);
});

test("who says more than a call holds waits; so does who begins a tool, until that is taken", async () => {
  const { calls, says } = begin();
  const long = "x".repeat(limits.request_bytes_max / 4);
  const order: string[] = [];
  const saying = says.say(text(long)).then(() => order.push("said"));
  await calls.next();
  order.push("answered");
  await calls.settle();
  await saying;
  const tool = says.say({ type: "tool_call_update", tool_call_id: "c", status: "in_progress" }).then(() => order.push("begun"));
  await calls.next();
  order.push("answered");
  await calls.settle();
  await tool;
  expect(order).toEqual(["answered", "said", "answered", "begun"]);
  const many = Promise.all(Array.from({ length: 2 * limits.agent_events_per_call_max }, (_, at) => says.say(text(`${at}`))));
  for (let call = 0; call < 2; call++) await calls.settle();
  await many;
  expect(calls.made.slice(2).map(({ events }) => events.length)).toEqual([limits.agent_events_per_call_max, limits.agent_events_per_call_max]);
});

test("prompts that steer are asked for behind what was said before", async () => {
  const { calls, says } = begin();
  void says.say(text("a"));
  const taken = says.takeSteering();
  const prompt = [{ type: "text", text: "left" }] as [{ type: "text"; text: string }];
  await calls.settle([prompt]);
  expect(await taken).toEqual([prompt]);
  expect(calls.made).toMatchObject([{ number: 1, events: [text("a")], take_steering: true }]);
});

test("a refusal is whoever speaks next's, and the turn can still be ended, under the number that was not taken", async () => {
  const { calls, says } = begin();
  await says.say(text("a"));
  await calls.settle(new SessiondError("bad_request", { reason: "no" }));
  await expect(says.taken()).rejects.toMatchObject({ code: "bad_request" });
  await expect(says.say(text("b"))).rejects.toMatchObject({ code: "bad_request" });
  const ended = says.end({ type: "turn_end", stop_reason: "failed" });
  await calls.settle();
  await ended;
  expect(calls.made.map((said) => [said.number, words(said)])).toEqual([
    [1, ["a"]],
    [1, ["turn_end"]],
  ]);
  // Where nobody knows the turn any more, there is nobody to tell.
  const again = says.end({ type: "turn_end", stop_reason: "failed" });
  await calls.settle(new SessiondError("not_found", { what: "turn" }));
  await again;
});

test("B21 the end of a turn whose last call was given up goes under the next number, where that call was taken all the same", async () => {
  const { calls, says } = begin();
  await says.say(text("a"));
  await calls.settle();
  await says.say(text("b"));
  await calls.settle(new SessiondError("timeout"));
  const ended = says.end({ type: "turn_end", stop_reason: "failed" });
  await calls.settle(new SessiondError("conflict", { reason: "the next call of this turn has the number 3", next_number: 3 }));
  await calls.settle();
  await ended;
  expect(calls.made.map((said) => [said.number, words(said)])).toEqual([
    [1, ["a"]],
    [2, ["b"]],
    [2, ["turn_end"]],
    [3, ["turn_end"]],
  ]);
  // Not so for a number that was never near.
  const again = says.end({ type: "turn_end", stop_reason: "failed" });
  await calls.settle(new SessiondError("conflict", { reason: "the next call of this turn has the number 9", next_number: 9 }));
  await again;
  expect(calls.made).toHaveLength(5);
});
