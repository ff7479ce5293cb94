import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { FakeClock } from "../support/fake-clock.ts";
import { endRigs, eventsOf, promptId, Rig, type TestSeat } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { Watcher } from "../support/watcher.ts";

/** Idle sessions are put to rest, and the next call wakes them. */
afterEach(endRigs);

const rest = limits.rest_after_ms;
const secret = "editor".padEnd(24, "_");
const auto = { script: { auto: (turn: { say(text: string): Promise<void>; end(): void }) => void turn.say("done").then(() => turn.end()) } };
const owner = (rig: Rig) => ({ host_key: rig.daemon.hostKey });
const openMark = (rig: Rig) => join(rig.daemon.root, "state/sessiond/open", rig.sessionId);

async function lifeState(rig: Rig): Promise<string> {
  const { sessions } = await rig.daemon.call("list_sessions", {}, owner(rig));
  return sessions.find(({ session_id }) => session_id === rig.sessionId)?.life_state ?? "deleted";
}

/** Time goes by; resolves when what was due then has been judged, and done. */
async function pass(rig: Rig, ms: number): Promise<void> {
  rig.clock.advance(ms);
  await new Promise((resolve) => setImmediate(resolve));
  await rig.daemon.host.resting.settled();
}

/** A session that had a turn, and that nobody is in. */
async function used(rig: Rig): Promise<void> {
  const driver = await rig.driver();
  await driver.prompt("hello");
  await driver.event("turn_ended");
  await driver.detach();
}

/** At rest: watched, so that no call wakes it. */
async function resting(rig: Rig): Promise<void> {
  const watcher = await Watcher.open(rig.daemon);
  const before = watcher.first?.head;
  await pass(rig, rest);
  await watcher.of("session_resting");
  expect(watcher.first?.head).toBe(before);
  await watcher.drop();
}

test("B13 an idle session without seats is put to rest after the time, and not a millisecond before; its life goes on", async () => {
  const rig = await Rig.start(auto);
  await used(rig);
  await pass(rig, rest - 1);
  expect([await lifeState(rig), existsSync(openMark(rig))]).toEqual(["live", true]);
  const watcher = await Watcher.open(rig.daemon);
  await pass(rig, 1);
  expect(await watcher.of("session_resting")).toEqual([{ type: "session_resting", session_id: rig.sessionId }]);
  expect(await lifeState(rig)).toBe("resting");
  expect(existsSync(openMark(rig))).toBe(false);
  expect(eventsOf(await rig.journal(), "session_stopped")).toEqual([]);
  expect(rig.daemon.bugs).toEqual([]);
});

describe("never", () => {
  const begun = async (rig: Rig): Promise<TestSeat> => {
    const driver = await rig.driver("editor", { secret });
    await driver.prompt("work");
    return driver;
  };
  const busy: Record<string, (rig: Rig) => Promise<() => Promise<unknown>>> = {
    "while it thinks": async (rig) => {
      await (await begun(rig)).detach();
      const turn = await rig.kind.turn();
      return async () => turn.end();
    },
    "while a tool runs": async (rig) => {
      const driver = await begun(rig);
      const turn = await rig.kind.turn();
      await turn.call("c1");
      await turn.update("c1", "in_progress");
      await driver.detach();
      return async () => turn.end();
    },
    "while a question waits for an answer": async (rig) => {
      const driver = await begun(rig);
      const turn = await rig.kind.turn();
      await turn.call("c1");
      void turn.ask("c1").then(() => turn.end());
      const question = await driver.question();
      await driver.detach();
      return async () => {
        const again = await rig.driver("again");
        await again.approve(question);
        await again.event("turn_ended");
        await again.detach();
      };
    },
    "while somebody drives": async (rig) => {
      const driver = await begun(rig);
      (await rig.kind.turn()).end();
      await driver.event("turn_ended");
      return () => driver.detach();
    },
    "while somebody looks": async (rig) => {
      const driver = await begun(rig);
      const viewer = await rig.attach("viewer");
      (await rig.kind.turn()).end();
      await driver.event("turn_ended");
      await driver.detach();
      return () => viewer.detach();
    },
  };
  for (const [when, make] of Object.entries(busy)) {
    test(`B13 it is not put to rest ${when}, however long; and it is, when that is over`, async () => {
      const rig = await Rig.start();
      const over = await make(rig);
      const watcher = await Watcher.open(rig.daemon);
      for (let times = 0; times < 3; times++) await pass(rig, rest);
      expect(await lifeState(rig)).toBe("live");
      expect(watcher.types).not.toContain("session_resting");
      await over();
      await watcher.until(({ sessions }) => sessions.get(rig.sessionId)?.status === "idle" && sessions.get(rig.sessionId)?.driver === undefined);
      await rig.daemon.call("session_info", { session_id: rig.sessionId }, owner(rig));
      await pass(rig, rest - 1);
      expect(watcher.types).not.toContain("session_resting");
      await pass(rig, 1);
      await watcher.of("session_resting");
    });
  }

  test("B13 the grace of a lost seat counts as a seat: the time runs from its end", async () => {
    const rig = await Rig.start({ ...auto, limits: { seat_grace_ms: 2 * rest } });
    const driver = await rig.driver();
    await driver.prompt("hello");
    await driver.event("turn_ended");
    await driver.drop();
    await pass(rig, 2 * rest - 1);
    expect(await lifeState(rig)).toBe("live");
    const watcher = await Watcher.open(rig.daemon);
    await pass(rig, 1);
    await watcher.of("driver_changed");
    await pass(rig, rest - 1);
    expect(await lifeState(rig)).toBe("live");
    await pass(rig, 1);
    await watcher.of("session_resting");
  });

  test("B13 B38 a session that cannot write is not put to rest", async () => {
    const disk = new TrappedDisk();
    const rig = await Rig.start({ ...auto, disk });
    await used(rig);
    const watcher = await Watcher.open(rig.daemon);
    void disk.fail("write", "/journal", { times: Number.POSITIVE_INFINITY });
    void disk.fail("open", "/journal", { times: Number.POSITIVE_INFINITY });
    await rig.attach("viewer").catch(() => undefined);
    await watcher.of("session_faulted");
    for (let times = 0; times < 3; times++) await pass(rig, rest);
    expect(await lifeState(rig)).toBe("live");
    expect(watcher.types).not.toContain("session_resting");
    disk.mend();
  });
});

test("B13 the next call wakes it as it was: state, title, held prompts, tokens, cursors, life", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver("editor", { secret });
  const { turn_id = "" } = await driver.prompt("work");
  await driver.prompt("later", { id: promptId(7) });
  await rig.kind.turn();
  await rig.interrupt(turn_id);
  await driver.event("queue_held");
  const { cursor } = driver;
  const viewing = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: "page" }, owner(rig));
  await driver.detach();
  await rig.attach("look").then((seat) => seat.detach());
  const before = await rig.info();
  // Held prompts wait for a person, and keep nothing in memory.
  expect(before.queue).toMatchObject([{ prompt_id: promptId(7), held: true }]);
  await resting(rig);
  const watcher = await Watcher.open(rig.daemon);
  expect({ ...(await rig.info()), cursor: "" }).toEqual({ ...before, cursor: "" });
  expect(await watcher.of("session_started")).toMatchObject([{ session_id: rig.sessionId, session: { life_state: "live", status: "idle" } }]);
  expect(await rig.daemon.call("authorize", { session_id: rig.sessionId }, { token: viewing.token })).toMatchObject({ right: "view", past_life: false });
  const back = await rig.driver("editor", { secret, cursor });
  expect(back.first).toMatchObject({ type: "resumed", cursor, seat: { role: "driver" } });
  expect(await back.release()).toMatchObject({ released: [promptId(7)] });
  const turn = await rig.kind.turn();
  expect(turn.text).toBe("later");
  turn.end();
  await back.event("turn_ended");
  expect((await rig.info()).life).toBe(1);
  expect(rig.daemon.bugs).toEqual([]);
});

describe("each way in wakes it", () => {
  const ways: Record<string, (rig: Rig) => Promise<unknown>> = {
    session_info: (rig) => rig.info(),
    session_data: (rig) => rig.daemon.call("session_data", { session_id: rig.sessionId }, { token: rig.token }),
    "attach as viewer": async (rig) => (await rig.attach("viewer")).detach(),
    "attach as driver": async (rig) => {
      const driver = await rig.driver("again");
      await driver.prompt("more");
      await driver.event("turn_ended");
      await driver.detach();
    },
    start_or_get_for_workdir: async (rig) => expect(await rig.startSession()).toMatchObject({ created: false, session: { life: 1 } }),
    interrupt: (rig) => rig.interrupt(`trn_${"0".repeat(22)}`),
  };
  for (const [way, call] of Object.entries(ways)) {
    test(`B13 ${way} wakes a session at rest, and after it the time runs anew`, async () => {
      const rig = await Rig.start(auto);
      await used(rig);
      const { sessionId } = rig;
      for (let times = 0; times < 2; times++) {
        await resting(rig);
        await call(rig);
        expect([rig.sessionId, await lifeState(rig)]).toEqual([sessionId, "live"]);
        await pass(rig, rest - 1);
        expect(await lifeState(rig)).toBe("live");
      }
      expect(rig.daemon.bugs).toEqual([]);
    });
  }

  test("B13 B35 stop ends the life of one at rest, and a token minted for it works", async () => {
    const rig = await Rig.start(auto);
    await used(rig);
    await resting(rig);
    const { token } = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "control", label: "late" }, owner(rig));
    expect(await rig.daemon.call("stop", { session_id: rig.sessionId }, { token })).toMatchObject({ life: 1 });
    expect((await rig.journal()).at(-1)?.event.type).toBe("session_stopped");
  });
});

test("B13 calls that come while it is put to rest wait, and wake it: none fails, none writes to a closed journal", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ ...auto, disk });
  await used(rig);
  await pass(rig, rest - 1);
  await rig.info();
  const saving = disk.hold("replace", "session.json");
  await pass(rig, 0);
  rig.clock.advance(1);
  await saving.reached;
  expect(await lifeState(rig)).toBe("resting");
  const { sessionId: session_id } = rig;
  const calls = Promise.all([
    rig.info(),
    rig.driver("driver").then((driver) => driver.prompt("more")),
    rig.attach("viewer"),
    rig.startSession(),
    rig.daemon.call("mint_token", { session_id, right: "view", label: "late" }, owner(rig)),
    rig.daemon.call("session_data", { session_id }, owner(rig)),
  ]);
  saving.release();
  const [info, prompted, , started] = await calls;
  expect([info.life, prompted.became, started.created]).toEqual([1, "started", false]);
  const frames = await rig.journal();
  expect(frames.map(({ seq }) => seq)).toEqual(frames.map((_, index) => index + 1));
  expect([await lifeState(rig), existsSync(openMark(rig))]).toEqual(["live", true]);
  expect(rig.daemon.bugs).toEqual([]);
});

test("B13 a call that is at work on a session keeps it from being put to rest under its hands; when it is through, the time is looked at again", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ ...auto, disk });
  await used(rig);
  // A driver comes; its keys are still being stored when the session's time is up.
  const storing = disk.hold("replace", "session.json");
  const coming = rig.driver("late");
  await storing.reached;
  await pass(rig, rest);
  expect(await lifeState(rig)).toBe("live");
  storing.release();
  const driver = await coming;
  expect(await driver.prompt("more")).toMatchObject({ became: "started" });
  await driver.event("turn_ended");
  // And one that leaves nothing behind: a token that is being minted.
  await driver.detach();
  await driver.until(({ end }) => end !== undefined);
  const minting = disk.hold("replace", "session.json");
  const minted = rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: "late" }, owner(rig));
  await minting.reached;
  const watcher = await Watcher.open(rig.daemon);
  await pass(rig, rest);
  expect(watcher.types).toEqual([]);
  minting.release();
  await minted;
  await watcher.of("session_resting");
  expect(await rig.daemon.call("authorize", { session_id: rig.sessionId }, { token: (await minted).token })).toMatchObject({ right: "view" });
  expect(rig.daemon.bugs).toEqual([]);
});

test("B13 a longer time than a timer can be set to is waited for all the same", async () => {
  class ShortTimers extends FakeClock {
    override after(ms: number, call: () => void): () => void {
      return super.after(Math.min(ms, 60_000), call);
    }
  }
  const rig = await Rig.start({ ...auto, clock: new ShortTimers() });
  await used(rig);
  await pass(rig, rest - 1);
  expect(await lifeState(rig)).toBe("live");
  const watcher = await Watcher.open(rig.daemon);
  await pass(rig, 1);
  await watcher.of("session_resting");
});

test("B13 B40 a daemon that ends while a session goes to rest leaves it whole", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ ...auto, disk });
  await used(rig);
  await rig.info();
  const saving = disk.hold("replace", "session.json");
  rig.clock.advance(rest);
  await saving.reached;
  const stopping = rig.daemon.stop(0);
  saving.release();
  await stopping;
  expect(readdirSync(join(rig.daemon.root, "state/sessiond/open"))).toEqual([]);
  const after = await Rig.restart(rig.daemon.root, rig);
  expect(await lifeState(after)).toBe("resting");
  expect(await after.info()).toMatchObject({ life: 1, status: "idle", turns: 1 });
  expect(rig.daemon.bugs).toEqual([]);
});
