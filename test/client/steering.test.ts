import type { DriverSeat } from "@sessiond/client";
import { afterEach, expect, test } from "vitest";
import { failure, until } from "../support/attached-seat.ts";
import { ClientRig } from "../support/client-rig.ts";
import { endRigs, type RigOptions } from "../support/session-rig.ts";

/** What a driver does with prompts while a turn runs, and when `prompt` settles. */
let house: ClientRig;
afterEach(async () => {
  await house.close();
  await endRigs();
});

async function driving(options: RigOptions = {}): Promise<DriverSeat> {
  house = await ClientRig.start(options);
  return house.driver();
}

const queued = (seat: DriverSeat, count: number): Promise<void> => until(seat, () => seat.state.queue.length === count);

test("B19 a prompt that steers settles with the turn that it was delivered into, and not before its end", async () => {
  const seat = await driving();
  const first = seat.prompt("work");
  const turn = await house.rig.kind.turn();
  let over = false;
  const steered = seat.prompt("faster", { whenBusy: "steer" }).then((ended) => ((over = true), ended));
  await queued(seat, 1);
  expect(turn.takeSteering()).toBe(1);
  await until(seat, () => seat.state.queue.length === 0);
  expect(over).toBe(false);
  await turn.say("done");
  turn.end();
  expect(await steered).toMatchObject({ turnId: turn.turnId, stopReason: "end_turn", text: "done" });
  expect((await first).turnId).toBe(turn.turnId);
  expect(house.rig.kind.turns).toHaveLength(1);
});

test("B19 a prompt that steers and was not fetched before the end settles with a turn of its own", async () => {
  const seat = await driving();
  const first = seat.prompt("work");
  const turn = await house.rig.kind.turn();
  const steered = seat.prompt("more", { whenBusy: "steer" });
  await queued(seat, 1);
  turn.end();
  const next = await house.rig.kind.turn();
  expect(next.text).toBe("more");
  next.end("max_tokens");
  expect([await first, await steered]).toMatchObject([{ turnId: turn.turnId }, { turnId: next.turnId, stopReason: "max_tokens" }]);
});

test("B19 a prompt that interrupts ends the turn and settles with its own, before what was queued", async () => {
  const seat = await driving();
  const first = seat.prompt("work");
  const turn = await house.rig.kind.turn();
  const last = seat.prompt("later");
  await queued(seat, 1);
  const urgent = seat.prompt("now", { whenBusy: "interrupt" });
  expect((await first).stopReason).toBe("cancelled");
  expect(turn.signal.aborted).toBe(true);
  const second = await house.rig.kind.turn();
  expect(second.text).toBe("now");
  second.end();
  expect((await urgent).turnId).toBe(second.turnId);
  const third = await house.rig.kind.turn();
  expect(third.text).toBe("later");
  third.end();
  expect((await last).turnId).toBe(third.turnId);
});

test("B19 an agent that cannot be steered is not, and the prompt is refused or rejected with nothing run", async () => {
  const seat = await driving({ script: { steer: false } });
  void seat.prompt("work").catch(() => undefined);
  const turn = await house.rig.kind.turn();
  expect((await failure(seat.prompt("faster", { whenBusy: "steer" }))).code).toBe("unsupported");
  expect((await failure(seat.prompt("another", { whenBusy: "reject" }))).code).toBe("turn_in_progress");
  expect(turn.takeSteering()).toBe(0);
  expect(seat.state.queue).toEqual([]);
  turn.end();
});

test("B23 a queued prompt is edited whole, and what was delivered can no longer be", async () => {
  const seat = await driving();
  void seat.prompt("work").catch(() => undefined);
  const turn = await house.rig.kind.turn();
  const { promptId } = await seat.sendPrompt("second");
  await seat.editPrompt(promptId, "better");
  turn.end();
  const next = await house.rig.kind.turn();
  expect(next.text).toBe("better");
  expect((await failure(seat.editPrompt(promptId, "too late"))).code).toBe("prompt_gone");
  next.end();
});

test("B44 configure sets all of what is given and answers with what there is then; a bad model leaves everything", async () => {
  const seat = await driving({ script: { knows: (model) => model !== "none" } });
  const set = await seat.configure({ title: "A title", starred: true, policy: { type: "reject_after", ms: 5_000 } });
  expect(set).toMatchObject({ title: "A title", starred: true, policy: { type: "reject_after", ms: 5_000 } });
  expect((await failure(seat.configure({ title: "Another", model: "none" }))).code).toBe("model_unknown");
  await until(seat, () => seat.state.seq >= set.seq);
  expect(seat.state).toMatchObject({ title: "A title", starred: true });
  expect((await seat.configure({ title: null })).title).toBeNull();
  const { seq } = await seat.addSystemMessage("for whoever reads");
  await until(seat, () => seat.state.seq >= seq);
  expect(seat.state.messages.at(-1)).toMatchObject({ type: "notice", text: "for whoever reads", by: { label: "driver" } });
});

test("B29 an answer is chosen by what it remembers, listed, and forgotten by its rule", async () => {
  const seat = await driving();
  void seat.prompt("work").catch(() => undefined);
  const turn = await house.rig.kind.turn();
  await turn.call("c1");
  const answer = turn.ask("c1", { command: "true" }, "true", { pattern: { type: "command", command: "true", directory: house.rig.workdir } });
  await until(seat, () => seat.state.approvals.length > 0);
  const [question] = seat.state.approvals;
  if (question === undefined) throw new Error("no question");
  expect((await seat.approve(question, { kind: "allow_session" })).optionId).toBe("allow_session");
  expect((await answer).allowed).toBe(true);
  await until(seat, () => seat.state.rules.length > 0);
  const session = await house.session();
  const [rule] = (await session.info()).rules;
  await session.forgetRule(rule?.rule_id ?? "");
  await until(seat, () => seat.state.rules.length === 0);
  expect((await failure(session.forgetRule(rule?.rule_id ?? ""))).code).toBe("not_found");
  turn.end();
});
