import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { retryAfter } from "../../packages/daemon/src/agents/openai/model-failure.ts";
import { Audit } from "../../packages/daemon/src/audit.ts";
import { JumpingClock } from "../support/jumping-clock.ts";
import { endRigs, eventsOf, Rig } from "../support/session-rig.ts";
import { Watcher } from "../support/watcher.ts";
import { removeRoot, testRoot } from "../../packages/daemon/src/testing.ts";

/** The machine's clock is set an hour forward or back while the daemon runs: what lasts a time lasts that time. */
const roots: string[] = [];
afterEach(async () => {
  await endRigs();
  for (const root of roots.splice(0)) await removeRoot(root);
});
const hour = 3_600_000;
const patience = limits.driver_request_ms;
const owner = (rig: Rig) => ({ host_key: rig.daemon.hostKey });
const auto = { script: { auto: (turn: { say(text: string): Promise<void>; end(): void }) => void turn.say("done").then(() => turn.end()) } };

async function jumping(options: object = {}): Promise<{ rig: Rig; clock: JumpingClock }> {
  const clock = new JumpingClock();
  return { rig: await Rig.start({ ...options, clock }), clock };
}

const lifeState = async (rig: Rig): Promise<string> =>
  (await rig.daemon.call("list_sessions", {}, owner(rig))).sessions.find(({ session_id }) => session_id === rig.sessionId)?.life_state ?? "deleted";

/** Time goes by; resolves when what was due then has been judged, and done. */
async function pass(rig: Rig, ms: number): Promise<void> {
  rig.clock.advance(ms);
  await new Promise((resolve) => setImmediate(resolve));
  await rig.daemon.host.resting.settled();
}

for (const [way, jump] of [
  ["forward", hour],
  ["back", -hour],
] as const) {
  describe(`an hour ${way}`, () => {
    test("B16 B38 a request for the wheel lapses in its own time, neither at once nor an hour late", async () => {
      const { rig, clock } = await jumping();
      const driver = await rig.driver();
      const viewer = await rig.attach("viewer");
      await viewer.takeDriver("ask");
      clock.jump(jump);
      // Something that makes it look.
      await (await rig.attach("passer-by")).detach();
      clock.advance(patience - 1);
      expect((await rig.info()).driver_requests).toHaveLength(1);
      clock.advance(1);
      expect(await driver.event("driver_request_lapsed")).toMatchObject({ seat_id: viewer.seatId });
      // The next one, too, has all of its time.
      expect(await viewer.takeDriver("ask")).toMatchObject({ became: "asked", lapses_at: clock.now() + patience });
      clock.advance(patience - 1);
      expect((await rig.info()).driver_requests).toHaveLength(1);
      clock.advance(1);
      await driver.event("driver_request_lapsed", 2);
    });

    test("B15 B38 a lost driver keeps its grace, all of it and no more", async () => {
      const { rig, clock } = await jumping();
      const driver = await rig.driver();
      const viewer = await rig.attach("viewer");
      await driver.drop();
      await viewer.event("seat_lost");
      clock.jump(jump);
      clock.advance(limits.seat_grace_ms - 1);
      expect((await rig.info()).seats).toHaveLength(2);
      clock.advance(1);
      expect(await viewer.event("seat_left")).toMatchObject({ cause: "grace" });
    });

    test("B13 B38 an idle session rests after its four hours, neither sooner nor later", async () => {
      const { rig, clock } = await jumping(auto);
      const driver = await rig.driver();
      await driver.prompt("hello");
      await driver.event("turn_ended");
      await driver.detach();
      await pass(rig, 1_000);
      clock.jump(jump);
      const watcher = await Watcher.open(rig.daemon);
      await pass(rig, limits.rest_after_ms - 1_001);
      expect(watcher.types).toEqual([]);
      await pass(rig, 1);
      await watcher.of("session_resting");
    });

    test("B13 B38 a session that was never used is not deleted sooner than an hour after its token was given out, and does not stay much longer", async () => {
      const { rig: first, clock } = await jumping();
      await pass(first, limits.unused_delete_ms / 2);
      const rig = await first.another("second");
      await pass(first, 1_000);
      clock.jump(jump);
      // The first one's hour is up, and all are looked at.
      await pass(rig, limits.unused_delete_ms / 2);
      expect(await lifeState(rig)).toBe("live");
      await pass(rig, limits.unused_delete_ms / 2 - 1_001);
      expect(await lifeState(rig)).toBe("live");
      // Its files tell of an hour by the machine's clock, too.
      await pass(rig, 1 + Math.max(0, -jump));
      expect(await lifeState(rig)).toBe("deleted");
    });

    test("B8 B38 refusals are written again in the next minute", async () => {
      const root = await testRoot();
      roots.push(root);
      const clock = new JumpingClock();
      const audit = new Audit(join(root, "audit.jsonl"), clock, { ...limits, refusals_written_per_minute_max: 1 });
      const refuse = (verb: string): void => audit.record({ verb, outcome: "unauthenticated", ms: 0 }, "refusal");
      refuse("first");
      clock.jump(jump);
      refuse("counted");
      clock.advance(60_000);
      refuse("second");
      await audit.flush();
      const lines = readFileSync(join(root, "audit.jsonl"), "utf8").trimEnd().split("\n");
      expect(lines.map((line) => (JSON.parse(line) as { verb: string }).verb)).toEqual(["first", "*", "second"]);
    });
  });
}

test("B8 B38 how long a call took is never less than nothing, and never an hour because the clock was set", async () => {
  const root = await testRoot();
  const { rig, clock } = await jumping({ root });
  const driver = await rig.driver();
  for (const jump of [hour, -hour]) {
    const call = driver.prompt("hello");
    clock.jump(jump);
    await call;
  }
  const lines = (): { verb: string; ms: number }[] =>
    readFileSync(join(root, "state/sessiond/audit.jsonl"), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { verb: string; ms: number });
  await expect.poll(() => lines().filter(({ verb }) => verb === "send_prompt")).toHaveLength(2);
  expect(lines().map(({ ms }) => ms)).toEqual(lines().map(() => 0));
});

test("B4 B38 a token whose end a clock that is set forward passes ends its streams soon, not only when its time would have run out", async () => {
  const { rig, clock } = await jumping();
  const minted = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: "guest", ttl_ms: hour }, owner(rig));
  const guest = await rig.attach("guest", { token: minted.token });
  clock.jump(hour);
  clock.advance(limits.clock_look_ms);
  await guest.until(() => guest.end !== undefined);
  expect(guest.end).toMatchObject({ code: "token_ended", detail: { cause: "expired" } });
  const watcher = await rig.attach("watcher");
  expect(eventsOf(watcher.frames, "seat_left")).toEqual([]);
});

test("B4 B38 a clock that is set back does not end a token's streams sooner, and its time runs by the clock that there is", async () => {
  const { rig, clock } = await jumping();
  const minted = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: "guest", ttl_ms: hour }, owner(rig));
  const guest = await rig.attach("guest", { token: minted.token });
  clock.jump(-hour);
  clock.advance(hour);
  expect((await rig.daemon.call("authorize", { session_id: rig.sessionId }, { token: minted.token })).right).toBe("view");
  expect(guest.end).toBeUndefined();
  clock.advance(hour);
  await guest.until(() => guest.end !== undefined);
  expect(guest.end).toMatchObject({ code: "token_ended", detail: { cause: "expired" } });
});

test("B38 a model's server that names the instant at which to come again is asked then by its own clock, however this machine's is set", () => {
  const at = (ms: number): string => new Date(Math.floor(Date.now() / 1_000) * 1_000 + ms).toUTCString();
  for (const jump of [hour, -hour, 0]) {
    const headers = new Headers({ date: at(jump), "retry-after": at(jump + 7_000) });
    expect(retryAfter(Object.assign(new Error("busy"), { status: 429, headers }), 0)).toBe(7_000);
  }
});
