import { readFileSync } from "node:fs";
import { SessiondError, type Auth } from "@sessiond/shared";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { everywhere } from "../../packages/daemon/src/host/reach.ts";
import { removeRoot, startTestDaemon, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { at, hold, hostAuth, idOf, makeWorkdir, seatSecretOf } from "../support/gate-world.ts";
import { keysOnDisk, makeKey, opens, outcomeOf, revokeKey, rotateKey, type MadeKey } from "../support/key-world.ts";
import { StepwiseDisk, type Failure } from "../support/stepwise-disk.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** A key ends while a call that it was good for still waits for the disk; and disks that fail. */
let clock: FakeClock;
let disk: TrappedDisk;
let daemon: TestDaemon;
let workdir: string;
beforeEach(async () => {
  clock = new FakeClock();
  disk = new TrappedDisk();
  daemon = await startTestDaemon({ clock, disk });
  workdir = await makeWorkdir(daemon);
});
afterEach(async () => {
  disk.mend();
  await daemon.stop(0);
  await removeRoot(daemon.root);
});
const owner = (): Auth => hostAuth(daemon);
const startNew = (auth: Auth, letter = "A") => daemon.call("start_session", { request_id: idOf("req", letter), workdir, model: "practice" }, auth);
/** So that the next change of the file is the one that a test asks for. */
async function lastUseWritten({ id, auth }: MadeKey): Promise<void> {
  await opens(daemon, auth);
  await expect.poll(() => keysOnDisk(daemon).keys.find((key) => key.key_id === id)?.last_used_at).toBe(clock.now());
}
const listed = async () => (await daemon.call("list_sessions", {}, owner())).sessions;

describe("nothing that a key asked for happens after its revocation was acknowledged", () => {
  for (const [what, step, file, skip] of [
    ["before it made anything", "replace", "/open/", 0],
    ["before its token was made", "sync", "/journal", 0],
    ["with its token made", "replace", "session.json", 0],
    ["with its first frame made", "sync", "/journal", 1],
  ] as const)
    test(`B4 a start that waits for the disk ${what}: it is refused, and there is no session`, async () => {
      const made = await makeKey(daemon);
      const held = disk.hold(step, file, skip);
      const started = outcomeOf(startNew(made.auth));
      await held.reached;
      await revokeKey(daemon, made);
      held.release();
      expect(await started).toBe("unauthenticated");
      expect(await listed()).toEqual([]);
      expect(daemon.bugs).toEqual([]);
    });

  test("B4 the next life of a session that waits for the disk: it does not begin", async () => {
    const made = await makeKey(daemon);
    const { session } = await startNew(made.auth);
    const { session_id } = session;
    await daemon.call("stop", { session_id }, made.auth);
    const held = disk.hold("replace", `/open/${session_id}`);
    const started = outcomeOf(daemon.call("start_session", { request_id: idOf("req", "B"), session_id, model: "practice" }, made.auth));
    await held.reached;
    await revokeKey(daemon, made);
    held.release();
    expect(await started).toBe("unauthenticated");
    expect(await listed()).toMatchObject([{ session_id, life_state: "stopped" }]);
    expect((await daemon.call("session_data", { session_id }, owner())).frames.at(-1)?.event.type).toBe("session_stopped");
  });

  test("B4 a token or a key that waits for the disk behind the revocation: it is refused; one before it ends with the key", async () => {
    const made = await makeKey(daemon);
    const { session } = await startNew(owner());
    const { session_id } = session;
    await lastUseWritten(made);
    const held = disk.hold("replace", "keys.json");
    // The file's next changes, in this order: a child, the revocation, another child.
    const child = makeKey(daemon, { by: made.auth });
    await held.reached;
    const ending = revokeKey(daemon, made);
    const late = outcomeOf(makeKey(daemon, { by: made.auth }));
    held.release();
    const { id, auth } = await child;
    expect((await ending).revoked).toContain(id);
    expect(await late).toBe("unauthenticated");
    expect(await opens(daemon, auth)).toBe("unauthenticated");
    expect(keysOnDisk(daemon).keys.every((key) => key.revoked_at !== undefined)).toBe(true);
    const other = await makeKey(daemon);
    const waiting = disk.hold("replace", "session.json");
    const first = daemon.call("mint_token", { session_id, right: "view", label: "l" }, owner());
    await waiting.reached;
    const second = outcomeOf(daemon.call("mint_token", { session_id, right: "view", label: "l" }, other.auth));
    await revokeKey(daemon, other);
    waiting.release();
    await first;
    expect(await second).toBe("unauthenticated");
  });

  test("B4 changes of keys that wait behind a rotation, asked for with the secret that it ends: they are refused, and the new secret counts", async () => {
    const made = await makeKey(daemon);
    const child = await makeKey(daemon, { by: made.auth });
    const ended = await makeKey(daemon, { by: made.auth });
    await revokeKey(daemon, ended);
    await lastUseWritten(made);
    const held = disk.hold("replace", "keys.json");
    const rotated = rotateKey(daemon, made);
    await held.reached;
    const late = [
      rotateKey(daemon, made, 0, made.auth),
      revokeKey(daemon, child, made.auth),
      makeKey(daemon, { by: made.auth }),
      daemon.call("delete_key", { key_id: ended.id }, made.auth),
    ].map(outcomeOf);
    // The gate has let them in by then, and they wait for the file; a new key's roots are still looked at, and it may come to either.
    await new Promise(setImmediate);
    held.release();
    expect(await Promise.all(late)).toEqual(Array(4).fill("unauthenticated"));
    expect([await opens(daemon, (await rotated).auth), await opens(daemon, child.auth)]).toEqual(["ok", "ok"]);
    expect(keysOnDisk(daemon).keys).toHaveLength(3);
  });

  test("B4 a call that waits for its session while the key ends: it is refused, and its handler does not run", async () => {
    const made = await makeKey(daemon);
    const { session } = await startNew(owner());
    const { session_id } = session;
    const settled = daemon.host.settled.bind(daemon.host);
    let goOn = (): void => undefined;
    const waits = new Promise<void>((resolve) => (goOn = resolve));
    // As long as its opening lasts, the gate waits for it.
    daemon.host.settled = async (id) => (await waits, settled(id));
    const late = [daemon.call("stop", { session_id }, made.auth), daemon.call("list_tokens", { session_id }, made.auth)].map(outcomeOf);
    await revokeKey(daemon, made);
    goOn();
    expect(await Promise.all(late)).toEqual(["unauthenticated", "unauthenticated"]);
    expect(await listed()).toMatchObject([{ life_state: "live" }]);
  });

  /** The daemon waits in this step of the host until told to go on; `reached` resolves when a call is there. */
  function waitingIn(step: "stop" | "session"): { reached: Promise<void>; goOn: () => void } {
    let reach = (): void => undefined;
    let goOn = (): void => undefined;
    const reached = new Promise<void>((resolve) => (reach = resolve));
    const waits = new Promise<void>((resolve) => (goOn = resolve));
    const { host } = daemon;
    if (step === "session") {
      const session = host.session.bind(host);
      host.session = async (...args) => (reach(), await waits, session(...args));
    } else {
      const stop = host.stop.bind(host);
      host.stop = (...args) => {
        // Its turn comes behind this.
        void host.serial.run(args[0], () => waits);
        reach();
        return stop(...args);
      };
    }
    return { reached, goOn };
  }

  for (const [verb, step] of [
    ["stop", "stop"],
    ["stop_workdir_session", "stop"],
    ["interrupt", "session"],
    ["forget_rule", "session"],
  ] as const)
    for (const who of ["a key", "a secret that is rotated out", "a token", "a child of a token"] as const) {
      // A session's rules and turns are no business of a key's, and a directory's session none of a token's.
      if (who.includes("token") ? verb === "stop_workdir_session" : verb === "forget_rule" || verb === "interrupt") continue;
      test(`B4 ${verb} by ${who} that ends while the call waits for its turn: it is refused, and the session works on`, async () => {
        const { session } = await daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, owner());
        const { session_id } = session;
        const made = await makeKey(daemon);
        const given = await daemon.call("mint_token", { session_id, right: "control", label: "given" }, owner());
        const child = await daemon.call("mint_token", { session_id, right: "control", label: "child" }, { token: given.token });
        const by: Auth = who === "a token" ? { token: given.token } : who === "a child of a token" ? { token: child.token } : made.auth;
        const ending = {
          "a key": () => revokeKey(daemon, made),
          "a secret that is rotated out": () => rotateKey(daemon, made),
          "a token": () => daemon.call("revoke_token", { session_id, token_id: given.record.token_id }, owner()),
          "a child of a token": () => daemon.call("revoke_token", { session_id, token_id: given.record.token_id }, owner()),
        };
        const asking = {
          stop: () => daemon.call("stop", { session_id }, by),
          stop_workdir_session: () => daemon.call("stop_workdir_session", { workdir }, by),
          interrupt: () => daemon.call("interrupt", { session_id, turn_id: idOf("trn", "T") }, by),
          forget_rule: () => daemon.call("forget_rule", { session_id, rule_id: idOf("rul", "R") }, by),
        };
        const { reached, goOn } = waitingIn(step);
        const asked = outcomeOf(asking[verb]());
        // One that the gate refuses never comes there.
        await Promise.race([reached, asked]);
        await ending[who]();
        goOn();
        expect(await asked).toBe("unauthenticated");
        expect((await daemon.call("session_info", { session_id }, owner())).life_state).toBe("live");
        expect(daemon.bugs).toEqual([]);
      });
    }

  test("B4 a stream that was opened beside the revocation ends too", async () => {
    const made = await makeKey(daemon);
    const { session, token } = await startNew(made.auth);
    const held = disk.hold("replace", "keys.json");
    const ending = revokeKey(daemon, made);
    await held.reached;
    const seat = await hold(daemon, { session_id: session.session_id, role: "viewer" }, { token, seat_secret: seatSecretOf("A") });
    const stream = await daemon.stream("watch_sessions", {}, made.auth, new AbortController().signal);
    const iterator = stream[Symbol.asyncIterator]();
    await iterator.next();
    const next = iterator.next().catch((error: Error) => error.cause);
    held.release();
    await ending;
    expect(await next).toMatchObject({ code: "token_ended", detail: { cause: "revoked" } });
    expect(await seat.ended).toMatchObject({ code: "token_ended", detail: { cause: "revoked" } });
  });

  test("B4 a stream whose key ended before its list was made gets no list", async () => {
    await startNew(owner());
    const ended = new SessiondError("token_ended", { cause: "revoked" });
    const items = daemon.host.room.watch({ reach: everywhere }, undefined, { signal: AbortSignal.abort(ended), ready: () => Promise.resolve() });
    await expect(items.next()).rejects.toBe(ended);
  });

  test("B4 tokens of sessions that are not in memory end too: they are judged when they are read again", async () => {
    await daemon.stop(0);
    daemon = await startTestDaemon({ root: daemon.root, clock, disk, limits: { credentials_idle_max: 1 } });
    const made = await makeKey(daemon);
    const started = [];
    for (const letter of ["A", "B", "C", "D"]) started.push(await startNew(made.auth, letter));
    for (const { session } of started) await daemon.call("stop", { session_id: session.session_id }, owner());
    await revokeKey(daemon, made);
    for (const { session, token } of started)
      expect(await outcomeOf(daemon.call("authorize", { session_id: session.session_id }, { token }))).toBe("unauthenticated");
  });
});

describe("a disk that fails", () => {
  test("B38 a revocation, a rotation or a new key that is not written did not happen, and says so", async () => {
    const made = await makeKey(daemon);
    await lastUseWritten(made);
    for (const change of [() => revokeKey(daemon, made), () => rotateKey(daemon, made), () => makeKey(daemon)]) {
      void disk.fail("replace", "keys.json", { code: "ENOSPC" });
      expect(await outcomeOf(change())).toBe("storage_failed");
    }
    expect(await opens(daemon, made.auth)).toBe("ok");
    expect(keysOnDisk(daemon).keys).toHaveLength(1);
    await revokeKey(daemon, made);
    expect(await opens(daemon, made.auth)).toBe("unauthenticated");
  });

  test("B38 last uses that cannot be written keep nobody out", async () => {
    const made = await makeKey(daemon);
    void disk.fail("replace", "keys.json", { code: "ENOSPC", times: Number.POSITIVE_INFINITY });
    for (let call = 0; call < 3; call++) expect(await opens(daemon, made.auth)).toBe("ok");
    disk.mend();
    await expect.poll(async () => (await opens(daemon, made.auth), keysOnDisk(daemon).keys[0]?.last_used_at)).toBe(clock.now());
  });

  for (const how of ["once, before", "once, after", "from then on"] satisfies Failure[])
    test(`B38 the host key's rotation fails (${how}): the key that is in the file is the one that counts, and it says that it failed`, async () => {
      await daemon.stop(0);
      const stepwise = new StepwiseDisk();
      daemon = await startTestDaemon({ root: daemon.root, disk: stepwise });
      stepwise.arm(1, how);
      expect(await outcomeOf(daemon.call("rotate_host_key", {}, owner()))).toBe("storage_failed");
      stepwise.disarm();
      expect(await opens(daemon, { host_key: readFileSync(at(daemon, "host-key"), "utf8").trim() })).toBe("ok");
      expect(await opens(daemon, owner())).toBe(how === "once, after" ? "unauthenticated" : "ok");
    });
});
