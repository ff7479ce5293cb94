import { appendFileSync, existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { isSessiondError, limits } from "@sessiond/shared";
import { eventually } from "../support/eventually.ts";
import { endRigs, Rig, type RigOptions } from "../support/session-rig.ts";
import { StepwiseDisk } from "../support/stepwise-disk.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { Watcher } from "../support/watcher.ts";

/** A session that never had a turn is deleted an hour after its last seat left, whole or not at all. */
afterEach(endRigs);

const hour = limits.unused_delete_ms;
const auto = { script: { auto: (turn: { say(text: string): Promise<void>; end(): void }) => void turn.say("done").then(() => turn.end()) } };
const owner = (rig: Rig) => ({ host_key: rig.daemon.hostKey });
const at = (rig: Rig, ...path: string[]) => join(rig.daemon.root, "state/sessiond", ...path);
const listed = async (rig: Rig) => (await rig.daemon.call("list_sessions", {}, owner(rig))).sessions.map(({ session_id }) => session_id);
const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "ok",
    (error: unknown) => (isSessiondError(error) ? error.code : String(error)),
  );

/** Time goes by; resolves when what was due then has been judged, and done. */
async function pass(rig: Rig, ms: number): Promise<void> {
  rig.clock.advance(ms);
  await new Promise((resolve) => setImmediate(resolve));
  await rig.daemon.host.resting.settled();
}

/** Everything that was open is open again, and what was due has gone. */
async function started(rig: Rig): Promise<Rig> {
  await eventually("it is ready", async () => (await rig.daemon.call("daemon_status", {}, owner(rig))).ready);
  await pass(rig, 0);
  return rig;
}

/** What is left of it anywhere. */
function traces(rig: Rig): string[] {
  return ["sessions", "open", "unused"].filter((place) => readdirSync(at(rig, place)).some((name) => name.startsWith(rig.sessionId)));
}

async function gone(rig: Rig): Promise<void> {
  expect(await listed(rig)).not.toContain(rig.sessionId);
  const named = { session_id: rig.sessionId };
  expect(await codeOf(rig.daemon.call("session_info", named, owner(rig)))).toBe("not_found");
  expect(await codeOf(rig.daemon.call("authorize", named, { token: rig.token }))).toBe("unauthenticated");
  expect(await codeOf(rig.attach("late"))).toBe("unauthenticated");
  expect(await codeOf(rig.daemon.call("stop", named, owner(rig)))).toBe("not_found");
  expect(await codeOf(rig.daemon.call("mint_token", { ...named, right: "view", label: "late" }, owner(rig)))).toBe("not_found");
  await eventually("its files are gone", () => traces(rig).length === 0);
}

test("B13 without a turn it is deleted an hour after its last seat left: nothing of it answers, and its directory gets another session", async () => {
  const rig = await Rig.start();
  const watcher = await Watcher.open(rig.daemon);
  await pass(rig, hour / 2);
  await (await rig.driver()).detach();
  await pass(rig, hour - 1);
  expect(await listed(rig)).toEqual([rig.sessionId]);
  await pass(rig, 1);
  await watcher.of("session_deleted");
  expect(watcher.sessions.size).toBe(0);
  await gone(rig);
  const before = rig.sessionId;
  expect(await rig.startSession()).toMatchObject({ created: true, session: { life: 1, seq: 1 } });
  expect(rig.sessionId).not.toBe(before);
  expect(rig.daemon.bugs).toEqual([]);
});

test("B13 its mark is on disk while it rests, and not while it is in memory", async () => {
  const rig = await Rig.start();
  const session = rig.daemon.host.inMemory(rig.sessionId);
  const marked = () => existsSync(at(rig, "unused", rig.sessionId));
  expect(marked()).toBe(false);
  if (session !== undefined) await rig.daemon.host.rest(session);
  expect(marked()).toBe(true);
  await rig.driver();
  expect(marked()).toBe(false);
});

test("B13 one that no seat ever took is deleted an hour after its start", async () => {
  const rig = await Rig.start();
  await pass(rig, hour - 1);
  expect(await listed(rig)).toEqual([rig.sessionId]);
  await pass(rig, 1);
  await gone(rig);
});

test("B13 a stopped one without a turn is deleted too", async () => {
  const rig = await Rig.start();
  await rig.stop();
  await pass(rig, hour - 1);
  expect(await listed(rig)).toEqual([rig.sessionId]);
  await pass(rig, 1);
  await gone(rig);
});

test("B13 who was given a token in that hour finds the session still: it runs anew from there", async () => {
  const rig = await Rig.start();
  await pass(rig, hour - 1);
  await rig.startSession();
  await pass(rig, hour - 1);
  const { token } = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: "page" }, owner(rig));
  await pass(rig, hour - 1);
  expect(await codeOf(rig.daemon.call("authorize", { session_id: rig.sessionId }, { token }))).toBe("ok");
  await pass(rig, 1);
  await gone(rig);
});

describe("kept", () => {
  const keeps: Record<string, (rig: Rig) => Promise<unknown>> = {
    "had a turn": async (rig) => {
      const driver = await rig.driver();
      await driver.prompt("hello");
      (await rig.kind.turn()).end();
      await driver.event("turn_ended");
      await driver.detach();
    },
    "had a turn that failed": async (rig) => {
      const driver = await rig.driver();
      await driver.prompt("hello");
      (await rig.kind.turn()).end("refusal");
      await driver.event("turn_ended");
      await driver.detach();
    },
    "has a turn that does not end": async (rig) => {
      const driver = await rig.driver();
      await driver.prompt("hello");
      await rig.kind.turn();
      await driver.detach();
    },
    "had a turn and was stopped": async (rig) => {
      const driver = await rig.driver();
      await driver.prompt("hello");
      (await rig.kind.turn()).end();
      await driver.event("turn_ended");
      await rig.stop();
    },
    "has somebody in it": (rig) => rig.attach("viewer"),
  };
  for (const [what, make] of Object.entries(keeps)) {
    test(`B13 B47 a session that ${what} is not deleted, however long nobody comes, nor by a start`, async () => {
      const rig = await Rig.start();
      await make(rig);
      for (let times = 0; times < 6; times++) await pass(rig, hour);
      expect(await listed(rig)).toEqual([rig.sessionId]);
      const after = await started(await rig.crash());
      for (let times = 0; times < 6; times++) await pass(after, 10 * hour);
      if (what !== "has somebody in it") expect(await listed(after)).toEqual([rig.sessionId]);
      expect(rig.daemon.bugs).toEqual([]);
    });
  }

  test("B12 B13 one whose journal is damaged is evidence, and is kept; so is one beside which something was set aside", async () => {
    const damages: ((rig: Rig) => void)[] = [
      (rig) => appendFileSync(rig.journalPath, '{"seq":2,"at":1,"event":{}}\n{"no":"frame"}\nmore\n'),
      (rig) => writeFileSync(rig.journalPath, ""),
      (rig) => rmSync(rig.journalPath),
      (rig) => writeFileSync(at(rig, "sessions", rig.sessionId, "journal.damaged-17"), "evidence"),
      (rig) => writeFileSync(at(rig, "sessions", rig.sessionId, "session.json"), "no json"),
    ];
    for (const [index, damage] of damages.entries()) {
      const rig = await Rig.start();
      await rig.daemon.stop(0);
      damage(rig);
      const after = await started(await Rig.restart(rig.daemon.root, rig));
      await pass(after, 2 * hour);
      expect(await listed(after), `damage ${index}`).toEqual([rig.sessionId]);
      expect(existsSync(at(after, "sessions", rig.sessionId)), `damage ${index}`).toBe(true);
      expect(after.daemon.bugs).toEqual([]);
    }
  });
});

describe("across starts", () => {
  const ends: Record<string, (rig: Rig) => Promise<Rig>> = {
    "a restart": async (rig) => {
      await rig.daemon.stop(0);
      return Rig.restart(rig.daemon.root, rig);
    },
    "a crash": (rig) => rig.crash(),
  };
  for (const [end, again] of Object.entries(ends)) {
    test(`B13 the hour goes on through ${end}, and what is due at the start goes without a call`, async () => {
      const rig = await Rig.start();
      await pass(rig, hour / 2);
      const after = await started(await again(rig));
      await pass(after, hour / 2 - 1);
      expect(await listed(after)).toEqual([rig.sessionId]);
      await pass(after, 1);
      await gone(after);
      // And one whose time is up when the daemon starts.
      await mkdir(after.workdir, { recursive: true });
      await after.startSession();
      await after.daemon.stop(0);
      after.clock.advance(2 * hour);
      const late = await started(await Rig.restart(after.daemon.root, after));
      await gone(late);
      expect(late.daemon.bugs).toEqual([]);
    });
  }
});

describe("all or nothing", () => {
  const unused: RigOptions = { limits: { rest_after_ms: 10 * hour } };
  for (const how of ["once, before", "once, after", "from then on"] as const) {
    test(`B13 B36 a deletion that fails at any step (${how}) leaves a whole session or none, also after a start, and a rebuilt registry brings none back`, async () => {
      let deleted = 0;
      let k = 1;
      for (; k < 60; k++) {
        const disk = new StepwiseDisk();
        const rig = await Rig.start({ ...unused, disk });
        const { sessionId } = rig;
        const watcher = await Watcher.open(rig.daemon);
        disk.arm(k, how);
        await pass(rig, hour);
        const step = disk.failed;
        const name = `step ${k} (${step ?? "none"})`;
        const told = watcher.types.includes("session_deleted");
        // As the machine stands at this instant.
        const root = await rig.copy();
        disk.disarm();
        if (told) expect(await listed(rig), name).toEqual([]);
        else expect(await codeOf(rig.info()), name).toBe("ok");
        const after = await started(await Rig.restart(root, rig));
        const left = await listed(after);
        if (told) expect(left, name).toEqual([]);
        if (left.length > 0) expect(await after.info(), name).toMatchObject({ session_id: sessionId, seq: 1, turns: 0 });
        else await gone(after);
        // A registry that is lost as well.
        await after.daemon.stop(0);
        rmSync(at(after, "registry.json"));
        const rebuilt = await started(await Rig.restart(root, after));
        if (left.length === 0) expect(await listed(rebuilt), name).toEqual([]);
        deleted += told ? 1 : 0;
        if (step === null) break;
      }
      expect(k).toBeGreaterThan(8);
      expect(deleted).toBeGreaterThan(0);
    }, 60_000);
  }

  test("B13 B12 what a deletion had not yet removed is not brought back by a registry rebuilt at the same start", async () => {
    const disk = new TrappedDisk();
    const rig = await Rig.start({ ...unused, disk });
    const withdrawing = disk.hold("replace", "registry.json");
    rig.clock.advance(hour);
    await withdrawing.reached;
    const root = await rig.copy();
    withdrawing.release();
    await pass(rig, 0);
    rmSync(join(root, "state/sessiond/registry.json"));
    // Half of it was removed.
    rmSync(join(root, "state/sessiond/sessions", rig.sessionId, "journal"));
    const after = await started(await Rig.restart(root, rig));
    await gone(after);
  });
});

describe("races", () => {
  const named = (rig: Rig) => ({ session_id: rig.sessionId });
  const calls = (rig: Rig): Record<string, () => Promise<unknown>> => ({
    join: () => rig.daemon.call("start_or_get_for_workdir", { workdir: rig.workdir }, owner(rig)),
    again: () => rig.daemon.call("start_session", { request_id: `req_${"A".repeat(22)}`, ...named(rig) }, owner(rig)),
    mint: () => rig.daemon.call("mint_token", { ...named(rig), right: "control", label: "late" }, owner(rig)),
    attach: () => rig.attach("late"),
    drive: () => rig.driver("driver"),
    info: () => rig.daemon.call("session_info", named(rig), owner(rig)),
    stop: () => rig.daemon.call("stop_workdir_session", { workdir: rig.workdir }, owner(rig)),
  });

  const replies = {
    join: "ok",
    again: "not_found",
    mint: "not_found",
    attach: "unauthenticated",
    drive: "unauthenticated",
    info: "not_found",
    stop: "not_found",
  };
  for (const [place, file, skip] of [
    ["just before it is decided", "/unused/", 1],
    ["when it is decided", "registry.json", 0],
  ] as const) {
    test(`B13 calls that come while it is being deleted (${place}) wait, and find none: a start makes another, and every token that is given out works`, async () => {
      for (const [name, reply] of Object.entries(replies)) {
        const disk = new TrappedDisk();
        const rig = await Rig.start({ disk });
        const deleting = disk.hold("replace", file, skip);
        rig.clock.advance(hour);
        await deleting.reached;
        const late = calls(rig)[name]?.() ?? Promise.reject(new Error(name));
        const code = codeOf(late);
        await new Promise((resolve) => setImmediate(resolve));
        deleting.release();
        expect([name, await code]).toEqual([name, reply]);
        if (name === "join") {
          const { token, session, created } = (await late) as Awaited<ReturnType<Rig["startSession"]>>;
          expect([created, session.session_id === rig.sessionId]).toEqual([true, false]);
          expect(await codeOf(rig.daemon.call("authorize", { session_id: session.session_id }, { token }))).toBe("ok");
        }
        await gone(rig);
        expect(rig.daemon.bugs).toEqual([]);
      }
    });
  }

  test("B13 calls that were there first are served, and the session stays", async () => {
    for (const name of ["join", "mint", "drive"]) {
      const disk = new TrappedDisk();
      const rig = await Rig.start({ disk });
      await pass(rig, hour - 1);
      const storing = disk.hold("replace", "session.json");
      const early = calls(rig)[name]?.() ?? Promise.reject(new Error(name));
      await storing.reached;
      rig.clock.advance(1);
      await new Promise((resolve) => setImmediate(resolve));
      storing.release();
      const given = (await early) as { token?: string };
      await pass(rig, 0);
      expect([name, await listed(rig)]).toEqual([name, [rig.sessionId]]);
      if (given.token !== undefined) expect(await codeOf(rig.daemon.call("authorize", named(rig), { token: given.token }))).toBe("ok");
      expect(rig.daemon.bugs).toEqual([]);
    }
  });

  test("B13 B18 a request that is repeated after its session was deleted starts another", async () => {
    const rig = await Rig.start();
    const request = { request_id: `req_${"B".repeat(22)}`, workdir: rig.workdir };
    const first = await rig.daemon.call("start_session", request, owner(rig));
    rig.sessionId = first.session.session_id;
    await pass(rig, hour);
    await pass(rig, 0);
    expect(await listed(rig)).toEqual([]);
    const second = await rig.daemon.call("start_session", request, owner(rig));
    expect(second).toMatchObject({ created: true, session: { workdir: rig.workdir } });
    expect(second.session.session_id).not.toBe(first.session.session_id);
  });
});

test("B13 many at once, of which some were used: exactly the others go", async () => {
  const rig = await Rig.start(auto);
  const rigs = [rig];
  for (let made = 0; made < 11; made++) rigs.push(await rig.another(`work-${made}`));
  for (const each of rigs.filter((_, index) => index % 3 === 0)) {
    const driver = await each.driver();
    await driver.prompt("hello");
    await driver.event("turn_ended");
    await driver.detach();
  }
  const watcher = await Watcher.open(rig.daemon);
  await pass(rig, hour);
  await watcher.of("session_deleted", 8);
  expect((await listed(rig)).sort()).toEqual(
    rigs
      .filter((_, index) => index % 3 === 0)
      .map(({ sessionId }) => sessionId)
      .sort(),
  );
  expect(rig.daemon.bugs).toEqual([]);
});
