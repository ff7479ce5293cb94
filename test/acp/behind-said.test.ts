import { expect, test } from "vitest";
import type { AgentSays } from "../../packages/daemon/src/agents/agent.ts";
import { Said } from "../../packages/daemon/src/agents/acp/said.ts";

/** What an agent has said, between it and its session. */
const text = (words: string) => ({ type: "agent_message_chunk", message_id: "m", content: { type: "text", text: words } }) as const;
const call = { type: "tool_call_update", tool_call_id: "c", status: "completed" } as const;
/** True when it waits still, once all that is under way has come about. */
const waits = async (room: void | Promise<void>): Promise<boolean> => {
  let done = room === undefined;
  void room?.then(() => (done = true));
  await new Promise((resolve) => setImmediate(resolve));
  return !done;
};

test("B7 whoever outruns its session waits: text goes in while there is little of it, all else when it is applied", async () => {
  const said = new Said();
  const taken: AgentSays[] = [];
  expect(said.put(text("a"))).toBeUndefined();
  expect(said.put(text("b"))).toBeUndefined();
  const full = said.put(text("c".repeat(65_536)));
  const after = said.put(call);
  expect([await waits(full), await waits(after)]).toEqual([true, true]);
  const reader = said[Symbol.asyncIterator]();
  taken.push((await reader.next()).value as AgentSays);
  // It was given, and nobody has come back for the next: it may not be applied yet.
  expect([await waits(full), await waits(after)]).toEqual([true, true]);
  taken.push((await reader.next()).value as AgentSays);
  expect(await waits(after)).toBe(true);
  const next = reader.next();
  expect([await waits(full), await waits(after)]).toEqual([false, false]);
  expect(taken).toEqual([[text("a"), text("b"), text("c".repeat(65_536))], call]);
  said.end();
  expect(await next).toEqual({ value: undefined, done: true });
});

test("what was said before the end is given; what nobody takes any more holds nobody up", async () => {
  const said = new Said();
  void said.put(text("a"));
  said.end();
  const all: AgentSays[] = [];
  for await (const one of said) all.push(one);
  expect(all).toEqual([[text("a")]]);
  const dropped = new Said();
  const room = dropped.put(call);
  dropped.drop();
  expect([await waits(room), await waits(dropped.put(call)), await waits(dropped.taken())]).toEqual([false, false, false]);
  for await (const one of dropped) expect(one).toBe("nothing");
});
