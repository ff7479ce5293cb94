import { connect } from "@sessiond/client/node";
import { formatToken, limitTable, SessiondError } from "@sessiond/shared";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { removeRoot, startTestDaemon, testEnv, type TestDaemon, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { amount } from "../support/amount.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { hold, hostAuth, makeWorkdir, seatSecretOf } from "../support/gate-world.ts";
import { Guesser, type Told } from "../support/guesser.ts";
import { plainRequest, valueOf } from "../support/plain-http.ts";
import { spoiled } from "../support/spoiled.ts";

/** Throttles as whoever stands outside meets them: real sockets, many connections, several addresses of this machine. */
const perPeer = "failed_credentials_per_peer_per_minute_max";
const perId = "failed_credentials_per_id_per_minute_max";
const most = limitTable[perPeer].value;

let daemon: TestDaemon;
let clock: FakeClock;
const guessers: Guesser[] = [];
const figures = { refused: 0, told: 0, closed: 0 };

async function begin(options: TestOptions = {}): Promise<{ session_id: string; token: string }> {
  clock = new FakeClock();
  daemon = await startTestDaemon({ clock, ...options });
  const { token, session } = await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon), model: "practice" }, hostAuth(daemon));
  return { session_id: session.session_id, token };
}
const door = async (): Promise<string> => `ws://127.0.0.1:${(await daemon.call("daemon_status", {}, hostAuth(daemon))).tcp?.port}/`;
async function guesser(place = daemon.socketPath, from?: string): Promise<Guesser> {
  const opened = await Guesser.open(place, from);
  guessers.push(opened);
  return opened;
}
const metrics = async (): Promise<string> => (await plainRequest(daemon.socketPath, "/metrics", { authorization: `Bearer ${daemon.hostKey}` })).body;

afterAll(() => console.log(`B7: ${figures.refused} wrong credentials refused, ${figures.told} calls throttled, ${figures.closed} connections turned out`));
afterEach(async () => {
  for (const each of guessers.splice(0)) {
    figures.refused += each.count("unauthenticated");
    figures.told += each.count("rate_limited");
    if (each.turnedOut) figures.closed += 1;
    each.close();
  }
  expect(daemon.bugs).toEqual([]);
  await daemon.stop(0);
  await removeRoot(daemon.root);
});

/** A token of that session that is as well made as a right one, and wrong. */
const wrongTokenOf = (session_id: string): { session_id: string; auth: { token: string } } => ({
  session_id,
  auth: { token: formatToken("control", session_id, "w".repeat(32)) },
});
const noSuchSession = `ses_${"0".repeat(22)}`;

function toldWell(told: Told | undefined, limit: keyof typeof limitTable): number {
  expect(told).toMatchObject({ code: "rate_limited", detail: { limit, value: limitTable[limit].value, unit: expect.any(String) as string } });
  expect(JSON.parse(told?.text ?? "{}")).toMatchObject({ message: new SessiondError("rate_limited", told?.detail).message });
  return Number(told?.detail["retry_after_ms"]);
}

describe("on the unix socket", () => {
  test("B7 a flood of wrong credentials, 64 a message and all at once, gets as many answers as its limit says; beyond it none is looked at, not the right one either, until the time it was told", async () => {
    const { session_id, token } = await begin();
    const flood = await guesser();
    // As many as may be under way on a connection.
    flood.say("session_info", wrongTokenOf(session_id), 256, 64);
    await flood.until(256);
    expect([flood.count("unauthenticated"), flood.count("rate_limited")]).toEqual([most, 256 - most]);
    const right = await flood.ask("session_info", { session_id, auth: { token } });
    const ms = toldWell(right, perPeer);
    clock.advance(ms - 1);
    expect(toldWell(await flood.ask("session_info", { session_id, auth: { token } }), perPeer)).toBe(1);
    clock.advance(1);
    expect(await flood.ask("session_info", { session_id, auth: { token } })).toMatchObject({ code: "ok" });
    // Each call of a message was one: counted, written down up to the audit's own limit, and visible by the limit's name.
    const page = await metrics();
    expect(valueOf(page, "sessiond_refusals_total", { code: "unauthenticated" })).toBe(most);
    expect(valueOf(page, "sessiond_throttled_total", { limit: perPeer })).toBe(256 - most + 2);
    const { audit } = await daemon.call("daemon_status", {}, hostAuth(daemon));
    expect(audit.refusals_counted).toBe(258 - limitTable.refusals_written_per_minute_max.value);
  });

  test("B7 the owner on his own connection, and whoever holds the right token, pass at once while others on the unix socket flood with wrong keys and tokens, for their session too", async () => {
    const { session_id, token } = await begin();
    const [owner, holder] = [await guesser(), await guesser()];
    const floods = await Promise.all(Array.from({ length: amount(4, 8) }, () => guesser()));
    const wrongKey = { auth: { host_key: spoiled(daemon.hostKey) } };
    for (let round = 0; round < amount(2, 5); round++) {
      for (const flood of floods) {
        flood.say("session_info", wrongTokenOf(session_id), 128, 64);
        flood.say("list_sessions", wrongKey, 64, 64);
      }
      expect(await owner.ask("list_sessions", { auth: hostAuth(daemon) })).toMatchObject({ code: "ok" });
      expect(await owner.ask("session_info", { session_id, auth: hostAuth(daemon) })).toMatchObject({ code: "ok" });
      expect(await holder.ask("session_info", { session_id, auth: { token } })).toMatchObject({ code: "ok" });
      await Promise.all(floods.map((flood) => flood.until(192 * (round + 1))));
    }
    for (const flood of floods) expect(flood.count("ok") + flood.count("unauthenticated")).toBeLessThanOrEqual(most);
    expect(await owner.ask("stop", { session_id, auth: hostAuth(daemon) })).toMatchObject({ code: "ok" });
  });

  test("B1 B7 guesses for a session that there is and for one that there is not are refused, counted and told word for word alike", async () => {
    const { session_id } = await begin();
    const heard = async (id: string): Promise<string[]> => {
      const told: string[] = [];
      // Each from a connection of its own half the time, so that the limit of the session is met before that of the peer.
      for (let each = 0; each < 4; each++) {
        const one = await guesser();
        one.say("session_info", wrongTokenOf(id), 50, 10);
        await one.until(50);
        told.push(...one.told.map(({ text }) => text));
      }
      return told;
    };
    const [there, notThere] = [await heard(session_id), await heard(noSuchSession)];
    expect(there).toEqual(notThere);
    expect(there.filter((text) => text.includes(perId))).toHaveLength(200 - limitTable[perId].value);
  });

  test("B7 a right that is too small is no wrong credential: its holder goes on", async () => {
    const { session_id } = await begin();
    const { token } = await daemon.call("mint_token", { session_id, right: "view", label: "v" }, hostAuth(daemon));
    const viewer = await guesser();
    viewer.say("interrupt", { session_id, turn_id: `trn_${"0".repeat(22)}`, auth: { token } }, 3 * most, 60);
    await viewer.until(3 * most);
    expect(viewer.count("role_too_small")).toBe(3 * most);
    expect(await viewer.ask("session_info", { session_id, auth: { token } })).toMatchObject({ code: "ok" });
  });

  test("B7 a token's calls are counted on all its connections, also those that are refused for their content or its right; the owner's are not", async () => {
    const { session_id, token } = await begin({ limits: { calls_per_token_per_minute_max: 100 } });
    const [one, other] = [await guesser(), await guesser()];
    one.say("session_info", { session_id, auth: { token } }, 40, 20);
    other.say("session_info", { session_id, nonsense: true, auth: { token } }, 40, 20);
    await Promise.all([one.until(40), other.until(40)]);
    one.say("detach", { session_id, auth: { token } }, 40, 20);
    await one.until(80);
    expect([one.count("ok"), other.count("bad_request"), one.count("not_attached"), one.count("rate_limited")]).toEqual([40, 40, 20, 20]);
    expect(one.told.at(-1)).toMatchObject({ detail: { limit: "calls_per_token_per_minute_max", value: 100, retry_after_ms: 600 } });
    one.say("session_info", { session_id, auth: hostAuth(daemon) }, 200, 50);
    await one.until(280);
    expect(one.count("ok")).toBe(240);
  });
});

describe("over TCP", () => {
  test("B7 one address has so many tries however many connections it opens at once; they are told, and closed; then nobody is let in from there until the time it was told; other addresses and the owner are not concerned", async () => {
    const { session_id, token } = await begin({ listen: "127.0.0.1:0" });
    const url = await door();
    const known = await guesser(url, "127.0.0.2");
    expect(await known.ask("session_info", { session_id, auth: { token } })).toMatchObject({ code: "ok" });
    const floods = await Promise.all(Array.from({ length: 20 }, () => guesser(url, "127.0.0.2")));
    for (const flood of floods) flood.say("session_info", wrongTokenOf(noSuchSession), 150, 50);
    const codes = await Promise.all(floods.map((flood) => flood.closed));
    expect(new Set(codes)).toEqual(new Set([4029]));
    expect(floods.reduce((sum, flood) => sum + flood.count("unauthenticated") + flood.told.filter(({ detail }) => detail["limit"] === perId).length, 0)).toBe(
      most,
    );
    expect(floods.every((flood) => flood.count("rate_limited") > 0)).toBe(true);
    const refused = await guesser(url, "127.0.0.2").catch((error: unknown) => String(error));
    expect(refused).toMatch(/429 More than 120 wrong credentials a minute from this address or connection .*try again in 500 ms.* Retry-After: 1$/);
    // Who was known before goes on; so does another address; so does the owner.
    expect(await known.ask("session_info", { session_id, auth: { token } })).toMatchObject({ code: "ok" });
    const elsewhere = await guesser(url, "127.0.0.3");
    expect(await elsewhere.ask("session_info", { session_id, auth: { token } })).toMatchObject({ code: "ok" });
    expect(await (await guesser()).ask("list_sessions", { auth: hostAuth(daemon) })).toMatchObject({ code: "ok" });
    clock.advance(499);
    await expect(guesser(url, "127.0.0.2")).rejects.toThrow("try again in 1 ms");
    clock.advance(1);
    expect(await (await guesser(url, "127.0.0.2")).ask("session_info", { session_id, auth: { token } })).toMatchObject({ code: "ok" });
    expect(valueOf(await metrics(), "sessiond_turned_away_total", { reason: "rate_limited" })).toBe(2);
  });

  test("B7 the owner on the unix socket is answered at once while several addresses try his key over TCP, each as often as its limit says", async () => {
    const { session_id } = await begin({ listen: "127.0.0.1:0" });
    const url = await door();
    const owner = await guesser();
    const addresses = amount(4, 10);
    const floods = await Promise.all(Array.from({ length: addresses }, (_, each) => guesser(url, `127.0.1.${each + 1}`)));
    for (const flood of floods) flood.say("list_sessions", { auth: hostAuth(daemon) }, 2_000, 50);
    for (let each = 0; each < 20; each++) expect(await owner.ask("session_info", { session_id, auth: hostAuth(daemon) })).toMatchObject({ code: "ok" });
    await Promise.all(floods.map((flood) => flood.closed));
    for (const flood of floods) {
      expect(flood.count("unauthenticated")).toBe(most);
      expect(flood.count("ok")).toBe(0);
    }
  });

  test("B7 what somebody says after he was told that he tried too often is passed over: it costs no work", async () => {
    const { session_id } = await begin({ listen: "127.0.0.1:0" });
    const one = await guesser(await door(), "127.0.0.2");
    one.onTold = ({ code }) => {
      if (code === "rate_limited") one.say("authorize", wrongTokenOf(session_id), 100);
    };
    one.say("authorize", wrongTokenOf(session_id), most + 1);
    expect(await one.closed).toBe(4029);
    expect(Object.fromEntries(daemon.counters.calls.get("authorize") ?? [])).toEqual({ unauthenticated: most, rate_limited: 1 });
  });

  test("B7 whoever has shown no credential may open connections and say hello only so often from one address; the unix socket does not count that", async () => {
    await begin({ listen: "127.0.0.1:0", limits: { open_calls_per_peer_per_minute_max: 100 } });
    const url = await door();
    const hello = { protocol: { min: 1, max: 1 } };
    const one = await guesser(url, "127.0.0.2");
    one.say("hello", hello, 150);
    expect(await one.closed).toBe(4029);
    expect(one.count("ok")).toBe(99);
    expect(one.count("rate_limited")).toBeGreaterThan(0);
    await expect(guesser(url, "127.0.0.2")).rejects.toThrow(/429 More than 100 connections and messages without a credential a minute from this address/);
    // What is no verb, and what is no call at all, counts alike.
    const other = await guesser(url, "127.0.0.3");
    other.say("no_such_verb", {}, 60);
    other.say("", {}, 60);
    expect(await other.closed).toBe(4029);
    expect(other.count("unknown_verb") + other.count("bad_request")).toBe(99);
    const { port, hostname } = new URL(url);
    expect((await fetch(`http://${hostname}:${port}/healthz`)).status).toBe(200);
    const inside = await guesser();
    inside.say("hello", hello, 250, 50);
    await inside.until(250);
    expect(inside.count("ok")).toBe(250);
  });
});

describe("keys", () => {
  const startWith = async (api_key: string, name: string) =>
    daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon, name), model: "practice" }, { api_key });
  const keyOf = async (name: string): Promise<string> =>
    (await daemon.call("create_key", { name, scopes: ["sessions:start"], roots: [daemon.root] }, hostAuth(daemon))).key;

  test("B7 starts of a key are counted, over all of its connections; those of another key and of the owner are not", async () => {
    await begin({ limits: { starts_per_key_per_minute_max: 3 } });
    const [key, other] = [await keyOf("one"), await keyOf("other")];
    for (const name of ["a", "b", "c"]) await startWith(key, name);
    await expect(startWith(key, "a")).rejects.toMatchObject({
      code: "rate_limited",
      detail: { limit: "starts_per_key_per_minute_max", value: 3, retry_after_ms: 20_000 },
    });
    clock.advance(20_000);
    await startWith(key, "a");
    await startWith(other, "d");
    for (const name of ["e", "f", "g", "h", "i"])
      await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon, name), model: "practice" }, hostAuth(daemon));
  });

  test("B7 whatever keys start, there is room left for a session of the owner's", async () => {
    await begin({ limits: { sessions_live_max: 5, sessions_live_of_keys_max: 3 } });
    const keys = await Promise.all(["one", "two", "three"].map(keyOf));
    const started = await Promise.allSettled(keys.flatMap((key, each) => [startWith(key, `a${each}`), startWith(key, `b${each}`)]));
    const refused = started.flatMap((each) => (each.status === "rejected" ? [each.reason as unknown] : []));
    expect(refused).toHaveLength(4);
    for (const error of refused)
      expect(error).toMatchObject({ code: "limit_reached", detail: { limit: "sessions_live_of_keys_max", value: 3, unit: "sessions" } });
    await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon, "owner's"), model: "practice" }, hostAuth(daemon));
  });

  test("B7 a key that asks for sessions which it does not see has made calls, not shown wrong credentials", async () => {
    const { session_id } = await begin();
    const key = (await daemon.call("create_key", { name: "k", scopes: ["sessions:stop"], roots: [await makeWorkdir(daemon, "elsewhere")] }, hostAuth(daemon)))
      .key;
    const one = await guesser();
    one.say("stop", { session_id, auth: { api_key: key } }, most + 10, 50);
    one.say("stop", { session_id: noSuchSession, auth: { api_key: key } }, 10, 10);
    await one.until(most + 20);
    expect(one.count("unauthenticated")).toBe(most + 20);
    expect(new Set(one.told.map(({ text }) => text)).size).toBe(1);
  });

  test("B1 B7 a right key, or the owner's, where only a token will do is refused as any credential is, and was no guess; beside a wrong token it is one", async () => {
    const { session_id, token } = await begin({ limits: { [perPeer]: 5 } });
    const right = [{ api_key: await keyOf("k") }, hostAuth(daemon)];
    const one = await guesser();
    for (const auth of right) one.say("authorize", { session_id, auth }, 20, 10);
    one.say("authorize", { session_id, auth: { token } }, 1);
    await one.until(41);
    expect([one.count("unauthenticated"), one.count("ok")]).toEqual([40, 1]);
    expect(new Set(one.told.filter(({ code }) => code !== "ok").map(({ text }) => text)).size).toBe(1);
    for (const auth of right) {
      const other = await guesser();
      other.say("authorize", { session_id, auth: { ...auth, token: "no token" } }, 6, 6);
      await other.until(6);
      expect([other.count("unauthenticated"), other.count("rate_limited")]).toEqual([5, 1]);
    }
  });
});

describe("a stream, and the library", () => {
  test("B7 a stream that is open goes on while its token's calls are throttled", async () => {
    const { session_id, token } = await begin({ limits: { calls_per_token_per_minute_max: 5 } });
    const auth = { token, seat_secret: seatSecretOf("V") };
    const seat = await hold(daemon, { session_id, role: "viewer" }, auth);
    const caller = await guesser();
    caller.say("session_info", { session_id, auth: { token } }, 20);
    await caller.until(20);
    expect(caller.count("ok")).toBe(4);
    await hold(
      daemon,
      { session_id, role: "viewer" },
      { token: (await daemon.call("mint_token", { session_id, right: "view", label: "w" }, hostAuth(daemon))).token, seat_secret: seatSecretOf("W") },
    );
    await seat.until(() => seat.items.some((item) => JSON.stringify(item).includes("seat_taken")));
    seat.close();
  });

  test("B7 the library waits as it is told and calls again: its user notices nothing but the time", async () => {
    daemon = await startTestDaemon({ limits: { calls_per_token_per_minute_max: 4, throttle_window_ms: 400 } });
    const host = await connect({ env: testEnv(daemon.root), autoStart: false });
    const session = await host.sessionForWorkdir(await makeWorkdir(daemon), { model: "practice" });
    const infos = await Promise.all(Array.from({ length: 12 }, () => session.info()));
    expect(infos).toHaveLength(12);
    expect(daemon.counters.throttled.get("calls_per_token_per_minute_max")).toBeGreaterThan(0);
    expect(daemon.counters.calls.get("session_info")?.get("ok")).toBe(12);
    await host.close();
  });
});
