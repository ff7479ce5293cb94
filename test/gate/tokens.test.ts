import { limits } from "@sessiond/shared";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { removeRoot, startTestDaemon, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { eventsOf, hold, hostAuth, idOf, makeWorkdir, seatSecretOf, tcpDoor, type Held } from "../support/gate-world.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { RawSocket } from "../support/raw-socket.ts";

/** These sessions never have a turn, and days go by. */
const unusedKept = { unused_delete_ms: 365 * 86_400_000 };
let clock: FakeClock;
let daemon: TestDaemon;
let workdir: string;
let session_id: string;
let start: { token: string; token_id: string };
beforeEach(async () => {
  clock = new FakeClock();
  daemon = await startTestDaemon({ clock, limits: unusedKept, listen: "127.0.0.1:0" });
  workdir = await makeWorkdir(daemon);
  const started = await daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, hostAuth(daemon));
  session_id = started.session.session_id;
  start = started;
});
afterEach(async () => {
  await daemon.stop(0);
  await removeRoot(daemon.root);
});

type Minter = { host_key?: string; token?: string };
const owner = () => hostAuth(daemon);
async function mint(right: "view" | "control", by: Minter = owner(), ttl_ms?: number) {
  const { token, record } = await daemon.call("mint_token", { session_id, right, label: "minted", ...(ttl_ms !== undefined && { ttl_ms }) }, by);
  return { token, id: record.token_id, record };
}
const works = async (token: string): Promise<string> =>
  daemon.call("authorize", { session_id }, { token }).then(
    () => "works",
    (error: { code: string }) => error.code,
  );
const listed = async () => (await daemon.call("list_tokens", { session_id }, owner())).tokens.map((token) => token.token_id);
const watch = (token: string, letter: string): Promise<Held> =>
  hold(daemon, { session_id, role: "viewer", label: letter }, { token, seat_secret: seatSecretOf(letter) });
const revoke = (token_id: string, by: Minter = owner()) => daemon.call("revoke_token", { session_id, token_id }, by);

test("B4 a token names its session, right, label and expiry, and is listed with them and without its secret", async () => {
  const { token, id, record } = await mint("view", { token: start.token }, 60_000);
  expect(record).toMatchObject({ right: "view", label: "minted", parent: start.token_id, origin: "token", expires_at: clock.now() + 60_000 });
  const list = await daemon.call("list_tokens", { session_id }, owner());
  expect(list.tokens.find((held) => held.token_id === id)).toEqual(record);
  expect(JSON.stringify(list)).not.toContain(token.slice(-38));
  expect(JSON.stringify(list)).not.toMatch(/hash|[0-9a-f]{64}/);
  const { token_id, ...about } = await daemon.call("authorize", { session_id }, { token });
  expect({ token_id, ...about }).toEqual({ session_id, token_id: id, right: "view", label: "minted", expires_at: clock.now() + 60_000, past_life: false });
});

describe("B4 what ends with a token", () => {
  test("B4 revoking takes children and grandchildren with it, ends their streams at once with the cause, and no other", async () => {
    const parent = await mint("control");
    const child = await mint("control", { token: parent.token });
    const grandchild = await mint("view", { token: child.token });
    const sibling = await mint("view");
    const streams = [await watch(parent.token, "A"), await watch(child.token, "B"), await watch(grandchild.token, "C")];
    const other = await watch(sibling.token, "E");
    expect((await revoke(parent.id)).revoked.sort()).toEqual([parent.id, child.id, grandchild.id].sort());
    for (const stream of streams) expect(await stream.ended).toMatchObject({ code: "token_ended", detail: { cause: "revoked" } });
    for (const { token } of [parent, child, grandchild]) expect(await works(token)).toBe("unauthenticated");
    const left = () => eventsOf(other).flatMap((event) => (event.type === "seat_left" ? [event.cause] : []));
    await other.until(() => left().length === 3);
    expect(left()).toEqual(["token_ended", "token_ended", "token_ended"]);
    expect(await works(sibling.token)).toBe("works");
    expect(await listed()).toEqual([start.token_id, sibling.id]);
    other.close();
  });

  test.each(["the unix socket", "TCP"])("B4 over %s too: the stream of a revoked token ends with token_ended", async (door) => {
    const { token, id } = await mint("view");
    const socket = await RawSocket.open(door === "TCP" ? await tcpDoor(daemon) : daemon.socketPath);
    await socket.call("subscription", "attach", JSON.stringify({ session_id, role: "viewer", label: "w", auth: { token, seat_secret: seatSecretOf("W") } }));
    const isEnd = async (): Promise<unknown> => {
      const { error } = await socket.next();
      return error ?? isEnd();
    };
    const end = isEnd();
    await revoke(id);
    expect(await end).toMatchObject({ data: { code: "token_ended", detail: { cause: "revoked" } } });
    socket.close();
  });

  test("B4 expiry ends token, children and streams at its very millisecond", async () => {
    const parent = await mint("control", owner(), 60_000);
    const child = await mint("view", { token: parent.token }, 3_600_000);
    expect(child.record.expires_at).toBe(parent.record.expires_at);
    const streams = [await watch(parent.token, "A"), await watch(child.token, "B")];
    clock.advance(59_999);
    expect([await works(parent.token), await works(child.token)]).toEqual(["works", "works"]);
    clock.advance(1);
    for (const stream of streams) expect(await stream.ended).toMatchObject({ code: "token_ended", detail: { cause: "expired" } });
    expect([await works(parent.token), await works(child.token)]).toEqual(["unauthenticated", "unauthenticated"]);
    expect(await listed()).toEqual([start.token_id]);
  });

  test("B4 a child that was given more time, or none at all to end, has no more than its parent", async () => {
    const parent = await mint("control", owner(), 60_000);
    for (const ttl of [undefined, 86_400_000]) expect((await mint("control", { token: parent.token }, ttl)).record.expires_at).toBe(clock.now() + 60_000);
    expect((await mint("control", { token: parent.token }, 5_000)).record.expires_at).toBe(clock.now() + 5_000);
  });

  test("B4 a token that has ended cannot be named again: revoking it is not_found", async () => {
    const { id } = await mint("view");
    await revoke(id);
    await expect(revoke(id)).rejects.toMatchObject({ code: "not_found" });
  });

  test("B4 a token may end itself and its children; not its parent, not its sibling", async () => {
    const child = await mint("view", { token: start.token });
    const sibling = await mint("control");
    await expect(revoke(start.token_id, { token: child.token })).rejects.toMatchObject({ code: "role_too_small" });
    await expect(revoke(child.id, { token: sibling.token })).rejects.toMatchObject({ code: "role_too_small" });
    await expect(revoke(idOf("tok", "N"), { token: sibling.token })).rejects.toMatchObject({ code: "role_too_small" });
    expect((await revoke(child.id, { token: child.token })).revoked).toEqual([child.id]);
    expect(await works(start.token)).toBe("works");
  });

  test("B4 revoked stays revoked after a restart, expired stays expired, and the others live on", async () => {
    const gone = await mint("control");
    const short = await mint("control", owner(), 5_000);
    const kept = await mint("view");
    await revoke(gone.id);
    await daemon.stop(0);
    clock.advance(10_000);
    daemon = await startTestDaemon({ clock, limits: unusedKept, root: daemon.root });
    expect([await works(gone.token), await works(short.token), await works(kept.token), await works(start.token)]).toEqual([
      "unauthenticated",
      "unauthenticated",
      "works",
      "works",
    ]);
  });
});

describe("B4 tokens from start verbs", () => {
  const day = limits.start_token_idle_ms;

  test("B4 they end after 24 hours without use, with their children; minted ones do not", async () => {
    const child = await mint("view", { token: start.token });
    const minted = await mint("control");
    clock.advance(day);
    expect(await works(child.token)).toBe("works");
    clock.advance(1);
    expect([await works(start.token), await works(child.token), await works(minted.token)]).toEqual(["unauthenticated", "unauthenticated", "works"]);
    expect(await listed()).toEqual([minted.id]);
  });

  test("B4 each use begins the 24 hours anew, also across a restart", async () => {
    clock.advance(day - 1_000);
    expect(await works(start.token)).toBe("works");
    clock.advance(day - 1_000);
    expect(await works(start.token)).toBe("works");
    await daemon.stop(0);
    daemon = await startTestDaemon({ clock, limits: unusedKept, root: daemon.root });
    clock.advance(day - 1_000);
    expect(await works(start.token)).toBe("works");
    clock.advance(day + 1);
    expect(await works(start.token)).toBe("unauthenticated");
  });

  test("B4 an open stream is use, however long it is silent", async () => {
    const stream = await watch(start.token, "A");
    clock.advance(3 * day);
    expect(await works(start.token)).toBe("works");
    clock.advance(3 * day);
    stream.close();
    await stream.ended;
    clock.advance(day - 1);
    expect(await works(start.token)).toBe("works");
  });

  test("B4 the stream of a child ends with its parent, when that is a start token nobody used for 24 hours", async () => {
    const child = await mint("view", { token: start.token });
    const stream = await watch(child.token, "A");
    clock.advance(day + 1);
    expect(await stream.ended).toMatchObject({ code: "token_ended", detail: { cause: "expired" } });
    expect(await works(child.token)).toBe("unauthenticated");
  });

  test("B4 beyond 64 the longest unused one without a seat is displaced, and its cause is told; minted ones and seated ones never", async () => {
    const minted = [await mint("view"), await mint("control")];
    const seated = await watch(start.token, "A");
    const starts: { token: string; token_id: string }[] = [];
    const another = async () => {
      clock.advance(1_000);
      starts.push(await daemon.call("start_or_get_for_workdir", { workdir }, owner()));
    };
    while ((await listed()).length < limits.tokens_live_max) await another();
    clock.advance(1_000);
    expect(await works(starts[0]?.token ?? "")).toBe("works");
    await another();
    expect(await works(starts[1]?.token ?? "")).toBe("unauthenticated");
    for (const { token } of [start, ...minted, starts[0] ?? start, starts[2] ?? start]) expect(await works(token)).toBe("works");
    expect(await listed()).toHaveLength(limits.tokens_live_max);
    seated.close();
  });

  test("B4 a start token with minted children is not displaced, for they would end with it", async () => {
    const child = await mint("view", { token: start.token });
    const stream = await watch(child.token, "A");
    while ((await listed()).length < limits.tokens_live_max) {
      clock.advance(1_000);
      await daemon.call("start_or_get_for_workdir", { workdir }, owner());
    }
    clock.advance(1_000);
    await daemon.call("start_or_get_for_workdir", { workdir }, owner());
    expect([await works(child.token), await works(start.token)]).toEqual(["works", "works"]);
    stream.close();
  });

  test("B4 where only minted and seated tokens live, one more is refused and none has ended; a seat in its grace counts", async () => {
    const seated = await watch(start.token, "A");
    seated.close();
    await seated.ended;
    while ((await listed()).length < limits.tokens_live_max) await mint("view");
    await expect(mint("view")).rejects.toMatchObject({ code: "limit_reached", detail: { limit: "tokens_live_max", value: 64, unit: "tokens" } });
    await expect(daemon.call("start_or_get_for_workdir", { workdir }, owner())).rejects.toMatchObject({ code: "limit_reached" });
    expect(await listed()).toHaveLength(limits.tokens_live_max);
    expect(await works(start.token)).toBe("works");
  });
});

describe("B4 a token belongs to its life", () => {
  const code = (call: Promise<unknown>): Promise<string> =>
    call.then(
      () => "ok",
      (error: { code: string }) => error.code,
    );

  for (const next of [false, true]) {
    test(`B4 after stop${next ? ", and in the next life," : ""} a control token reads, stop repeats its answer, and all else is session_stopped`, async () => {
      const auth = { token: start.token, seat_secret: seatSecretOf("D") };
      const view = await mint("view", { token: start.token });
      const seat = await hold(daemon, { session_id, role: "driver" }, auth);
      const answer = await daemon.call("stop", { session_id }, auth);
      expect(await seat.ended).toBeNull();
      const now = next ? await daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, owner()) : null;
      if (now !== null) expect(now).toMatchObject({ created: true, session: { session_id, life: 2 } });

      expect(await daemon.call("authorize", { session_id }, auth)).toMatchObject({ right: "control", past_life: true });
      expect(await code(daemon.call("session_info", { session_id }, auth))).toBe("ok");
      expect((await daemon.call("session_data", { session_id }, { token: view.token })).frames.length).toBeGreaterThan(0);
      if (!next) expect(await daemon.call("stop", { session_id }, auth)).toEqual(answer);
      const before = await daemon.call("session_info", { session_id }, owner());
      const prompt = { prompt_id: idOf("prm", "P"), parts: [{ type: "text" as const, text: "say hi" }], when_busy: "queue" as const };
      const refused = [
        daemon.call("send_prompt", { session_id, ...prompt }, auth),
        daemon.call("detach", { session_id }, auth),
        daemon.call("release_queue", { session_id }, auth),
        daemon.call("interrupt", { session_id, turn_id: idOf("trn", "T") }, auth),
        daemon.call("mint_token", { session_id, right: "view", label: "x" }, auth),
        daemon.call("list_tokens", { session_id }, auth),
        daemon.call("revoke_token", { session_id, token_id: view.id }, auth),
        hold(daemon, { session_id, role: "driver" }, auth),
      ];
      expect(await Promise.all(refused.map(code))).toEqual(refused.map(() => "session_stopped"));
      expect(await code(daemon.call("detach", { session_id }, { token: view.token }))).toBe("session_stopped");
      expect(await daemon.call("session_info", { session_id }, owner())).toEqual(before);
      expect(await works(view.token)).toBe("works");
      // A viewer's attach shows what there is, and completes where nothing more will come.
      const viewer = await hold(daemon, { session_id, role: "viewer" }, auth);
      expect(viewer.first).toMatchObject({ type: "snapshot", snapshot: { life_state: next ? "live" : "stopped" } });
      viewer.close();
      await viewer.ended;
    });
  }

  test("B4 a token of a past life that says stop does not end the life that runs now: it hears how its own ended", async () => {
    const auth = { token: start.token };
    const answer = await daemon.call("stop", { session_id }, auth);
    await daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, owner());
    expect(await daemon.call("stop", { session_id }, auth)).toEqual(answer);
    expect((await daemon.call("session_info", { session_id }, owner())).life_state).toBe("live");
  });

  test("B4 a child of a token of a past life belongs to that life too, whoever is asked", async () => {
    const child = await mint("control", { token: start.token });
    await daemon.call("stop", { session_id }, owner());
    const now = await daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, owner());
    expect(await code(daemon.call("mint_token", { session_id, right: "view", label: "x" }, { token: child.token }))).toBe("session_stopped");
    expect(await code(daemon.call("mint_token", { session_id, right: "view", label: "x" }, { token: now.token }))).toBe("ok");
  });
});
