import { mkdir, rename, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { Auth, WatchItem } from "@sessiond/shared";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { removeRoot, startTestDaemon, type TestDaemon, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { at, hostAuth, idOf, inProcess, makeWorkdir, unauthenticatedTold } from "../support/gate-world.ts";
import { makeKey, outcomeOf, revokeKey, type KeyWishes } from "../support/key-world.ts";

/** What a key reaches: the sessions that it started and those within its roots, and of all others not even that they are there. */
let daemon: TestDaemon;
let inside: string;
let outside: string;
beforeEach(async () => {
  daemon = await startTestDaemon();
  await places();
});
afterEach(async () => {
  expect(daemon.bugs).toEqual([]);
  await daemon.stop(0);
  await removeRoot(daemon.root);
});
async function places(): Promise<void> {
  inside = await makeWorkdir(daemon, "own/b");
  outside = await makeWorkdir(daemon, "own/bc");
}
async function restart(options: TestOptions = {}): Promise<void> {
  await daemon.stop(0);
  daemon = await startTestDaemon({ root: daemon.root, ...options });
}
const owner = (): Auth => hostAuth(daemon);
const inKey = (wishes: KeyWishes = {}) => makeKey(daemon, { roots: [inside], ...wishes });
const startIn = (workdir: string, auth: Auth = owner()) => daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, auth);
const startNew = (workdir: string, letter: string, auth: Auth = owner()) =>
  daemon.call("start_session", { request_id: idOf("req", letter), workdir, model: "practice" }, auth);
const startById = (session_id: string, letter: string, auth: Auth = owner()) =>
  daemon.call("start_session", { request_id: idOf("req", letter), session_id, model: "practice" }, auth);
const listed = async (auth: Auth, input: object = {}) => (await daemon.call("list_sessions", input, auth)).sessions.map(({ session_id }) => session_id);
const mint = (session_id: string, auth: Auth) => daemon.call("mint_token", { session_id, right: "view", label: "minted" }, auth);
const idIn = (started: { session: { session_id: string } }): string => started.session.session_id;
const unknown = `ses_${"u".repeat(22)}`;

describe("directories", () => {
  test("B5 B9 it starts sessions in its roots and below, by whatever name that lies within them; never in a neighbour of nearly that name", async () => {
    const { auth } = await inKey();
    const deeper = await makeWorkdir(daemon, "own/b/c");
    await symlink(deeper, join(inside, "link"));
    for (const path of [inside, `${inside}/`, `${inside}/./c`, `${inside}/c/../c`, `${inside}/link`, `${daemon.root}/own/../own/b`])
      expect(await outcomeOf(startIn(path, auth)), path).toBe("ok");
    expect(await listed(owner())).toHaveLength(2);
    await symlink(outside, join(inside, "way-out"));
    for (const path of [outside, daemon.root, `${inside}/..`, `${inside}/../bc`, `${inside}/way-out`, `${inside}/way-out/../b`, "/"])
      expect(await outcomeOf(startIn(path, auth)), path).toBe("workdir_invalid");
    for (const path of [outside, `${inside}/../bc`, `${inside}/way-out`]) expect(await outcomeOf(startNew(path, "A", auth)), path).toBe("workdir_invalid");
    expect(await listed(owner())).toHaveLength(2);
  });

  test("B9 whether something is there outside its roots, it is not told: not by name, not through `..`, not through a link", async () => {
    const { auth } = await inKey();
    await mkdir(join(outside, "there"));
    await mkdir(join(daemon.root, "own/shut"), { mode: 0 });
    for (const [name, target] of [
      ["to-there", join(outside, "there")],
      ["to-nothing", join(outside, "nothing")],
      ["to-a-file", at(daemon, "format.json")],
      ["to-state", at(daemon)],
      ["round", "round"],
    ] as const)
      await symlink(target, join(inside, name));
    const tell = (path: string) => startIn(path, auth).catch((error: { message: string }) => error.message);
    const told = new Set<unknown>();
    for (const path of [
      join(outside, "there"),
      join(outside, "nothing"),
      `${outside}/there/../../b/nothing`,
      `${outside}/nothing/../../b/nothing`,
      at(daemon, "format.json"),
      at(daemon),
      `${at(daemon)}/nothing`,
      `${inside}/to-there`,
      `${inside}/to-nothing`,
      `${inside}/to-a-file`,
      `${inside}/to-state`,
      `${inside}/to-there/../nothing`,
      `${inside}/to-nothing/../nothing`,
      `${inside}/round`,
      `${inside}/nothing`,
    ])
      told.add(await tell(path));
    expect([...told]).toEqual(["That directory cannot hold a session: there is no such directory within the roots of this key."]);
    // The same way into its roots, over what is there and over what is not.
    expect(await outcomeOf(startIn(`${outside}/there/../../b`, auth))).toBe(await outcomeOf(startIn(`${outside}/nothing/../../b`, auth)));
    const root = (path: string) => makeKey(daemon, { by: auth, roots: [path] }).catch((error: { message: string }) => error.message);
    expect(await root(join(outside, "there"))).toBe(await root(join(outside, "nothing")));
  });

  test("B5 a session whose directory is a link out of its roots by now is not begun again for it, and is for the owner", async () => {
    const { auth } = await inKey();
    const moved = await makeWorkdir(daemon, "own/b/moved");
    const { session } = await startIn(moved, auth);
    await daemon.call("stop", { session_id: session.session_id }, auth);
    await rename(moved, `${moved}-away`);
    await symlink(outside, moved);
    expect(await outcomeOf(startById(session.session_id, "A", auth))).toBe("workdir_invalid");
    expect(await outcomeOf(startById(session.session_id, "A"))).toBe("ok");
  });
});

describe("sessions", () => {
  test("B1 B5 one that it does not see is for every verb exactly what an unknown one is", async () => {
    const { auth } = await inKey();
    const foreign = await startIn(outside);
    const session_id = idIn(foreign);
    const calls: [string, object][] = [
      ["mint_token", { right: "view", label: "l" }],
      ["list_tokens", {}],
      ["revoke_token", { token_id: foreign.token_id }],
      ["stop", {}],
      ["start_session", { request_id: idOf("req", "A") }],
      ["list_agents", {}],
    ];
    const link = inProcess(daemon);
    for (const [verb, input] of calls)
      for (const id of [session_id, unknown]) expect((await link(verb, { ...input, session_id: id, auth })).told, `${verb} ${id}`).toBe(unauthenticatedTold());
    expect(await outcomeOf(daemon.call("stop_workdir_session", { workdir: outside }, auth))).toBe("not_found");
    expect(await outcomeOf(daemon.call("stop_workdir_session", { workdir: `${outside}/nothing` }, auth))).toBe("not_found");
    expect((await daemon.call("session_info", { session_id }, owner())).life_state).toBe("live");
    expect((await daemon.call("list_tokens", { session_id }, owner())).tokens).toHaveLength(1);
  });

  test("B5 it lists and stops those within its roots, also the owner's, and no others, whatever the filter", async () => {
    const { auth } = await inKey();
    const [own, owners, foreign] = [await startNew(inside, "A", auth), await startIn(inside), await startIn(outside)].map(idIn) as [string, string, string];
    expect(await listed(auth)).toEqual([owners, own]);
    expect(await listed(auth, { workdir: outside })).toEqual([]);
    expect(await listed(auth, { after: foreign })).toEqual([owners, own]);
    expect(await listed(auth, { limit: 1 })).toEqual([owners]);
    expect(await outcomeOf(daemon.call("stop", { session_id: own }, auth))).toBe("ok");
    expect(await outcomeOf(daemon.call("stop_workdir_session", { workdir: inside }, auth))).toBe("ok");
    const ends = (await daemon.call("session_data", { session_id: owners }, owner())).frames.map(({ event }) => event);
    expect(ends.at(-1)).toMatchObject({ type: "session_stopped", by: { label: "a program" } });
    expect(await listed(owner(), { life_state: "stopped" })).toEqual([owners, own]);
  });

  test("B5 it watches those within its roots alone, from the list on, by filter, and after coming back with a cursor", async () => {
    const { auth } = await inKey();
    const foreign = idIn(await startNew(outside, "F"));
    const seen: string[] = [];
    const leaving = new AbortController();
    const read = async (input: object, signal: AbortSignal, until: (item: WatchItem) => boolean): Promise<string> => {
      let cursor = "";
      for await (const tracked of await daemon.stream("watch_sessions", input, auth, signal)) {
        const item = (tracked as [string, WatchItem])[1];
        cursor = item.cursor;
        seen.push(item.type === "batch" ? (item.frames as unknown as { texts: string[] }).texts.join() : JSON.stringify(item));
        if (until(item)) return cursor;
      }
      return cursor;
    };
    const cursor = await read({}, leaving.signal, () => true);
    await daemon.call("stop", { session_id: foreign }, owner());
    const other = idIn(await startIn(outside));
    const mine = idIn(await startIn(inside));
    await read({ cursor }, leaving.signal, (item) => item.type === "batch");
    expect(seen.join()).toContain(mine);
    for (const id of [foreign, other, outside]) expect(seen.join()).not.toContain(`"${id}"`);
    // Of a filter it is told what it would be told of an unknown session.
    const filtered = (session_ids: string[]) => outcomeOf(read({ filter: { session_ids } }, leaving.signal, () => true));
    expect([await filtered([foreign]), await filtered([mine, foreign]), await filtered([unknown]), await filtered([mine])]).toEqual([
      "not_found",
      "not_found",
      "not_found",
      "ok",
    ]);
    seen.splice(0);
    await read({ filter: { workdir: outside } }, leaving.signal, () => true);
    await read({ filter: { session_ids: [other, mine] }, cursor }, leaving.signal, (item) => item.type === "batch");
    expect(seen.join()).toContain(mine);
    expect(seen.join()).not.toContain(other);
    leaving.abort();
  });

  test("B10 a start by a key joins the one session of a directory within its roots, the owner's too, and has a token of its own there", async () => {
    const { auth, id } = await inKey();
    const first = await startIn(inside);
    const joined = await startIn(inside, auth);
    expect(joined).toMatchObject({ created: false, session: { session_id: idIn(first) } });
    const tokens = (await daemon.call("list_tokens", { session_id: idIn(first) }, owner())).tokens;
    expect(tokens.map(({ token_id, key_id }) => [token_id, key_id])).toEqual([
      [first.token_id, undefined],
      [joined.token_id, id],
    ]);
    await daemon.call("stop", { session_id: idIn(first) }, auth);
    expect(await startById(idIn(first), "A", auth)).toMatchObject({ created: true, session: { life: 2 } });
  });

  test("B18 a request id is its caller's own: the same one from another makes another session, and ends nobody's token", async () => {
    const [one, two] = [await inKey(), await inKey()];
    const started = [await startNew(inside, "A"), await startNew(inside, "A", one.auth), await startNew(inside, "A", two.auth)];
    expect(new Set(started.map(idIn)).size).toBe(3);
    for (const { session, token } of started) expect(await outcomeOf(daemon.call("authorize", { session_id: session.session_id }, { token }))).toBe("ok");
    const again = await startNew(inside, "A", one.auth);
    expect(idIn(again)).toBe(started.map(idIn)[1]);
    // Nor does it matter that the session is another's.
    const [owners] = started;
    await startById(idIn(owners as (typeof started)[number]), "B", one.auth);
    expect(await outcomeOf(daemon.call("authorize", { session_id: idIn(owners as (typeof started)[number]) }, { token: owners?.token ?? "" }))).toBe("ok");
    await restart();
    expect(idIn(await startNew(inside, "A", two.auth))).toBe(started.map(idIn)[2]);
  });

  test("B4 it revokes tokens that it was given, or that a key it made was, and what descends from those; no others", async () => {
    const maker = await inKey();
    const child = await inKey({ by: maker.auth });
    const other = await inKey();
    const { session, token_id: owners } = await startIn(inside);
    const { session_id } = session;
    const given = await mint(session_id, maker.auth);
    const control = await daemon.call("mint_token", { session_id, right: "control", label: "minted" }, child.auth);
    const below = await mint(session_id, { token: control.token });
    const others = await mint(session_id, other.auth);
    const revoke = (token_id: string, { auth }: { auth: Auth }) => outcomeOf(daemon.call("revoke_token", { session_id, token_id }, auth));
    for (const id of [owners, others.record.token_id, idOf("tok", "u")]) expect(await revoke(id, maker)).toBe("role_too_small");
    expect(await revoke(given.record.token_id, child)).toBe("role_too_small");
    expect([await revoke(below.record.token_id, maker), await revoke(given.record.token_id, maker), await revoke(control.record.token_id, child)]).toEqual([
      "ok",
      "ok",
      "ok",
    ]);
    expect((await daemon.call("list_tokens", { session_id }, owner())).tokens.map(({ token_id }) => token_id)).toEqual([owners, others.record.token_id]);
  });

  test("B12 a registry that was lost knows again which key started what", async () => {
    const { auth } = await inKey({ roots: [inside] });
    const { session } = await startNew(inside, "A", auth);
    await daemon.stop(0);
    await rename(at(daemon, "registry.json"), join(daemon.root, "gone.json"));
    daemon = await startTestDaemon({ root: daemon.root });
    const again = await startNew(inside, "A", auth);
    expect(idIn(again)).toBe(session.session_id);
    expect(daemon.host.entry(session.session_id)?.key_id).toBeDefined();
  });
});

describe("how many", () => {
  test("B7 sessions of one key have a limit, also when they are asked for at once or begun again; the owner has none", async () => {
    await restart({ limits: { sessions_per_key_max: 3 } });
    const [one, two] = [await inKey(), await inKey()];
    const asked = await Promise.allSettled(["A", "B", "C", "D", "E", "G"].map((letter) => startNew(inside, letter, one.auth)));
    const made = asked.flatMap((each) => (each.status === "fulfilled" ? [idIn(each.value)] : []));
    expect(made).toHaveLength(3);
    for (const each of asked)
      if (each.status === "rejected") expect(each.reason).toMatchObject({ code: "limit_reached", detail: { limit: "sessions_per_key_max", value: 3 } });
    expect([await outcomeOf(startNew(inside, "A", two.auth)), await outcomeOf(startNew(inside, "Z"))]).toEqual(["ok", "ok"]);
    const [first = ""] = made;
    await daemon.call("stop", { session_id: first }, one.auth);
    expect(await outcomeOf(startNew(inside, "X", one.auth))).toBe("ok");
    expect(await outcomeOf(startById(first, "Y", one.auth))).toBe("limit_reached");
    // The owner is not kept out by what a key has used up, nor by what was refused to it.
    expect(await outcomeOf(startById(first, "Y"))).toBe("ok");
    await revokeKey(daemon, two);
    expect(await outcomeOf(startNew(inside, "W", two.auth))).toBe("unauthenticated");
  });

  test("B7 a life counts for whoever began it: the next of an owner's session for the key, the next of a key's session for the owner; after a restart too", async () => {
    await restart({ limits: { sessions_per_key_max: 1 } });
    const { auth } = await inKey();
    const [first, second] = [idIn(await startNew(inside, "A")), idIn(await startNew(inside, "B"))];
    for (const session_id of [first, second]) await daemon.call("stop", { session_id }, owner());
    expect(await outcomeOf(startById(first, "C", auth))).toBe("ok");
    await restart({ limits: { sessions_per_key_max: 1 } });
    expect(await Promise.all([startById(second, "D", auth), startNew(inside, "E", auth)].map(outcomeOf))).toEqual(["limit_reached", "limit_reached"]);
    await daemon.call("stop", { session_id: first }, owner());
    expect(await outcomeOf(startById(first, "F"))).toBe("ok");
    const own = idIn(await startNew(inside, "G", auth));
    await daemon.call("stop", { session_id: own }, auth);
    expect(await outcomeOf(startById(own, "H"))).toBe("ok");
    expect(await outcomeOf(startById(second, "I", auth))).toBe("ok");
  });

  test("B7 the places that are the owner's are not taken by a key that begins lives of his sessions", async () => {
    await restart({ limits: { sessions_live_of_keys_max: 1 } });
    const { auth } = await inKey();
    const [first, second] = [idIn(await startNew(inside, "A")), idIn(await startNew(inside, "B"))];
    for (const session_id of [first, second]) await daemon.call("stop", { session_id }, owner());
    expect(await outcomeOf(startById(first, "C", auth))).toBe("ok");
    await expect(startById(second, "D", auth)).rejects.toMatchObject({ code: "limit_reached", detail: { limit: "sessions_live_of_keys_max" } });
    expect(await outcomeOf(startById(second, "D"))).toBe("ok");
  });
});
