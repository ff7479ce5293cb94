import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { systemClock } from "../../packages/daemon/src/clock.ts";
import { RunningTurn } from "../../packages/daemon/src/session/turn.ts";
import { endRigs, promptId, Rig } from "../support/session-rig.ts";

/** An agent that misbehaves harms its own turn at most. */
afterEach(endRigs);

test("B24 an agent whose end fits no frame fails its turn, not the daemon", async () => {
  const rig = await Rig.start();
  const seat = await rig.driver();
  await seat.prompt("hello");
  const turn = await rig.kind.turn();
  void turn.yield({ type: "turn_end", stop_reason: "end_turn", usage: { input_tokens: 1.5, output_tokens: 1e300 } });
  expect(await seat.event("turn_ended")).toMatchObject({ stop_reason: "failed", error: { code: "internal" } });
  expect(rig.daemon.bugs).toHaveLength(1);
  await seat.prompt("still there?");
  (await rig.kind.turn()).end();
  await seat.event("turn_ended", 2);
});

test("B36 a frame too long to be read again is never written: the turn fails, and nothing after it is lost at a restart", async () => {
  const rig = await Rig.start();
  const seat = await rig.driver();
  await seat.prompt("hello");
  const turn = await rig.kind.turn();
  void turn.say("x".repeat(limits.journal_line_bytes_max + 1));
  expect(await seat.event("turn_ended")).toMatchObject({ stop_reason: "failed", error: { code: "limit_reached" } });
  await seat.prompt("and now?");
  const next = await rig.crash();
  await next.info();
  expect((await next.journal()).slice(0, seat.frames.length)).toEqual((await rig.journal()).slice(0, seat.frames.length));
  expect((await next.daemon.call("daemon_status", {}, { host_key: next.daemon.hostKey })).set_aside).toEqual([]);
});

test("B25 a question too large to be shown whole is refused, and never asked in part", async () => {
  const rig = await Rig.start();
  const seat = await rig.driver();
  await seat.prompt("hello");
  const turn = await rig.kind.turn();
  await turn.call("big");
  const tooLarge = { allowed: false, reason: "The question is too large to be shown whole, so nothing was run. Make a smaller change." };
  expect(await turn.ask("big", {}, "\u007f".repeat(limits.preview_chars_max / 4))).toEqual(tooLarge);
  // Also when its preview is small: the line that carries its input would be too long.
  expect(await turn.ask("big", { text: "x".repeat(limits.journal_line_bytes_max) }, "small")).toMatchObject({
    allowed: false,
    reason: expect.stringMatching(/too (large|much)/) as string,
  });
  expect((await rig.info()).approvals).toEqual([]);
  turn.end();
  expect((await seat.event("turn_ended")).stop_reason).toBe("end_turn");
});

test("B39 after an agent had to be killed, the next turn gets a living one", async () => {
  const rig = await Rig.start({ script: { stubborn: true } });
  const seat = await rig.driver();
  const { turn_id } = await seat.prompt("hello");
  const killed = await rig.kind.turn();
  const ending = rig.interrupt(turn_id ?? "");
  await killed.returned;
  rig.clock.advance(limits.interrupt_wait_ms);
  await ending;
  expect(rig.kind.closes).toBe(1);
  await seat.prompt("again");
  expect((await rig.kind.turn()).context).not.toBe(killed.context);
});

test("B18 a prompt that was let in just before the draining is refused, not accepted as started", async () => {
  const rig = await Rig.start();
  const session = rig.daemon.host.awake[0];
  rig.daemon.host.draining = true;
  const request = { promptId: promptId(), parts: [{ type: "text" as const, text: "hello" }], whenBusy: "queue" as const, by: { label: "test" } };
  await expect(session?.queue.send(request)).rejects.toMatchObject({ code: "shutting_down" });
  expect(session?.state.queue).toEqual([]);
});

test("B24 a turn keeps none of the events that it has passed on, however long it runs", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const early: WeakRef<object>[] = [];
  let left = -1;
  async function* talk() {
    for (let count = 0; count < 100; count++) {
      const event = { type: "agent_message_chunk" as const, message_id: "m", content: { type: "text" as const, text: String(count) } };
      early.push(new WeakRef(event));
      yield event;
    }
    await new Promise((resolve) => setImmediate(resolve));
    collect();
    left = early.filter((event) => event.deref() !== undefined).length;
    yield { type: "turn_end" as const, stop_reason: "end_turn" as const };
  }
  const nothing = () => Promise.resolve();
  const host = {
    clock: systemClock,
    interrupt_wait_ms: 1,
    apply: () => 1,
    durable: nothing,
    drained: nothing,
    begun: nothing,
    ask: () => Promise.reject(new Error("not asked")),
    withdraw: () => undefined,
    steer: () => 0,
    kill: nothing,
    report: () => undefined,
  };
  await new RunningTurn(host, `trn_${"x".repeat(22)}`, talk).done;
  expect(left).toBeLessThan(5);
});
