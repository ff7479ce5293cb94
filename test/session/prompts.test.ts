import { wordsOf } from "@sessiond/shared";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { endRigs, eventsOf, promptId, Rig } from "../support/session-rig.ts";

afterEach(endRigs);
const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("B18 send_prompt answers started, with a turn, before the agent says anything; while it runs, queued", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  const first = await driver.prompt("one");
  expect(first).toMatchObject({ became: "started", turn_id: expect.stringMatching(/^trn_/) });
  const second = await driver.prompt("two");
  expect(second).toMatchObject({ became: "queued" });
  expect(second).not.toHaveProperty("turn_id");
  const [accepted] = (await rig.journal()).filter((frame) => frame.event.type === "prompt_accepted");
  expect(first.seq).toBe(accepted?.seq);
  await expect(driver.prompt("three", { whenBusy: "reject" })).rejects.toMatchObject({ code: "turn_in_progress", detail: { turn_id: first.turn_id } });
  const turn = await rig.kind.turn();
  expect([turn.text, turn.turnId]).toEqual(["one", first.turn_id]);
  expect(rig.kind.turns).toHaveLength(1);
  expect(eventsOf(await rig.journal(), "prompt_accepted")).toHaveLength(2);
});

test("B18 send_prompt answers only when the sync that covers its seq has returned", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver();
  const sync = disk.hold("sync", "/journal");
  let answered = false;
  const reply = driver.prompt("work").then((answer) => {
    answered = true;
    return answer;
  });
  await sync.reached;
  const before = disk.counts.sync;
  // Shown, since it is written; not acknowledged, since it is not on disk.
  await driver.event("turn_started");
  expect(answered).toBe(false);
  sync.release();
  expect(await reply).toMatchObject({ became: "started" });
  expect(disk.counts.sync).toBe(before);
});

test("B21 a repeat of the same id and content gets the same answer, and runs once, also after a restart", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver("editor", { secret: "editor".padEnd(24, "_") });
  const id = promptId();
  const first = await driver.prompt("work", { id });
  expect(await driver.prompt("work", { id })).toEqual(first);
  (await rig.kind.turn()).end();
  await driver.event("turn_ended");
  expect(await driver.prompt("work", { id })).toEqual(first);
  const after = await rig.crash();
  const back = await after.driver("editor", { secret: "editor".padEnd(24, "_") });
  expect(await back.prompt("work", { id })).toEqual(first);
  expect(rig.kind.turns).toHaveLength(1);
  expect(after.kind.turns).toHaveLength(0);
  expect(eventsOf(await after.journal(), "prompt_accepted")).toHaveLength(1);
});

test("B21 two calls of the same id at once are one prompt", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  const id = promptId();
  const answers = await Promise.all([driver.prompt("work", { id }), driver.prompt("work", { id }), driver.prompt("work", { id })]);
  expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  expect(eventsOf(await rig.journal(), "prompt_accepted")).toHaveLength(1);
});

test("B21 the same id with other content is a conflict, and nothing runs", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  const id = promptId();
  await driver.prompt("work", { id });
  (await rig.kind.turn()).end();
  await driver.event("turn_ended");
  const before = await rig.lines();
  await expect(driver.prompt("other work", { id })).rejects.toMatchObject({ code: "conflict" });
  expect(await rig.lines()).toEqual(before);
  expect(rig.kind.turns).toHaveLength(1);
});

test("B21 the last 256 ids are remembered, and one that still waits in the queue for as long as it waits", async () => {
  const rig = await Rig.start({ script: { auto: (turn) => (turn.text === "wait" ? undefined : turn.end()) } });
  const driver = await rig.driver();
  const { turn_id = "" } = await driver.prompt("wait");
  const [held, oldest] = [promptId(), promptId()];
  await driver.prompt("held", { id: held });
  await rig.interrupt(turn_id);
  const first = await driver.prompt("first", { id: oldest });
  await driver.event("turn_ended", 2);
  for (let count = 0; count < 253; count++) await driver.prompt(`filler ${count}`);
  expect(await driver.prompt("first", { id: oldest })).toEqual(first);
  for (let count = 0; count < 5; count++) await driver.prompt(`more ${count}`);
  // While a turn runs, another prompt would only be queued beside it.
  await expect.poll(async () => (await rig.info()).status).toBe("idle");
  expect(await driver.prompt("held", { id: held })).toMatchObject({ became: "queued" });
  expect((await rig.info()).queue.map((prompt) => prompt.prompt_id)).toEqual([held]);
});

test("B22 an interrupt right after the acceptance is honoured: the agent never begins, or is told at once", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  const { turn_id = "" } = await driver.prompt("work");
  expect(await rig.interrupt(turn_id)).toMatchObject({ interrupted: true });
  expect(await driver.event("turn_ended")).toMatchObject({ turn_id, stop_reason: "cancelled" });
  expect(rig.kind.turns.every((turn) => turn.signal.aborted)).toBe(true);
  expect(await rig.interrupt(turn_id)).toMatchObject({ interrupted: false });
});

test("B22 prompts that arrive around the end of a turn are neither lost nor run twice, whatever the interleaving", async () => {
  const rig = await Rig.start({ script: {} });
  const driver = await rig.driver();
  let ended = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ end: fc.nat({ max: 6 }), send: fc.array(fc.nat({ max: 6 }), { minLength: 1, maxLength: 3 }) }), { maxLength: 4 }),
      async (rounds) => {
        const texts: string[] = [`start ${promptId()}`];
        const ran: string[] = [];
        const replies = [driver.prompt(texts[0] as string)];
        // The agent ends each turn so many microtasks or event-loop turns late; prompts come at such moments too.
        const playing = (async () => {
          for (let index = 0; ran.length < 1 + rounds.reduce((sum, round) => sum + round.send.length, 0); index++) {
            const turn = await rig.kind.turn();
            ran.push(turn.text);
            const late = rounds[index % Math.max(1, rounds.length)]?.end ?? 0;
            for (let step = 0; step < late; step++) await (step % 2 === 0 ? Promise.resolve() : soon());
            turn.end();
            ended += 1;
          }
        })();
        for (const round of rounds) {
          for (const late of round.send) {
            for (let step = 0; step < late; step++) await (step % 2 === 0 ? soon() : Promise.resolve());
            const text = `more ${promptId()}`;
            texts.push(text);
            replies.push(driver.prompt(text));
          }
        }
        await Promise.all([playing, ...replies]);
        await driver.event("turn_ended", ended);
        expect(ran.toSorted()).toEqual(texts.toSorted());
        expect(driver.state.queue).toEqual([]);
      },
    ),
    { numRuns: 40, verbose: 1 },
  );
  expect(rig.daemon.bugs).toEqual([]);
});

test("B23 queued prompts are listed, and withdrawn by id until they run; then prompt_gone tells the outcome", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver("editor");
  await driver.prompt("one");
  const [two, three] = [promptId(), promptId()];
  await driver.prompt("two", { id: two });
  await driver.prompt("three", { id: three });
  expect((await rig.info()).queue.map(({ prompt_id, parts, held, by }) => [prompt_id, wordsOf(parts), held, by.label])).toEqual([
    [two, "two", false, "editor"],
    [three, "three", false, "editor"],
  ]);
  await driver.withdraw(two);
  expect((await rig.info()).queue.map((prompt) => prompt.prompt_id)).toEqual([three]);
  await expect(driver.withdraw(two)).rejects.toMatchObject({ code: "prompt_gone", detail: { outcome: "withdrawn" } });
  (await rig.kind.turn()).end();
  expect((await rig.kind.turn()).text).toBe("three");
  await expect(driver.withdraw(three)).rejects.toMatchObject({ code: "prompt_gone", detail: { outcome: "delivered" } });
  await expect(driver.withdraw(promptId())).rejects.toMatchObject({ code: "prompt_gone" });
  expect(rig.kind.turns.map((turn) => turn.text)).toEqual(["one", "three"]);
});

test("B23 interrupt holds the queue and lists it; a new prompt runs first and leaves it held; release lets it run", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  const { turn_id = "" } = await driver.prompt("one");
  const [two, three] = [promptId(), promptId()];
  await driver.prompt("two", { id: two });
  await driver.prompt("three", { id: three });
  await rig.kind.turn();
  const { queue } = await rig.interrupt(turn_id);
  expect(queue.map(({ prompt_id, held }) => [prompt_id, held])).toEqual([
    [two, true],
    [three, true],
  ]);
  expect(await driver.prompt("new")).toMatchObject({ became: "started" });
  const fresh = await rig.kind.turn();
  expect(fresh.text).toBe("new");
  fresh.end();
  await driver.event("turn_ended", 2);
  expect(driver.state.queue.map((prompt) => prompt.held)).toEqual([true, true]);
  expect(rig.kind.turns).toHaveLength(2);
  expect(await driver.release()).toMatchObject({ released: [two, three] });
  const second = await rig.kind.turn();
  expect(second.text).toBe("two");
  second.end();
  expect((await rig.kind.turn()).text).toBe("three");
});

test("B23 a restart holds the queue: nothing of it runs until it is released", async () => {
  const rig = await Rig.start();
  const secret = "editor".padEnd(24, "_");
  const driver = await rig.driver("editor", { secret });
  await driver.prompt("one");
  await driver.prompt("two");
  const after = await rig.crash();
  const back = await after.driver("editor", { secret });
  expect(back.state).toMatchObject({ turn: null, last_turn: { stop_reason: "interrupted" } });
  expect(back.state.queue.map((prompt) => prompt.held)).toEqual([true]);
  expect(eventsOf(await after.journal(), "queue_held")).toEqual([{ type: "queue_held", cause: "restart" }]);
  expect(after.kind.turns).toEqual([]);
  await back.release();
  expect((await after.kind.turn()).text).toBe("two");
});

test("B23 a queued prompt is edited by id until it runs, held or not; the turn and the transcript get what it says then", async () => {
  const rig = await Rig.start();
  const secret = "editor".padEnd(24, "_");
  const driver = await rig.driver("editor", { secret });
  const { turn_id = "" } = await driver.prompt("one");
  const [two, three] = [promptId(), promptId()];
  const accepted = await driver.prompt("two", { id: two });
  await driver.prompt("three", { id: three, whenBusy: "steer" });
  await driver.edit(two, "two, but better");
  const repeated = (await rig.lines()).length;
  await driver.edit(two, "two, but better");
  expect(await rig.lines()).toHaveLength(repeated);
  expect((await rig.info()).queue.map(({ parts }) => wordsOf(parts))).toEqual(["two, but better", "three"]);
  expect(eventsOf(await rig.journal(), "prompt_edited")).toMatchObject([{ prompt_id: two, by: { label: "editor" } }]);
  // A repeat of the call that sent it is that call still.
  expect(await driver.prompt("two", { id: two })).toEqual(accepted);
  await expect(driver.prompt("two, but better", { id: two })).rejects.toMatchObject({ code: "conflict" });

  await rig.interrupt(turn_id);
  await driver.edit(three, "three, later");
  const after = await rig.crash();
  const back = await after.driver("editor", { secret });
  await back.edit(three, "three, much later");
  await back.release();
  for (const text of ["three, much later", "two, but better"]) {
    const turn = await after.kind.turn();
    expect(turn.text).toBe(text);
    expect((await turn.context.transcript()).entries.at(-1)).toMatchObject({ type: "user", parts: [{ text }] });
    turn.end();
  }
  await back.event("turn_ended", 2);
  expect(back.state.messages.flatMap((message) => (message.type === "user" ? [message.text] : []))).toEqual(["one", "three, much later", "two, but better"]);
});

test("B23 what steers can be edited until the agent comes for it", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("one");
  const turn = await rig.kind.turn();
  const id = promptId();
  await driver.prompt("left", { id, whenBusy: "steer" });
  await driver.edit(id, "right");
  expect(turn.takeSteering()).toBe(1);
  await expect(driver.edit(id, "up")).rejects.toMatchObject({ code: "prompt_gone", detail: { outcome: "delivered" } });
  expect((await turn.context.transcript()).entries.at(-1)).toMatchObject({ type: "user", parts: [{ text: "right" }] });
});

test("B23 a prompt that was delivered, withdrawn or never sent cannot be edited: prompt_gone tells the outcome, and nothing has changed", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  const [one, two] = [promptId(), promptId()];
  await driver.prompt("one", { id: one });
  await driver.prompt("two", { id: two });
  await driver.withdraw(two);
  const before = await rig.lines();
  await expect(driver.edit(one, "else")).rejects.toMatchObject({ code: "prompt_gone", detail: { outcome: "delivered" } });
  await expect(driver.edit(two, "else")).rejects.toMatchObject({ code: "prompt_gone", detail: { outcome: "withdrawn" } });
  await expect(driver.edit(promptId(), "else")).rejects.toMatchObject({ code: "prompt_gone" });
  expect(await rig.lines()).toEqual(before);
  expect((await rig.kind.turn()).text).toBe("one");
});

test("B20 an edited prompt has the limits of a new one: its own bytes, and those of the queue with the depth", async () => {
  const rig = await Rig.start({ limits: { prompt_bytes_max: 100, queue_bytes_max: 150 } });
  const driver = await rig.driver();
  await driver.prompt("work");
  const [one, two] = [promptId(), promptId()];
  await driver.prompt("1".repeat(80), { id: one });
  await driver.prompt("2", { id: two });
  const before = await rig.lines();
  await expect(driver.edit(two, "2".repeat(101))).rejects.toMatchObject({ code: "limit_reached", detail: { limit: "prompt_bytes_max", value: 100, got: 101 } });
  await expect(driver.edit(two, "2".repeat(71))).rejects.toMatchObject({ code: "queue_full", detail: { limit: "queue_bytes_max", depth: 2, value: 150 } });
  expect(await rig.lines()).toEqual(before);
  // Its own old content does not count.
  await driver.edit(two, "2".repeat(70));
  await driver.edit(one, "1".repeat(79));
  expect((await rig.info()).queue.map(({ parts }) => wordsOf(parts).length)).toEqual([79, 70]);
});
