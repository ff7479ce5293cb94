import { limits, type Auth } from "@sessiond/shared";
import { afterEach, beforeEach, expect, test } from "vitest";
import { removeRoot, startTestDaemon, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { hold, hostAuth, makeWorkdir, seatSecretOf } from "../support/gate-world.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { makeKey, outcomeOf, revokeKey, type MadeKey } from "../support/key-world.ts";

/** The places that a session has for tokens: nobody who was given some of them takes the owner's. */
const all = 9;
const others = 6;
let clock: FakeClock;
let daemon: TestDaemon;
let workdir: string;
let session_id: string;
/** The owner's first. */
let first: { token: string; token_id: string };
beforeEach(() => begin({ tokens_live_max: all, tokens_of_others_max: others }));
afterEach(end);
async function begin(bounds: Partial<typeof limits>): Promise<void> {
  clock = new FakeClock();
  daemon = await startTestDaemon({ clock, limits: { unused_delete_ms: 365 * 86_400_000, ...bounds } });
  workdir = await makeWorkdir(daemon);
  first = await join(hostAuth(daemon));
  session_id = (await daemon.call("list_sessions", {}, owner())).sessions[0]?.session_id ?? "";
}
async function end(): Promise<void> {
  await daemon.stop(0);
  await removeRoot(daemon.root);
}

const owner = (): Auth => hostAuth(daemon);
/** A second apart, so that who was used last is no matter of chance. */
const join = (auth: Auth) => {
  clock.advance(1_000);
  return daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, auth);
};
const mint = (auth: Auth, right: "view" | "control" = "control") => daemon.call("mint_token", { session_id, right, label: "minted" }, auth);
const works = (token: string) => outcomeOf(daemon.call("authorize", { session_id }, { token }));
const tokens = async () => (await daemon.call("list_tokens", { session_id }, owner())).tokens;
const starter = (name = "a program"): Promise<MadeKey> => makeKey(daemon, { name, scopes: ["sessions:start"] });
const refusal = (limit: "tokens_live_max" | "tokens_of_others_max", value: number) =>
  expect.objectContaining({
    code: "limit_reached",
    detail: expect.objectContaining({ limit, value, unit: "tokens" }),
    message: expect.stringMatching(/`sessiond token list`.*`sessiond token revoke`/),
  });
/** Until one is refused. @returns the refusal */
async function untilRefused(call: () => Promise<unknown>): Promise<unknown> {
  for (let tries = 0; tries <= limits.tokens_live_max; tries++) {
    try {
      await call();
    } catch (error) {
      return error;
    }
  }
  throw new Error("nothing was refused");
}
/** The owner comes in as ever, and what it had is as it was. */
async function ownerIsAtHome(): Promise<void> {
  const joined = await join(owner());
  const minted = await mint(owner());
  for (const { token } of [first, joined, minted]) expect(await works(token)).toBe("ok");
}

test("B4 B7 a key that joins a session again and again displaces its own start tokens, the longest unused first, and neither the owner's nor another key's", async () => {
  const [other, key] = [await starter("another"), await starter()];
  const ofOther = await join(other.auth);
  const joined = [];
  for (let call = 0; call < 2 * all; call++) joined.push(await join(key.auth));
  const live = await Promise.all(joined.map(({ token }) => works(token)));
  expect(live).toEqual(joined.map((_, at) => (at < joined.length - (others - 1) ? "unauthenticated" : "ok")));
  expect(await works(ofOther.token)).toBe("ok");
  expect((await tokens()).filter(({ key_id }) => key_id !== undefined)).toHaveLength(others);
  await ownerIsAtHome();
});

test("B4 B7 with the numbers of a daemon: seventy joins by a key leave the owner's first token and the owner's places as they were", async () => {
  await end();
  await begin({});
  const key = await starter();
  for (let call = 0; call < 70; call++) await join(key.auth);
  expect(await tokens()).toHaveLength(1 + limits.tokens_of_others_max);
  await ownerIsAtHome();
});

test("B4 B7 what a key sits on is not displaced; where all of it is in use the key is refused, and told what helps", async () => {
  const key = await starter();
  const seats = [];
  for (let seat = 0; seat < others; seat++) {
    const { token } = await join(key.auth);
    seats.push(await hold(daemon, { session_id, role: "viewer" }, { token, seat_secret: seatSecretOf(String(seat)) }));
  }
  await expect(join(key.auth)).rejects.toEqual(refusal("tokens_of_others_max", others));
  await ownerIsAtHome();
  for (const seat of seats) seat.close();
});

test("B4 B7 children of tokens and what keys mint share a part of the places, however they descend; the rest is the owner's", async () => {
  const key = await makeKey(daemon);
  const control = await mint(owner());
  await mint(key.auth);
  const [child] = [await mint({ token: control.token }), await mint({ token: first.token })];
  expect(await untilRefused(() => mint({ token: child.token }))).toEqual(refusal("tokens_of_others_max", others));
  expect(await untilRefused(() => mint({ token: first.token }))).toEqual(refusal("tokens_of_others_max", others));
  expect(await untilRefused(() => mint(key.auth))).toEqual(refusal("tokens_of_others_max", others));
  expect((await tokens()).filter(({ parent, key_id }) => parent !== undefined || key_id !== undefined)).toHaveLength(others);
  // With one more they are all taken, and of its own start tokens the owner displaces the one that has no children.
  const [spare] = [await join(owner()), await join(owner())];
  expect(await works(spare.token)).toBe("unauthenticated");
  for (const { token } of [first, control, child]) expect(await works(token)).toBe("ok");
  // What has ended makes room for its like.
  await revokeKey(daemon, key);
  expect(await outcomeOf(mint({ token: child.token }, "view"))).toBe("ok");
  expect(await outcomeOf(mint({ token: child.token }, "view"))).toBe("limit_reached");
  await daemon.call("revoke_token", { session_id, token_id: child.record.token_id }, { token: control.token });
  expect(await outcomeOf(mint({ token: control.token }, "view"))).toBe("ok");
});

test("B4 B7 the owner's start tokens are displaced by the owner alone: neither by a child nor by what a key is given", async () => {
  const starts = [first];
  while (starts.length < all) starts.push(await join(owner()));
  const key = await makeKey(daemon);
  await expect(mint({ token: starts[all - 1]?.token ?? "" })).rejects.toEqual(refusal("tokens_live_max", all));
  for (const call of [join, mint]) await expect(call(key.auth)).rejects.toEqual(refusal("tokens_live_max", all));
  // The first was looked at last: only the use before counts.
  for (const { token } of starts.slice(1)) expect(await works(token)).toBe("ok");
  clock.advance(1_000);
  await join(owner());
  expect(await works(first.token)).toBe("unauthenticated");
});

test("B4 B7 where the owner's own minted ones fill every place the refusal says what helps, and revoking one does", async () => {
  const minted = [];
  while ((await tokens()).length < all) minted.push(await mint(owner(), "view"));
  await join(owner()); // In place of the first.
  const seat = await hold(daemon, { session_id, role: "viewer" }, { token: (await join(owner())).token, seat_secret: seatSecretOf("S") });
  for (const call of [join, mint]) await expect(call(owner())).rejects.toEqual(refusal("tokens_live_max", all));
  await daemon.call("revoke_token", { session_id, token_id: minted[0]?.record.token_id ?? "" }, owner());
  expect(await outcomeOf(join(owner()))).toBe("ok");
  seat.close();
});
