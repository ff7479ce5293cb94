import { createHash } from "node:crypto";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { checksum, limits, stateFormat, type Auth } from "@sessiond/shared";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { removeRoot, startTestDaemon, type TestDaemon, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { at, eventsOf, filesOf, hold, hostAuth, idOf, makeWorkdir, seatSecretOf, type Held } from "../support/gate-world.ts";
import { JumpingClock } from "../support/jumping-clock.ts";
import { keysOnDisk, makeKey, opens, outcomeOf, revokeKey, rotateKey, type MadeKey } from "../support/key-world.ts";

/** API keys: how they are made, kept, renewed and ended, and what ends with them. */
let clock: JumpingClock;
let daemon: TestDaemon;
beforeEach(async () => void ((clock = new JumpingClock()), (daemon = await start())));
afterEach(async () => {
  await daemon.stop(0);
  await removeRoot(daemon.root);
});
const start = (options: TestOptions = {}): Promise<TestDaemon> =>
  startTestDaemon({ clock, ...options, limits: { unused_delete_ms: 365 * 86_400_000, ...options.limits } });
async function restart(options: TestOptions = {}): Promise<void> {
  await daemon.stop(0);
  daemon = await start({ root: daemon.root, ...options });
}
const owner = (): Auth => hostAuth(daemon);
const records = async (auth: Auth = owner()) => (await daemon.call("list_keys", {}, auth)).keys;
const recordOf = async ({ id }: MadeKey) => (await records()).find(({ key_id }) => key_id === id);
const startIn = async (auth: Auth, name = "work") =>
  daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon, name), model: "practice" }, auth);
const mint = (session_id: string, auth: Auth, right: "view" | "control" = "control") => daemon.call("mint_token", { session_id, right, label: "minted" }, auth);
const worksFor = (session_id: string, token: string): Promise<string> => outcomeOf(daemon.call("authorize", { session_id }, { token }));
const minute = 60_000;

/** Everything that was written anywhere under the daemon's directories, audit included. */
const allFiles = (): string => Object.values(filesOf(daemon.root, () => false)).join("\n");

/** The sessions that a key watches; `ended` resolves with what the stream ended with. */
async function watch(auth: Auth): Promise<{ ended: Promise<unknown>; close(): void }> {
  const leaving = new AbortController();
  const stream = await daemon.stream("watch_sessions", {}, auth, leaving.signal);
  const iterator = stream[Symbol.asyncIterator]();
  await iterator.next();
  const ended = (async () => {
    try {
      while ((await iterator.next()).done !== true);
      return null;
    } catch (error) {
      return error instanceof Error ? error.cause : error;
    }
  })();
  return { ended, close: () => leaving.abort() };
}
const ends = (cause: string) => expect.objectContaining({ code: "token_ended", detail: { cause } });

describe("what a key is", () => {
  test("B2 it is shown once, whole and sealed; the disk has its hash and nothing else of it, in a file of the owner's alone", async () => {
    const made = await makeKey(daemon, { name: "ci", ttl_ms: minute });
    expect(made.key).toMatch(/^ssdk_key_[0-9A-Za-z]{22,40}_[0-9A-Za-z]{38}$/);
    expect(made.key).toContain(made.id);
    expect(made.key.slice(-6)).toBe(checksum(made.key.slice(0, -6)));
    await opens(daemon, made.auth);
    await rotateKey(daemon, made, minute);
    await revokeKey(daemon, made);
    await restart();
    const files = allFiles();
    expect(files).toContain(createHash("sha256").update(made.key).digest("hex"));
    expect(files).not.toContain(made.key.slice(made.key.indexOf(made.id) + made.id.length + 1, -6));
    expect((await stat(at(daemon, "keys.json"))).mode & 0o777).toBe(0o600);
  });

  test("B4 it is listed with name, scopes, roots, expiry and last use, and without its secret or the hash of it", async () => {
    const made = await makeKey(daemon, { name: "ci", scopes: ["sessions:list", "sessions:list", "keys:admin"], ttl_ms: 10 * minute });
    expect(made.record).toEqual({
      key_id: made.id,
      name: "ci",
      scopes: ["sessions:list", "keys:admin"],
      roots: [daemon.root],
      created_at: clock.now(),
      last_used_at: null,
      expires_at: clock.now() + 10 * minute,
    });
    clock.advance(minute);
    await opens(daemon, made.auth);
    const list = await records();
    expect(list).toEqual([{ ...made.record, last_used_at: clock.now() }]);
    expect(JSON.stringify(list)).not.toMatch(/hash|[0-9a-f]{64}|ssdk_/);
  });

  test("B4 its last use outlives a restart, also when that was no more than a moment ago", async () => {
    const made = await makeKey(daemon);
    await opens(daemon, made.auth);
    clock.advance(1_234);
    await opens(daemon, made.auth);
    const used = clock.now();
    await restart();
    expect(await recordOf(made)).toMatchObject({ last_used_at: used });
  });
});

describe("how many there are", () => {
  const ids = async () => (await records()).map(({ key_id }) => key_id);
  const refusal = (limit: string, value: number) =>
    expect.objectContaining({
      code: "limit_reached",
      detail: expect.objectContaining({ limit, value, unit: "keys" }),
      message: expect.stringMatching(/`sessiond key ls`.*`sessiond key revoke`/),
    });

  test("B4 B7 as many live as the limit says; those that have ended are kept until a new one needs the place, and go in the order of their ends", async () => {
    await restart({ limits: { keys_max: 4 } });
    const made = [await makeKey(daemon), await makeKey(daemon, { ttl_ms: 1.5 * minute }), await makeKey(daemon), await makeKey(daemon)] as const;
    await expect(makeKey(daemon)).rejects.toEqual(refusal("keys_max", 4));
    expect(await ids()).toEqual(made.map(({ id }) => id));
    clock.advance(minute);
    await revokeKey(daemon, made[3]);
    clock.advance(minute);
    await revokeKey(daemon, made[0]);
    // The one that expired was made before the others ended, and ended between them.
    expect(await ids()).toEqual(made.map(({ id }) => id));
    const left = [];
    for (let each = 0; each < 3; each++) {
      await makeKey(daemon);
      left.push(made.filter(({ id }) => keysOnDisk(daemon).keys.some(({ key_id }) => key_id === id)).map(({ id }) => made.findIndex((one) => one.id === id)));
    }
    expect(left).toEqual([[0, 1, 2], [0, 2], [2]]);
    expect(await outcomeOf(makeKey(daemon))).toBe("limit_reached");
    expect(await opens(daemon, made[2].auth)).toBe("ok");
  });

  test("B4 B7 keys that keys made have a part of the places, at whatever remove, and push out none but their like: the owner always has room", async () => {
    await restart({ limits: { keys_max: 5, keys_of_keys_max: 2 } });
    const revoked = await makeKey(daemon);
    await revokeKey(daemon, revoked);
    const maker = await makeKey(daemon, { scopes: ["keys:admin"] });
    const byKey = (by: MadeKey) => makeKey(daemon, { by: by.auth, scopes: ["keys:admin"] });
    const child = await byKey(maker);
    const grandchild = await byKey(child);
    for (const by of [maker, child, grandchild]) await expect(byKey(by)).rejects.toEqual(refusal("keys_of_keys_max", 2));
    // One that was revoked goes for the next, and no other that has ended.
    await revokeKey(daemon, grandchild, maker.auth);
    const next = await byKey(maker);
    expect(await ids()).toEqual([revoked.id, maker.id, child.id, next.id]);
    const own = await makeKey(daemon);
    await expect(byKey(maker)).rejects.toEqual(refusal("keys_of_keys_max", 2));
    await revokeKey(daemon, next);
    expect(await ids()).toEqual([revoked.id, maker.id, child.id, next.id, own.id]);
    const again = await makeKey(daemon);
    expect(await ids()).toEqual([maker.id, child.id, next.id, own.id, again.id]);
    // Ended with what it made, it goes with it.
    await revokeKey(daemon, maker);
    const last = await makeKey(daemon);
    expect(await ids()).toEqual([own.id, again.id, last.id]);
    expect(daemon.bugs).toEqual([]);
  });

  test("B4 B7 where they have fewer places still, because the owner's keys take the rest, keys push out none of the owner's", async () => {
    await restart({ limits: { keys_max: 3, keys_of_keys_max: 2 } });
    const [maker, ended] = [await makeKey(daemon), await makeKey(daemon)];
    await revokeKey(daemon, ended);
    await makeKey(daemon, { by: maker.auth });
    await expect(makeKey(daemon, { by: maker.auth })).rejects.toEqual(refusal("keys_max", 3));
    expect(await ids()).toContain(ended.id);
    expect(await outcomeOf(makeKey(daemon))).toBe("ok");
  });

  test("B4 one that ended this very moment is forgotten only when all that hung on it has been told", async () => {
    await restart({ limits: { keys_max: 1 } });
    const made = await makeKey(daemon, { ttl_ms: minute });
    const { session, token } = await startIn(made.auth);
    const { session_id } = session;
    const seat = await hold(daemon, { session_id, role: "viewer" }, { token, seat_secret: seatSecretOf("A") });
    const stream = await watch(made.auth);
    // No timer has told of it.
    clock.jump(minute);
    await makeKey(daemon);
    expect(await recordOf(made)).toBeUndefined();
    expect((await daemon.call("session_info", { session_id }, owner())).seats).toEqual([]);
    for (const { ended } of [seat, stream]) expect(await ended).toEqual(ends("expired"));
  });
});

describe("how it ends", () => {
  test("B1 B4 revoked, it is refused at once, stays listed as revoked, and only then can be deleted", async () => {
    const made = await makeKey(daemon);
    await expect(daemon.call("delete_key", { key_id: made.id }, owner())).rejects.toMatchObject({ code: "conflict" });
    expect(await opens(daemon, made.auth)).toBe("ok");
    expect((await revokeKey(daemon, made)).revoked).toEqual([made.id]);
    expect(await opens(daemon, made.auth)).toBe("unauthenticated");
    const revokedAt = clock.now();
    clock.advance(minute);
    expect((await revokeKey(daemon, made)).revoked).toEqual([made.id]);
    expect(await recordOf(made)).toMatchObject({ revoked_at: revokedAt });
    await restart();
    expect(await opens(daemon, made.auth)).toBe("unauthenticated");
    expect(await daemon.call("delete_key", { key_id: made.id }, owner())).toEqual({ deleted: true });
    expect(await records()).toEqual([]);
    expect(await outcomeOf(daemon.call("delete_key", { key_id: made.id }, owner()))).toBe("not_found");
    expect(await outcomeOf(revokeKey(daemon, made))).toBe("not_found");
    expect(await opens(daemon, made.auth)).toBe("unauthenticated");
  });

  test("B4 it takes with it the whole tree of keys that it made, and no other", async () => {
    const parent = await makeKey(daemon);
    const child = await makeKey(daemon, { by: parent.auth });
    const grandchild = await makeKey(daemon, { by: child.auth });
    const sibling = await makeKey(daemon);
    expect(grandchild.record.parent).toBe(child.id);
    expect((await revokeKey(daemon, parent)).revoked.sort()).toEqual([parent.id, child.id, grandchild.id].sort());
    for (const { auth } of [parent, child, grandchild]) expect(await opens(daemon, auth)).toBe("unauthenticated");
    expect(await opens(daemon, sibling.auth)).toBe("ok");
    await daemon.call("delete_key", { key_id: parent.id }, owner());
    expect((await records()).map(({ key_id }) => key_id)).toEqual([sibling.id]);
  });

  for (const [how, end, cause] of [
    ["revoked", (key: MadeKey) => revokeKey(daemon, key), "revoked"],
    ["expired, to the millisecond", async () => clock.advance(1), "expired"],
    ["expired because the clock was set", async () => (clock.jump(3_600_000), clock.advance(limits.clock_look_ms)), "expired"],
  ] as const)
    test(`B4 ${how}: its streams end with the cause, and so do its tokens, their children, the seats taken with them, and what its children hold`, async () => {
      const made = await makeKey(daemon, { ttl_ms: 10 * minute });
      const child = await makeKey(daemon, { by: made.auth });
      const other = await makeKey(daemon);
      const { session, token } = await startIn(made.auth);
      const { session_id } = session;
      const given = await mint(session_id, made.auth);
      const below = await mint(session_id, { token: given.token }, "view");
      const ofChild = await mint(session_id, child.auth);
      const ofOther = await mint(session_id, other.auth);
      const seatOf = (secret: string, letter: string, role: "viewer" | "driver" = "viewer") =>
        hold(daemon, { session_id, role, label: letter }, { token: secret, seat_secret: seatSecretOf(letter) });
      const seats = [await seatOf(token, "A", "driver"), await seatOf(given.token, "B"), await seatOf(below.token, "C"), await seatOf(ofChild.token, "D")];
      const streams = [await watch(made.auth), await watch(child.auth)];
      const left = [
        await seatOf(ofOther.token, "E"),
        await hold(daemon, { session_id, role: "viewer", label: "F" }, { token: (await mint(session_id, owner())).token, seat_secret: seatSecretOf("F") }),
      ];
      const staying = await watch(other.auth);
      // Of the expiring ones the last millisecond is left.
      clock.advance(10 * minute - 1);
      expect([await opens(daemon, made.auth), await opens(daemon, child.auth), await worksFor(session_id, below.token)]).toEqual(["ok", "ok", "ok"]);
      await end(made);
      for (const { ended } of [...seats, ...streams]) expect(await ended).toEqual(ends(cause));
      for (const each of [token, given.token, below.token, ofChild.token]) expect(await worksFor(session_id, each)).toBe("unauthenticated");
      for (const { auth } of [made, child]) expect(await opens(daemon, auth)).toBe("unauthenticated");
      expect([await opens(daemon, other.auth), await worksFor(session_id, ofOther.token)]).toEqual(["ok", "ok"]);
      // Who stays sees that the seats are gone, and is not troubled otherwise.
      const gone = () => eventsOf(left[0] as Held).flatMap((event) => (event.type === "seat_left" ? [event.cause] : []));
      await left[0]?.until(() => gone().length === 4);
      expect(gone()).toEqual(["token_ended", "token_ended", "token_ended", "token_ended"]);
      expect((await daemon.call("session_info", { session_id }, owner())).seats.map(({ label }) => label).sort()).toEqual(["E", "F"]);
      for (const stream of [...left, staying]) stream.close();
      expect(daemon.bugs).toEqual([]);
    });

  for (const [cause, end] of [
    ["revoked", (key: MadeKey) => revokeKey(daemon, key)],
    ["expired", async () => clock.advance(10 * minute)],
  ] as const)
    test(`B4 a stream that comes a moment later, on a token of a key that was ${cause}, is told that, and so is one on a child of it`, async () => {
      const made = await makeKey(daemon, { ttl_ms: 10 * minute });
      const { session, token_id, token } = await startIn(made.auth);
      const { session_id } = session;
      const child = await mint(session_id, { token }, "view");
      await end(made);
      const entry = daemon.host.entry(session_id);
      const { tokens } = await daemon.host.credentials.of(entry ?? expect.fail("it is there"));
      for (const id of [token_id, child.record.token_id]) expect(tokens.stream(id).signal.reason).toEqual(ends(cause));
    });

  test("B4 what it held stays ended after a restart, and the tokens with it", async () => {
    const made = await makeKey(daemon);
    const short = await makeKey(daemon, { ttl_ms: minute });
    const { session } = await startIn(made.auth);
    const { session_id } = session;
    const tokens = [await mint(session_id, made.auth), await mint(session_id, short.auth)];
    await revokeKey(daemon, made);
    await daemon.stop(0);
    clock.advance(minute);
    daemon = await start({ root: daemon.root });
    for (const { token } of tokens) expect(await worksFor(session_id, token)).toBe("unauthenticated");
    expect([await opens(daemon, made.auth), await opens(daemon, short.auth)]).toEqual(["unauthenticated", "unauthenticated"]);
  });

  test("B4 a clock that is set back behind an expiry ends it a second time, streams and all", async () => {
    const made = await makeKey(daemon, { ttl_ms: 10 * minute });
    clock.advance(10 * minute);
    expect(await opens(daemon, made.auth)).toBe("unauthenticated");
    clock.jump(-5 * minute);
    expect(await opens(daemon, made.auth)).toBe("ok");
    const stream = await watch(made.auth);
    const { session, token } = await startIn(made.auth);
    const seat = await hold(daemon, { session_id: session.session_id, role: "viewer" }, { token, seat_secret: seatSecretOf("A") });
    clock.advance(5 * minute);
    expect(await stream.ended).toEqual(ends("expired"));
    expect(await seat.ended).toEqual(ends("expired"));
  });

  test("B4 a child has no more time than its maker, whatever it was promised", async () => {
    const maker = await makeKey(daemon, { ttl_ms: 10 * minute });
    for (const ttl_ms of [undefined, 86_400_000]) {
      const child = await makeKey(daemon, { by: maker.auth, ...(ttl_ms !== undefined && { ttl_ms }) });
      expect(child.record.expires_at).toBe(maker.record.expires_at);
    }
    expect((await makeKey(daemon, { by: maker.auth, ttl_ms: minute })).record.expires_at).toBe(clock.now() + minute);
  });
});

describe("another secret for it", () => {
  test("B4 without an overlap the one before ends with the reply, and what hangs on that secret, and nothing else", async () => {
    const before = await makeKey(daemon);
    const onOld = await watch(before.auth);
    const { session, token } = await startIn(before.auth);
    const now = await rotateKey(daemon, before);
    expect(await onOld.ended).toEqual(ends("revoked"));
    expect([await opens(daemon, before.auth), await opens(daemon, now.auth)]).toEqual(["unauthenticated", "ok"]);
    expect(now.record).toMatchObject({ key_id: before.id, rotated_at: clock.now() });
    expect(now.record.overlap_ends_at).toBeUndefined();
    // The key is the same: what it was given lives on.
    expect(await worksFor(session.session_id, token)).toBe("ok");
  });

  test("B4 with an overlap both count until exactly then, also across a restart; then the streams of the old one alone end", async () => {
    const before = await makeKey(daemon);
    const now = await rotateKey(daemon, before, 10 * minute);
    expect(now.record.overlap_ends_at).toBe(clock.now() + 10 * minute);
    clock.advance(5 * minute);
    await restart();
    const [onOld, onNew] = [await watch(before.auth), await watch(now.auth)];
    clock.advance(5 * minute - 1);
    expect([await opens(daemon, before.auth), await opens(daemon, now.auth)]).toEqual(["ok", "ok"]);
    clock.advance(1);
    expect([await opens(daemon, before.auth), await opens(daemon, now.auth)]).toEqual(["unauthenticated", "ok"]);
    expect(await onOld.ended).toEqual(ends("revoked"));
    onNew.close();
    expect(await onNew.ended).toBeNull();
  });

  test("B4 a second one within the overlap ends the oldest at once", async () => {
    const first = await makeKey(daemon);
    const second = await rotateKey(daemon, first, 10 * minute);
    const onFirst = await watch(first.auth);
    const third = await rotateKey(daemon, second, 10 * minute);
    expect(await onFirst.ended).toEqual(ends("revoked"));
    expect(await Promise.all([first, second, third].map(({ auth }) => opens(daemon, auth)))).toEqual(["unauthenticated", "ok", "ok"]);
    const fourth = await rotateKey(daemon, third);
    expect(await Promise.all([second, third, fourth].map(({ auth }) => opens(daemon, auth)))).toEqual(["unauthenticated", "unauthenticated", "ok"]);
  });

  test("B4 the one before makes, rotates and ends no key while its overlap lasts, and its successor stays; what else it may it does", async () => {
    const before = await makeKey(daemon);
    const child = await makeKey(daemon, { by: before.auth });
    const { session, token } = await startIn(before.auth);
    const now = await rotateKey(daemon, before, 10 * minute);
    const refusal = { code: "role_too_small", detail: { needs: "the key's newest secret" } };
    for (const change of [
      () => makeKey(daemon, { by: before.auth }),
      () => rotateKey(daemon, before, 10 * minute, before.auth),
      () => rotateKey(daemon, child, 0, before.auth),
      () => revokeKey(daemon, before, before.auth),
      () => revokeKey(daemon, child, before.auth),
      () => daemon.call("delete_key", { key_id: child.id }, before.auth),
    ])
      await expect(change()).rejects.toMatchObject(refusal);
    expect((await records()).map(({ key_id }) => key_id)).toEqual([before.id, child.id]);
    expect(await Promise.all([before, now, child].map(({ auth }) => opens(daemon, auth)))).toEqual(["ok", "ok", "ok"]);
    // What is given to a key lives as long as the key.
    const minted = await mint(session.session_id, before.auth);
    clock.advance(10 * minute);
    expect(await Promise.all([before, now].map(({ auth }) => opens(daemon, auth)))).toEqual(["unauthenticated", "ok"]);
    expect(await Promise.all([token, minted.token].map((each) => worksFor(session.session_id, each)))).toEqual(["ok", "ok"]);
    await revokeKey(daemon, now, now.auth);
    expect(await Promise.all([token, minted.token].map((each) => worksFor(session.session_id, each)))).toEqual(["unauthenticated", "unauthenticated"]);
  });

  test("B4 nor what it asked for before it was rotated out, and whose turn comes after: the successor stays, and no key is made", async () => {
    const before = await makeKey(daemon);
    const own = { key_id: before.id };
    // All have passed the gate before the first of them has its turn.
    const rotated = rotateKey(daemon, before, 10 * minute);
    const late = [daemon.call("rotate_key", own, before.auth), daemon.call("revoke_key", own, before.auth)].map(outcomeOf);
    const now = await rotated;
    expect(await Promise.all(late)).toEqual(["role_too_small", "role_too_small"]);
    expect(await Promise.all([before, now].map(({ auth }) => opens(daemon, auth)))).toEqual(["ok", "ok"]);
  });

  test("B4 an overlap gives a key no more time than it has, and one that has ended no other secret", async () => {
    const short = await makeKey(daemon, { ttl_ms: minute });
    const now = await rotateKey(daemon, short, 10 * minute);
    clock.advance(minute);
    expect([await opens(daemon, short.auth), await opens(daemon, now.auth)]).toEqual(["unauthenticated", "unauthenticated"]);
    await expect(rotateKey(daemon, short)).rejects.toMatchObject({ code: "not_found" });
    const revoked = await makeKey(daemon);
    await rotateKey(daemon, revoked, 10 * minute);
    await revokeKey(daemon, revoked);
    expect(await opens(daemon, revoked.auth)).toBe("unauthenticated");
    await expect(rotateKey(daemon, revoked)).rejects.toMatchObject({ code: "not_found" });
    expect(keysOnDisk(daemon).keys).toHaveLength(2);
  });

  test("B4 two at once: both replies are true in their order, and the last secret is the one that counts", async () => {
    const before = await makeKey(daemon);
    const [one, two] = await Promise.all([rotateKey(daemon, before), rotateKey(daemon, before)]);
    expect([await opens(daemon, before.auth), await opens(daemon, one.auth), await opens(daemon, two.auth)]).toEqual([
      "unauthenticated",
      "unauthenticated",
      "ok",
    ]);
  });
});

describe("what it may give on", () => {
  test("B5 neither a scope nor a root nor time that it has not itself, and nothing was made", async () => {
    const inside = await makeWorkdir(daemon, "a/b");
    const beside = await makeWorkdir(daemon, "a/bc");
    const maker = await makeKey(daemon, { scopes: ["keys:admin", "sessions:list"], roots: [inside] });
    const by = maker.auth;
    await expect(makeKey(daemon, { by, scopes: ["sessions:list", "sessions:start"], roots: [inside] })).rejects.toMatchObject({
      code: "role_too_small",
      detail: { needs: "the scope sessions:start" },
    });
    for (const root of [beside, daemon.root, `${inside}/..`, `${inside}/../bc`, "/", `${inside}/nowhere`])
      expect(await outcomeOf(makeKey(daemon, { by, scopes: ["sessions:list"], roots: [inside, root] })), root).toBe("workdir_invalid");
    expect(await records()).toHaveLength(1);
    const deeper = await makeWorkdir(daemon, "a/b/c");
    const child = await makeKey(daemon, { by, scopes: ["sessions:list"], roots: [inside, `${deeper}/../c/.`] });
    expect(child.record).toMatchObject({ scopes: ["sessions:list"], roots: [inside, deeper], parent: maker.id });
  });

  test("B5 it sees and changes itself and the keys that it made, and the others are for it what there is not", async () => {
    const one = await makeKey(daemon);
    const child = await makeKey(daemon, { by: one.auth });
    const other = await makeKey(daemon);
    expect((await records(one.auth)).map(({ key_id }) => key_id)).toEqual([one.id, child.id]);
    expect((await records(child.auth)).map(({ key_id }) => key_id)).toEqual([child.id]);
    const unknown = { ...other, id: idOf("key", "u") };
    for (const { id } of [other, unknown]) {
      const told = await Promise.all(
        (["rotate_key", "revoke_key", "delete_key"] as const).map((verb) =>
          daemon.call(verb, { key_id: id }, one.auth).catch((error: { message: string }) => error.message),
        ),
      );
      expect(told).toEqual(Array(3).fill("There is no such key."));
    }
    expect(await outcomeOf(revokeKey(daemon, one, child.auth))).toBe("not_found");
    expect(await outcomeOf(rotateKey(daemon, one, 0, child.auth))).toBe("not_found");
    const again = await rotateKey(daemon, child, 0, one.auth);
    expect(await opens(daemon, again.auth)).toBe("ok");
    expect((await revokeKey(daemon, one, one.auth)).revoked.sort()).toEqual([one.id, child.id].sort());
    expect(await Promise.all([one, again, other].map(({ auth }) => opens(daemon, auth)))).toEqual(["unauthenticated", "unauthenticated", "ok"]);
  });

  test("B29 its tokens, and theirs, give no answer that is remembered for a directory", async () => {
    const made = await makeKey(daemon);
    const { session, token } = await startIn(made.auth);
    const { session_id } = session;
    const minted = await mint(session_id, made.auth);
    const child = await mint(session_id, { token: minted.token });
    const byOwner = await mint(session_id, owner());
    let asked = 0;
    for (const [letter, secret, may] of [
      ["A", token, false],
      ["B", minted.token, false],
      ["C", child.token, false],
      ["D", byOwner.token, true],
    ] as const) {
      const auth: Auth = { token: secret, seat_secret: seatSecretOf(letter) };
      const seat = await hold(daemon, { session_id, role: "driver", label: letter }, auth);
      await daemon.call(
        "send_prompt",
        { session_id, prompt_id: idOf("prm", letter), parts: [{ type: "text", text: `run echo ${(asked += 1)}` }], when_busy: "queue" },
        auth,
      );
      await seat.until(() => eventsOf(seat).some(({ type }) => type === "approval_requested"));
      const question = eventsOf(seat).flatMap((event) => (event.type === "approval_requested" ? [event.approval] : []))[0];
      if (question === undefined) throw new Error("no question came");
      const answer = (option_id: string) => daemon.call("approve", { session_id, approval_id: question.approval_id, digest: question.digest, option_id }, auth);
      for (const option of ["reject_always", "allow_always"]) if (!may) await expect(answer(option)).rejects.toMatchObject({ code: "role_too_small" });
      expect(await outcomeOf(answer(may ? "allow_always" : "allow_once"))).toBe("ok");
      await seat.until(() => eventsOf(seat).some(({ type }) => type === "turn_ended"));
      await daemon.call("detach", { session_id }, auth);
    }
    expect((await daemon.call("session_info", { session_id }, owner())).rules).toHaveLength(1);
  });
});

describe("B12 its file", () => {
  test("B12 a state directory from before there were keys is read as it is, and claimed for those that know them", async () => {
    const { session, token } = await startIn(owner());
    await daemon.stop(0);
    for (const name of ["format.json", "keys.json"]) await rm(at(daemon, name), { force: true });
    daemon = await start({ root: daemon.root });
    expect(JSON.parse(await readFile(at(daemon, "format.json"), "utf8"))).toMatchObject({ format: stateFormat });
    expect(await worksFor(session.session_id, token)).toBe("ok");
    expect((await daemon.call("daemon_status", {}, owner())).set_aside).toEqual([]);
    expect(await records()).toEqual([]);
    expect(await outcomeOf(makeKey(daemon))).toBe("ok");
  });

  test("B12 one that cannot be read is set aside, told, and lets nobody in; the sessions are there", async () => {
    const made = await makeKey(daemon);
    const { session, token } = await startIn(made.auth);
    for (const broken of ["{", '{"version":1,"keys":[{"key_id":"key_x"}]}', '{"version":2,"keys":[]}']) {
      await daemon.stop(0);
      await writeFile(at(daemon, "keys.json"), broken);
      clock.advance(1);
      daemon = await start({ root: daemon.root });
      const { set_aside } = await daemon.call("daemon_status", {}, owner());
      expect(set_aside).toHaveLength(1);
      expect(set_aside[0]?.reason).toContain("the API keys cannot be read");
      expect(await readFile(set_aside[0]?.path ?? "", "utf8")).toBe(broken);
      expect(await opens(daemon, made.auth)).toBe("unauthenticated");
      expect(await worksFor(session.session_id, token)).toBe("unauthenticated");
      expect(await records()).toEqual([]);
      expect(await outcomeOf(makeKey(daemon))).toBe("ok");
    }
    expect((await daemon.call("list_sessions", {}, owner())).sessions.map(({ session_id }) => session_id)).toEqual([session.session_id]);
  });
});
