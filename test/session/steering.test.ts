import fc from "fast-check";
import { limits, type Frame, wordsOf } from "@sessiond/shared";
import { afterEach, expect, test } from "vitest";
import { AgentDriver, allow, type Judge } from "../support/agent-driver.ts";
import { endRigs, eventsOf, promptId, Rig, seatSecret } from "../support/session-rig.ts";
import type { ScriptedTurn } from "../support/scripted-agent.ts";

afterEach(endRigs);
const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
/** Each prompt's name, and the ends that it has met. */
const endsOf = (frames: readonly Frame[]): Map<string, string[]> => {
  const ends = new Map<string, string[]>();
  for (const { event } of frames) {
    if (event.type === "prompt_accepted") ends.set(event.prompt_id, []);
    if (event.type === "prompt_delivered" || event.type === "prompt_withdrawn" || event.type === "prompt_discarded")
      ends.get(event.prompt_id)?.push(event.type.slice(7));
  }
  return ends;
};
/** What the agent's transcript has of the user. */
const heard = async (turn: ScriptedTurn): Promise<string[]> =>
  (await turn.context.transcript()).entries.flatMap((entry) => (entry.type === "user" ? entry.parts.map((part) => wordsOf([part])) : []));

test("B18 B19 a prompt that steers is accepted without waiting for the agent, and delivered into the running turn when it comes for it", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver("editor");
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  const [one, two] = [promptId(), promptId()];
  const answer = await driver.prompt("the other file", { id: one, whenBusy: "steer" });
  expect(answer).toMatchObject({ became: "steering" });
  expect(answer).not.toHaveProperty("turn_id");
  await driver.prompt("later", { whenBusy: "queue" });
  await driver.prompt("and the third", { id: two, whenBusy: "steer" });
  expect((await rig.info()).queue.map(({ when_busy, held }) => [when_busy, held])).toEqual([
    ["steer", false],
    ["queue", false],
    ["steer", false],
  ]);
  expect(turn.takeSteering()).toBe(2);
  expect(turn.takeSteering()).toBe(0);
  await driver.event("prompt_delivered", 3);
  expect(eventsOf(driver.frames, "prompt_delivered").slice(1)).toEqual([
    { type: "prompt_delivered", prompt_id: one, turn_id: turn.turnId },
    { type: "prompt_delivered", prompt_id: two, turn_id: turn.turnId },
  ]);
  expect(driver.state.messages.map((message) => message.text)).toEqual(["work", "the other file", "and the third"]);
  expect(await heard(turn)).toEqual(["work", "the other file", "and the third"]);
  turn.end();
  expect((await rig.kind.turn()).text).toBe("later");
});

test("B19 a prompt that steers while nothing runs is a turn of its own", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  expect(await driver.prompt("work", { whenBusy: "steer" })).toMatchObject({ became: "started", turn_id: expect.stringMatching(/^trn_/) });
  expect((await rig.kind.turn()).takeSteering()).toBe(0);
});

test("B19 a turn that waits for an answer is steered too; after a restart that is held, and delivered when it is released", async () => {
  const rig = await Rig.start();
  const secret = seatSecret("editor");
  const driver = await rig.driver("editor", { secret });
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  void turn.ask("c1");
  await driver.question();
  const id = promptId();
  const answer = await driver.prompt("not that one", { id, whenBusy: "steer" });
  expect(answer).toMatchObject({ became: "steering" });

  const after = await rig.crash();
  const back = await after.driver("editor", { secret });
  expect(back.state.queue).toMatchObject([{ prompt_id: id, when_busy: "steer", held: true }]);
  // A repeat gets the first answer, and is no second prompt.
  expect(await back.prompt("not that one", { id, whenBusy: "steer" })).toEqual(answer);
  const parked = await after.kind.turn();
  expect([parked.parts, parked.takeSteering()]).toEqual([null, 0]);
  await back.release();
  expect(parked.takeSteering()).toBe(1);
  expect(await heard(parked)).toEqual(["work", "not that one"]);
  expect([...endsOf(await after.journal()).values()]).toEqual([["delivered"], ["delivered"]]);
});

test("B19 an agent that takes no prompt into a turn says so, and what to do; nothing is accepted", async () => {
  const rig = await Rig.start({ script: { steer: false } });
  const driver = await rig.driver();
  expect(await driver.prompt("work", { whenBusy: "steer" })).toMatchObject({ became: "started" });
  await rig.kind.turn();
  const before = await rig.lines();
  await expect(driver.prompt("steer", { whenBusy: "steer" })).rejects.toMatchObject({
    code: "unsupported",
    detail: { reason: expect.stringMatching(/queue.*interrupt/) },
  });
  expect(await rig.lines()).toEqual(before);
});

test("B19 steering that the turn did not come for runs next, each in a turn of its own, before the queue", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("work");
  await driver.prompt("queued");
  await driver.prompt("steer 1", { whenBusy: "steer" });
  await driver.prompt("steer 2", { whenBusy: "steer" });
  (await rig.kind.turn()).end();
  const first = await rig.kind.turn();
  expect(first.text).toBe("steer 1");
  // It was sent to steer another turn.
  expect(first.takeSteering()).toBe(0);
  await driver.prompt("steer 3", { whenBusy: "steer" });
  expect(first.takeSteering()).toBe(1);
  first.end();
  const second = await rig.kind.turn();
  expect([second.text, second.takeSteering()]).toEqual(["steer 2", 0]);
  second.end();
  expect((await rig.kind.turn()).text).toBe("queued");
  expect(await heard(second)).toEqual(["work", "steer 1", "steer 3", "steer 2", "queued"]);
});

test("B19 a turn that is being ended takes in no more: what would steer it runs afterwards", async () => {
  const rig = await Rig.start({ script: { stubborn: true } });
  const driver = await rig.driver();
  const { turn_id = "" } = await driver.prompt("work");
  const turn = await rig.kind.turn();
  await driver.prompt("steer", { whenBusy: "steer" });
  await driver.prompt("instead", { whenBusy: "interrupt" });
  expect(turn.takeSteering()).toBe(0);
  rig.clock.advance(limits.interrupt_wait_ms);
  expect(await driver.event("turn_ended")).toMatchObject({ turn_id, stop_reason: "cancelled" });
  expect(turn.takeSteering()).toBe(0);
  const next = await rig.kind.turn();
  expect(next.text).toBe("instead");
  // One that is over already hears of nothing either.
  next.end();
  await driver.event("turn_ended", 2);
  expect(next.takeSteering()).toBe(0);
  expect((await rig.kind.turn()).text).toBe("steer");
  expect([...endsOf(await rig.journal()).values()]).toEqual([["delivered"], ["delivered"], ["delivered"]]);
});

test("B19 B23 the verb interrupt holds what would steer, and it is not delivered until it is released", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  const { turn_id = "" } = await driver.prompt("work");
  await rig.kind.turn();
  const id = promptId();
  await driver.prompt("steer", { id, whenBusy: "steer" });
  expect((await rig.interrupt(turn_id)).queue).toMatchObject([{ prompt_id: id, held: true }]);
  await driver.prompt("new");
  const next = await rig.kind.turn();
  expect(next.takeSteering()).toBe(0);
  next.end();
  await driver.event("turn_ended", 2);
  expect(rig.kind.turns).toHaveLength(2);
  await driver.release();
  expect((await rig.kind.turn()).text).toBe("steer");
});

test("B18 B19 a prompt that interrupts ends the turn with all that belongs to it, and runs first; nothing is held", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  const { turn_id = "" } = await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  await turn.call("c2");
  await turn.update("c2", "in_progress");
  const answer = turn.ask("c1");
  await driver.question();
  await driver.prompt("queued");
  await driver.prompt("steer", { whenBusy: "steer" });
  const sent = await driver.prompt("instead", { whenBusy: "interrupt" });
  expect(sent).toMatchObject({ became: "queued" });
  expect(await answer).toMatchObject({ allowed: false });
  expect(turn.signal.aborted).toBe(true);
  expect(await driver.event("turn_ended")).toMatchObject({ turn_id, stop_reason: "cancelled" });
  expect(await driver.event("approval_resolved")).toMatchObject({ cause: "interrupt" });
  expect(eventsOf(driver.frames, "tool_call_update").map(({ tool_call_id, status }) => [tool_call_id, status])).toEqual([
    ["c2", "in_progress"],
    ["c1", "failed"],
    ["c2", "failed"],
  ]);
  for (const text of ["instead", "steer", "queued"]) {
    const next = await rig.kind.turn();
    expect(next.text).toBe(text);
    next.end();
  }
  await driver.event("turn_ended", 4);
  expect(eventsOf(await rig.journal(), "queue_held")).toEqual([]);
});

test("B18 the answer to a prompt that interrupts does not wait for the agent to let go", async () => {
  const rig = await Rig.start({ script: { stubborn: true } });
  const driver = await rig.driver();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  expect(await driver.prompt("instead", { whenBusy: "interrupt" })).toMatchObject({ became: "queued" });
  expect((await rig.info()).turn?.turn_id).toBe(turn.turnId);
  rig.clock.advance(limits.interrupt_wait_ms);
  expect((await rig.kind.turn()).text).toBe("instead");
});

test("B19 a prompt that interrupts while nothing runs is started, and leaves held what is held", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  const { turn_id = "" } = await driver.prompt("work");
  await rig.kind.turn();
  await driver.prompt("held");
  await rig.interrupt(turn_id);
  expect(await driver.prompt("now", { whenBusy: "interrupt" })).toMatchObject({ became: "started" });
  const turn = await rig.kind.turn();
  expect(turn.text).toBe("now");
  turn.end();
  await driver.event("turn_ended", 2);
  expect(driver.state.queue.map(({ held }) => held)).toEqual([true]);
});

test("B20 what steers counts in the queue's limits, and full is told with the depth", async () => {
  const rig = await Rig.start({ limits: { queue_prompts_max: 2 } });
  const driver = await rig.driver();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await driver.prompt("one", { whenBusy: "steer" });
  await driver.prompt("two");
  const before = await rig.lines();
  for (const whenBusy of ["steer", "queue", "interrupt"] as const)
    await expect(driver.prompt("three", { whenBusy })).rejects.toMatchObject({ code: "queue_full", detail: { limit: "queue_prompts_max", depth: 2 } });
  expect(await rig.lines()).toEqual(before);
  expect(turn.signal.aborted).toBe(false);
  expect(turn.takeSteering()).toBe(1);
  expect(await driver.prompt("three", { whenBusy: "steer" })).toMatchObject({ became: "steering" });
});

test("B21 a repeat of a prompt that steered gets the same answer, delivered or not", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  const id = promptId();
  const [first, twin] = await Promise.all([driver.prompt("steer", { id, whenBusy: "steer" }), driver.prompt("steer", { id, whenBusy: "steer" })]);
  expect(twin).toEqual(first);
  expect(turn.takeSteering()).toBe(1);
  expect(await driver.prompt("steer", { id, whenBusy: "steer" })).toEqual(first);
  expect(turn.takeSteering()).toBe(0);
  await expect(driver.prompt("other", { id, whenBusy: "steer" })).rejects.toMatchObject({ code: "conflict" });
});

const kinds = ["steer", "queue", "interrupt", "reject"] as const;
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom(...kinds) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("take" as const, "end" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("withdraw" as const, "edit" as const), which: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("interrupt verb" as const, "release" as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("pause" as const), ticks: fc.nat(3) }) },
);

test("B19 B22 every accepted prompt ends exactly once, and of those that wait the right one runs next, whatever the interleaving", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  let checked = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const under: Promise<unknown>[] = [];
      const sent: string[] = [];
      const quietly = (work: Promise<unknown>): number => under.push(work.catch(() => undefined));
      for (const each of steps) {
        const turn = rig.kind.turns.at(-1);
        const known = sent[("which" in each ? each.which : 0) % Math.max(1, sent.length)] ?? promptId();
        if (each.do === "take") turn?.takeSteering();
        else if (each.do === "end") turn?.end();
        else if (each.do === "withdraw") quietly(driver.withdraw(known));
        else if (each.do === "edit") quietly(driver.edit(known, `edited ${known}`));
        else if (each.do === "release") quietly(driver.release());
        else if (each.do === "interrupt verb") quietly(rig.interrupt(turn?.turnId ?? ""));
        else if (each.do === "pause") for (let tick = 0; tick < each.ticks; tick++) await soon();
        else {
          const id = promptId();
          sent.push(id);
          quietly(driver.prompt(id, { id, whenBusy: each.do }));
        }
      }
      await Promise.all(under);
      // Whatever is left is let go and run to its end.
      for (let left = await rig.info(); left.turn !== null || left.queue.length > 0; left = await rig.info()) {
        if (left.queue.some((prompt) => prompt.held)) await driver.release();
        rig.kind.turns.at(-1)?.end();
        await soon();
      }
      const frames = await rig.journal();
      expectOrdered(frames.slice(checked));
      checked = frames.length;
      expect([...endsOf(frames)].filter(([, ends]) => ends.length !== 1)).toEqual([]);
    }),
    { numRuns: 60 },
  );
  expect(rig.daemon.bugs).toEqual([]);
});

/** Each turn is that of the first of those not held: who interrupts before what steers before the queue, in the order in which they were sent. */
function expectOrdered(frames: readonly Frame[]): void {
  const order = ["interrupt", "steer"];
  let waiting: { id: string; rank: number; held: boolean; text: string }[] = [];
  for (const { event } of frames) {
    const rankOf = (whenBusy: string): number => (order.indexOf(whenBusy) + order.length + 1) % (order.length + 1);
    if (event.type === "prompt_accepted")
      waiting.push({ id: event.prompt_id, rank: event.became === "started" ? -1 : rankOf(event.when_busy), held: false, text: wordsOf(event.parts) });
    if (event.type === "queue_held" || event.type === "queue_released") for (const prompt of waiting) prompt.held = event.type === "queue_held";
    if (event.type === "turn_started") {
      const first = waiting.filter(({ held }) => !held).toSorted((a, b) => a.rank - b.rank)[0];
      expect(event.prompt_ids).toEqual([first?.id]);
    }
    if (event.type === "prompt_delivered" || event.type === "prompt_withdrawn") waiting = waiting.filter(({ id }) => id !== event.prompt_id);
  }
  expect(waiting).toEqual([]);
}

/** The texts of the conversation, as the model gets them. */
const talk = (driver: AgentDriver): string[] =>
  driver.transcript.entries.map((entry) =>
    entry.type === "user" ? `user: ${wordsOf(entry.parts)}` : `agent: ${entry.calls.map(({ tool }) => tool).join()}${entry.text}`,
  );

test("B19 the built-in agent takes steering in after the tools that run, and before it asks the model again", async () => {
  const judge: Judge = (question) => {
    driver.steer("say second");
    driver.steer("say third");
    return allow(question);
  };
  const driver = new AgentDriver({ judge });
  const turn = driver.prompt("run echo first then say never");
  expect(await turn.ended).toMatchObject({ stop_reason: "end_turn" });
  expect(turn.results).toMatchObject([{ status: "completed", result: expect.stringContaining("first") }]);
  expect(talk(driver)).toEqual(["user: run echo first then say never", "agent: shell", "user: say second", "user: say third", "agent: third"]);
});

test("B19 what comes while the model gives its last answer is answered in the same turn", async () => {
  const driver = new AgentDriver();
  const turn = driver.prompt("stream 3 every 20");
  await turn.until(({ events }) => events.length > 0);
  driver.steer("say more");
  expect(await turn.ended).toMatchObject({ stop_reason: "end_turn" });
  expect(talk(driver)).toEqual(["user: stream 3 every 20", "agent: 1 2 3 ", "user: say more", "agent: more"]);
});

test("B19 a turn that may ask the model no more takes nothing in: that runs afterwards", async () => {
  const driver = new AgentDriver({ limits: { turn_requests_max: 1 } });
  const turn = driver.prompt("stream 2 every 20");
  await turn.until(({ events }) => events.length > 0);
  driver.steer("say more");
  expect(await turn.ended).toMatchObject({ stop_reason: "end_turn" });
  expect(driver.steering).toHaveLength(1);
});
