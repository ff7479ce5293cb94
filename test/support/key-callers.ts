import type { Auth, Scope } from "@sessiond/shared";
import { hold, idOf, makeWorkdir, seatSecretOf, type World } from "./gate-world.ts";
import { flip, reseal, type Caller, type KeyHeld } from "./gate-callers.ts";
import { elsewhere, everyScope, keysOnDisk, makeKey, opens, revokeKey, rotateKey, type MadeKey } from "./key-world.ts";
import { eventually } from "./eventually.ts";

/** The API keys that a matrix needs, in every state that one can be in, and what became of tokens given to them. */
const second = 1_000;

export async function keyCallersOf(world: World): Promise<{ callers: Caller[]; close: () => void }> {
  const { daemon, clock, sessionId, auths } = world;
  const all = await makeKey(daemon, { name: "all scopes" });
  const only = await Promise.all(everyScope.map((scope) => makeKey(daemon, { name: `only ${scope}`, scopes: [scope] })));
  const without = await Promise.all(
    everyScope.map((scope) => makeKey(daemon, { name: `all but ${scope}`, scopes: everyScope.filter((each) => each !== scope) })),
  );
  const otherRoot = await makeKey(daemon, { name: "another root", roots: [await elsewhere(daemon)] });
  // The session's directory, with a tail that makes it another.
  const nearby = await makeKey(daemon, { name: "a root of nearly that name", roots: [await elsewhere(daemon, "work-2"), await elsewhere(daemon, "wor")] });
  const expired = await makeKey(daemon, { name: "expired", ttl_ms: second });
  const child = await makeKey(daemon, { name: "a child", by: all.auth });
  const expiredChild = await makeKey(daemon, { name: "child of the expired", by: expired.auth });
  const revoked = await makeKey(daemon, { name: "revoked" });
  const revokedChild = await makeKey(daemon, { name: "child of the revoked", by: revoked.auth });
  const deleted = await makeKey(daemon, { name: "deleted" });
  const rotatedOut = await makeKey(daemon, { name: "rotated" });
  const overlapOver = await makeKey(daemon, { name: "rotated, with an overlap that is over" });
  const overlapping = await makeKey(daemon, { name: "rotated, within the overlap" });
  const twice = await makeKey(daemon, { name: "rotated twice" });
  const mint = async (right: "view" | "control", by: Auth) => {
    const { token, record } = await daemon.call("mint_token", { session_id: sessionId, right, label: `${right} of a key` }, by);
    return { auth: { token } as Auth, id: record.token_id };
  };
  const given = await mint("control", all.auth);
  const minting = only[everyScope.indexOf("tokens:mint")] ?? all;
  const ofMinting = await mint("view", minting.auth);
  const givenToChild = await mint("view", child.auth);
  const ofRevoked = await mint("control", revoked.auth);
  const ofRevokedChild = await mint("control", ofRevoked.auth);
  const ofRevokedKeyChild = await mint("control", revokedChild.auth);
  const ofExpired = await mint("control", expired.auth);
  const driven = await daemon.call(
    "start_session",
    { request_id: idOf("req", "K"), workdir: await makeWorkdir(daemon, "of-a-key"), model: "practice" },
    all.auth,
  );
  const keyDriver: Auth = { token: driven.token, seat_secret: seatSecretOf("K") };

  const now = {
    rotatedOut: await rotateKey(daemon, rotatedOut),
    overlapOver: await rotateKey(daemon, overlapOver, second),
    overlapping: await rotateKey(daemon, overlapping, 60 * second),
    twice: await rotateKey(daemon, await rotateKey(daemon, twice, 60 * second), 60 * second),
  };
  await revokeKey(daemon, revoked);
  await revokeKey(daemon, deleted);
  await daemon.call("delete_key", { key_id: deleted.id }, auths.owner);
  clock.advance(2 * second);
  const seat = await hold(daemon, { session_id: driven.session.session_id, role: "driver" }, keyDriver);
  // Last uses are written now and not while the matrix looks on.
  const live = [all, ...only, ...without, otherRoot, nearby, child, ...Object.values(now)];
  await eventually("all last uses are on the disk", async () => {
    for (const { auth } of live) await opens(daemon, auth);
    const stored = new Map(keysOnDisk(daemon).keys.map((key) => [key.key_id, key.last_used_at]));
    return live.every(({ id }) => (stored.get(id) ?? null) === clock.now());
  });
  const held = (made: MadeKey, over: Partial<KeyHeld> = {}): KeyHeld => ({
    scopes: made.record.scopes as readonly Scope[],
    sees: true,
    gave: false,
    newest: true,
    ...over,
  });
  const key = (name: string, made: MadeKey, over: Partial<Caller> = {}): Caller => ({ name, auth: made.auth, key: held(made), ...over });
  const dead = (name: string, made: MadeKey): Caller => ({ name, auth: made.auth, key: "none" });
  const foreign = { session_id: world.foreignSessionId };
  const malformed: [string, unknown][] = [
    ["an empty API key", ""],
    ["an API key with a wrong checksum", flip(all.key)],
    ["an API key cut short", all.key.slice(0, -1)],
    ["an API key with a tail", `${all.key}a`],
    ["an API key with a line end", `${all.key}\n`],
    ["an API key with another secret, well sealed", reseal(all.key, flip)],
    ["an API key under another's id, well sealed", reseal(all.key, (body) => body.replace(all.id, child.id))],
    ["an API key of an unknown id, well sealed", reseal(all.key, (body) => body.replace(all.id, idOf("key", "u")))],
    ["a huge API key", "s".repeat(100_000)],
    ["an API key that is a number", 7],
    ["an API key that is null", null],
    ["an API key in a list", [all.key]],
    ["an API key in an object", { toString: all.key }],
    ["the host key as API key", daemon.hostKey],
    ["a token as API key", auths.driver.token],
    ["the hash of an API key", keysOnDisk(daemon).keys[0]?.hash],
  ];
  const callers: Caller[] = [
    key("a key with all scopes", all),
    key("a key with all scopes, naming its own token", all, { key: held(all, { gave: true }), input: { token_id: given.id } }),
    key("a key with all scopes, naming a token of a key that it made", all, { key: held(all, { gave: true }), input: { token_id: givenToChild.id } }),
    key("a key that may mint, and no more, naming its own token", minting, { key: held(minting, { gave: true }), input: { token_id: ofMinting.id } }),
    key("a key that was made by a key", child),
    key("a key that was made by a key, naming its maker's token", child, { input: { token_id: given.id } }),
    key("a key, naming another session that it sees", all, { input: foreign }),
    key("a key, naming an unknown session", all, { key: held(all, { sees: false }), input: { session_id: `ses_${"u".repeat(22)}` } }),
    key("a key, naming a session in a list", all, { key: held(all, { sees: false }), input: { session_id: [sessionId] } }),
    ...only.map((made) => key(`a key with ${made.record.name}`, made)),
    ...without.map((made) => key(`a key with ${made.record.name}`, made)),
    key("a key of another root", otherRoot, { key: held(otherRoot, { sees: false }) }),
    key("a key of a root with nearly that name", nearby, { key: held(nearby, { sees: false }) }),
    dead("an expired key", expired),
    dead("a child of an expired key", expiredChild),
    dead("a revoked key", revoked),
    dead("a child of a revoked key", revokedChild),
    dead("a deleted key", deleted),
    dead("a secret that was rotated out", rotatedOut),
    key("a key after its rotation", now.rotatedOut),
    dead("a secret after its overlap", overlapOver),
    key("a key after its overlap", now.overlapOver),
    key("a secret within its overlap", overlapping, { key: held(overlapping, { newest: false }) }),
    key("a key within its overlap", now.overlapping),
    dead("a secret that was rotated out twice", twice),
    key("a key that was rotated twice", now.twice),
    ...malformed.map(([name, api_key]): Caller => ({ name, auth: { api_key }, key: "none" })),
    ...malformed.map(([name, api_key]): Caller => ({
      name: `the driver with ${name}`,
      auth: { ...auths.driver, api_key },
      right: "control",
      seat: "driver",
      lineage: true,
      key: "none",
    })),
    {
      name: "the driver with a key of another root too",
      auth: { ...auths.driver, ...otherRoot.auth },
      right: "control",
      seat: "driver",
      lineage: true,
      key: held(otherRoot, { sees: false }),
    },
    { name: "a good key with a bad host key", auth: { ...all.auth, host_key: flip(daemon.hostKey) }, host: "bad", key: held(all) },
    { name: "a dead key with the host key", auth: { ...auths.owner, ...revoked.auth }, host: "good", key: "none" },
    { name: "an API key as host key", auth: { host_key: all.key }, host: "bad" },
    { name: "an API key as token", auth: { token: all.key } },
    { name: "a token that was given to a key", auth: given.auth, right: "control" },
    { name: "a token that was given to a revoked key", auth: ofRevoked.auth },
    { name: "a child of a token that was given to a revoked key", auth: ofRevokedChild.auth },
    { name: "a token that was given to a child of a revoked key", auth: ofRevokedKeyChild.auth },
    { name: "a token that was given to an expired key", auth: ofExpired.auth },
    {
      name: "a driver whose token was given to a key",
      auth: keyDriver,
      right: "control",
      seat: "driver",
      hostMinted: false,
      input: { session_id: driven.session.session_id },
    },
  ];
  return { callers, close: () => seat.close() };
}
