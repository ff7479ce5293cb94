import { readdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { removeRoot, startTestDaemon, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { StepwiseDisk, type Failure } from "../support/stepwise-disk.ts";
import { hostAuth, idOf, makeWorkdir } from "../support/gate-world.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

let disk: StepwiseDisk;
let daemon: TestDaemon;
let workdir: string;
beforeEach(async () => {
  disk = new StepwiseDisk();
  daemon = await startTestDaemon({ disk });
  workdir = await makeWorkdir(daemon);
});
afterEach(async () => {
  disk.disarm();
  await daemon.stop(0);
  await removeRoot(daemon.root);
});

const owner = () => hostAuth(daemon);
const request = (letter = "A") => ({ request_id: idOf("req", letter), workdir, model: "practice" });
const ways = {
  start_session: () => daemon.call("start_session", request(), owner()),
  start_or_get_for_workdir: () => daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, owner()),
};
const works = (session_id: string, token: string): Promise<string> =>
  daemon.call("authorize", { session_id }, { token }).then(
    () => "works",
    (error: { code: string }) => error.code,
  );

describe("start_session under its request id", () => {
  test("B4 B18 a repeat gives the same session and a new token, and the first reply's token is dead", async () => {
    const first = await ways.start_session();
    const again = await ways.start_session();
    expect(again).toMatchObject({ created: true, session: { session_id: first.session.session_id, life: 1 } });
    expect(again.token).not.toBe(first.token);
    const id = first.session.session_id;
    expect([await works(id, first.token), await works(id, again.token)]).toEqual(["unauthenticated", "works"]);
    expect(daemon.host.list()).toHaveLength(1);
  });

  test("B4 B18 also when both are under way at once, and after a restart", async () => {
    const [one, two] = await Promise.all([ways.start_session(), ways.start_session()]);
    await daemon.stop(0);
    daemon = await startTestDaemon({ root: daemon.root });
    const three = await ways.start_session();
    const id = three.session.session_id;
    expect([one.session.session_id, two.session.session_id]).toEqual([id, id]);
    expect(await Promise.all([one, two, three].map(({ token }) => works(id, token)))).toEqual(["unauthenticated", "unauthenticated", "works"]);
    expect(daemon.host.list()).toHaveLength(1);
  });

  test("B18 the same id for another directory or another session is a conflict, and nothing is made", async () => {
    const first = await ways.start_session();
    const other = await daemon.call("start_session", { ...request("B"), workdir: await makeWorkdir(daemon, "other") }, owner());
    const elsewhere = { ...request(), workdir: await makeWorkdir(daemon, "elsewhere") };
    await expect(daemon.call("start_session", elsewhere, owner())).rejects.toMatchObject({ code: "conflict" });
    await expect(daemon.call("start_session", { request_id: request().request_id, session_id: other.session.session_id }, owner())).rejects.toMatchObject({
      code: "conflict",
    });
    expect(daemon.host.list()).toHaveLength(2);
    expect(await works(first.session.session_id, first.token)).toBe("works");
  });

  test("B18 the next life of a session is idempotent in the same way", async () => {
    const { session } = await ways.start_or_get_for_workdir();
    const { session_id } = session;
    await daemon.call("stop", { session_id }, owner());
    const next = () => daemon.call("start_session", { request_id: idOf("req", "N"), session_id, model: "practice" }, owner());
    const first = await next();
    const again = await next();
    expect([first, again]).toMatchObject([
      { created: true, session: { life: 2 } },
      { created: true, session: { life: 2 } },
    ]);
    expect([await works(session_id, first.token), await works(session_id, again.token)]).toEqual(["unauthenticated", "works"]);
  });

  test("B18 neither directory nor session, or both, is a bad request", async () => {
    const { session } = await ways.start_or_get_for_workdir();
    const { request_id } = request();
    for (const input of [{ request_id }, { request_id, workdir, session_id: session.session_id }])
      await expect(daemon.call("start_session", input, owner())).rejects.toMatchObject({ code: "bad_request" });
  });
});

/** Fails one step after the other of a call until it needs no further one; what `check` finds must hold each time. */
async function atEveryStep(how: Failure, call: () => Promise<unknown>, check: (failed: boolean, step: string) => Promise<void>): Promise<number> {
  for (let k = 1; k < 100; k++) {
    disk.arm(k, how);
    const error: unknown = await call().then(
      () => null,
      (reason: unknown) => reason,
    );
    const step = disk.failed;
    disk.disarm();
    const name = `step ${k} (${step ?? "none"}), ${how}`;
    if (error !== null) expect(error, name).toMatchObject({ code: "storage_failed", detail: { reason: expect.stringContaining("ENOSPC") as string } });
    await check(error !== null, name);
    if (step === null) return k;
  }
  throw new Error("no end of steps");
}

async function restart(): Promise<void> {
  await daemon.stop(0);
  disk = new StepwiseDisk();
  daemon = await startTestDaemon({ root: daemon.root, disk });
}

/** Every session that is listed can be read, whole. */
async function wholeSessions(name: string): Promise<number> {
  const { sessions } = await daemon.call("list_sessions", {}, owner());
  for (const { session_id } of sessions)
    expect((await daemon.call("session_data", { session_id }, owner())).frames[0]?.event.type, name).toBe("session_started");
  return sessions.length;
}

for (const [way, start] of Object.entries(ways)) {
  for (const how of ["once, before", "once, after", "from then on"] as const) {
    test(`B38 ${way} is all or nothing when the disk fails at any step (${how}), and may be tried again`, async () => {
      const steps = await atEveryStep(how, start, async (failed, name) => {
        if (failed) expect(daemon.host.list(), name).toEqual([]);
        const { session, token } = await start();
        expect(await works(session.session_id, token), name).toBe("works");
        expect(await wholeSessions(name), name).toBe(1);
        expect(daemon.bugs, name).toEqual([]);
        // A house of its own for the next step.
        await daemon.stop(0);
        await removeRoot(daemon.root);
        daemon = await startTestDaemon({ disk });
        workdir = await makeWorkdir(daemon);
      });
      expect(steps).toBeGreaterThan(6);
    });

    test(`B38 after ${way} failed (${how}) and the daemon was started again, no half session is listed, and the retry works`, async () => {
      await atEveryStep(how, start, async (failed, name) => {
        await restart();
        const listed = await wholeSessions(name);
        if (failed && how === "once, before") expect(listed, name).toBe(0);
        const { session, token } = await start();
        expect(await works(session.session_id, token), name).toBe("works");
        expect(daemon.host.list(), name).toHaveLength(1);
        expect(daemon.bugs, name).toEqual([]);
        await daemon.stop(0);
        await removeRoot(daemon.root);
        disk = new StepwiseDisk();
        daemon = await startTestDaemon({ disk });
        workdir = await makeWorkdir(daemon);
      });
    });
  }
}

test("B38 a stop that the disk refused can be repeated, and the next life begins only after it", async () => {
  const { session } = await ways.start_or_get_for_workdir();
  const { session_id } = session;
  await atEveryStep(
    "once, before",
    () => daemon.call("stop", { session_id }, owner()),
    async (_failed, name) => {
      const stopped = await daemon.call("stop", { session_id }, owner());
      expect(await daemon.call("stop", { session_id }, owner()), name).toEqual(stopped);
      const next = await ways.start_or_get_for_workdir();
      expect(next, name).toMatchObject({ created: true, session: { session_id, life: stopped.life + 1, life_state: "live" } });
    },
  );
});

test("B38 a next life that the disk refused begins when it is tried again, also without the stop repeated", async () => {
  const { session } = await ways.start_or_get_for_workdir();
  const { session_id } = session;
  let life = 1;
  const begin = () => ways.start_or_get_for_workdir();
  await daemon.call("stop", { session_id }, owner());
  await atEveryStep("once, before", begin, async (_failed, name) => {
    const next = await begin();
    life += 1;
    expect(next.session, name).toMatchObject({ session_id, life, life_state: "live" });
    // The registry may fail while the journal has the end already: the next start must not join the dead.
    disk.arm(3, "once, before");
    await daemon.call("stop", { session_id }, owner()).catch(() => undefined);
    disk.disarm();
    const { life_state } = await daemon.call("session_info", { session_id }, owner());
    if (life_state === "live") await daemon.call("stop", { session_id }, owner());
  });
});

test("B10 starts on a directory whose session is being made wait for it, and get that one", async () => {
  const held = new TrappedDisk();
  const slow = await startTestDaemon({ disk: held });
  try {
    const place = await makeWorkdir(slow);
    const start = () => slow.call("start_or_get_for_workdir", { workdir: place, model: "practice" }, hostAuth(slow));
    const first = held.hold("write", "journal");
    const maker = start();
    await first.reached;
    const others = Array.from({ length: 20 }, start);
    // They have looked up the directory themselves by then, and would make one each.
    for (let looks = 0; looks < 100; looks++) await realpath(place);
    first.release();
    const { created, session } = await maker;
    expect(created).toBe(true);
    for (const other of await Promise.all(others)) expect(other).toMatchObject({ created: false, session: { session_id: session.session_id } });
    expect(slow.host.list()).toHaveLength(1);
  } finally {
    held.mend();
    await slow.stop(0);
    await removeRoot(slow.root);
  }
});

test("B40 a creation under way while the daemon drains is answered, and its session put to rest like the others", async () => {
  const held = new TrappedDisk();
  const draining = await startTestDaemon({ disk: held });
  try {
    const first = held.hold("write", "journal");
    const created = draining.call("start_session", { ...request(), workdir: await makeWorkdir(draining) }, hostAuth(draining));
    await first.reached;
    const stopped = draining.stop(0);
    first.release();
    const { session } = await created;
    await stopped;
    expect(await readdir(join(draining.root, "state/sessiond/open"))).toEqual([]);
    const again = await startTestDaemon({ root: draining.root });
    expect(again.host.list()).toMatchObject([{ session_id: session.session_id, life_state: "resting" }]);
    await again.stop(0);
  } finally {
    await removeRoot(draining.root);
  }
});
