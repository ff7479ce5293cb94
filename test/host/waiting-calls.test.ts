import { readFileSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import type { Auth } from "@sessiond/shared";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { removeRoot, startTestDaemon, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { at, hostAuth, idOf, makeWorkdir } from "../support/gate-world.ts";
import { keysOnDisk, makeKey, outcomeOf, rotateKey } from "../support/key-world.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** Calls that wait their turn, for a session or a file, while what they were asked with ends: when it has come, nothing is done for them. */
let disk: TrappedDisk;
let daemon: TestDaemon;
let workdir: string;
let session_id: string;
beforeEach(async () => {
  disk = new TrappedDisk();
  daemon = await startTestDaemon({ disk });
  workdir = await makeWorkdir(daemon);
  session_id = (await join(owner())).session.session_id;
});
afterEach(async () => {
  disk.mend();
  expect(daemon.bugs).toEqual([]);
  await daemon.stop(0);
  await removeRoot(daemon.root);
});
const owner = (): Auth => hostAuth(daemon);
const join = (auth: Auth) => daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, auth);
const mint = (auth: Auth, label = "l") => daemon.call("mint_token", { session_id, right: "control", label }, auth);
const revoke = (token_id: string, auth: Auth) => daemon.call("revoke_token", { session_id, token_id }, auth);
const newHostKey = async (): Promise<Auth> => {
  await daemon.call("rotate_host_key", {}, owner());
  return { host_key: readFileSync(at(daemon, "host-key"), "utf8").trim() };
};
const labels = async (auth = owner()) => (await daemon.call("list_tokens", { session_id }, auth)).tokens.map(({ label }) => label).toSorted();

/** The session's turn, and its file, are somebody else's until it is let go. */
async function busy(): Promise<{ release: () => Promise<unknown> }> {
  const held = disk.hold("replace", "session.json");
  const joined = join(owner());
  await held.reached;
  return { release: () => (held.release(), joined) };
}
/** Each has passed the gate and stands in its queue: looking up a directory takes a few turns of the loop. */
async function queued(): Promise<void> {
  for (let turns = 0; turns < 50; turns++) await turn();
}

describe("of an API key", () => {
  test("B4 tokens and joins that wait for the file while it is rotated without overlap: refused, no token is made and none revoked", async () => {
    const made = await makeKey(daemon);
    const { record } = await mint(made.auth, "its own");
    const { release } = await busy();
    const late = [mint(made.auth, "late"), join(made.auth), revoke(record.token_id, made.auth)].map(outcomeOf);
    await queued();
    const { auth } = await rotateKey(daemon, made, 0);
    await release();
    expect(await Promise.all(late)).toEqual(Array(3).fill("unauthenticated"));
    expect(await labels(auth)).toEqual(["its own", "start", "start"]);
  });
});

describe("of a token", () => {
  test("B4 a child, and a revocation, that wait for the file behind its own: refused, and none of it is done", async () => {
    const { token, record } = await mint(owner(), "parent");
    const child = await mint({ token }, "child");
    const other = await mint(owner(), "other");
    const { release } = await busy();
    // The file's next changes, in this order.
    const ending = revoke(record.token_id, owner());
    await queued();
    const late = [mint({ token }, "late"), revoke(child.record.token_id, { token })].map(outcomeOf);
    await queued();
    await release();
    expect((await ending).revoked).toEqual([record.token_id, child.record.token_id]);
    expect(await Promise.all(late)).toEqual(["unauthenticated", "unauthenticated"]);
    expect(await labels()).toEqual(["other", "start", "start"]);
    expect(await outcomeOf(daemon.call("authorize", { session_id }, { token: other.token }))).toBe("ok");
  });

  test("B4 a child that is made beside the revocation of its parent goes with it, and its end is told", async () => {
    const { token, record } = await mint(owner(), "parent");
    const { release } = await busy();
    const child = mint({ token }, "child");
    await queued();
    const ending = revoke(record.token_id, owner());
    await queued();
    await release();
    expect((await ending).revoked).toEqual([record.token_id, (await child).record.token_id]);
    expect(await labels()).toEqual(["start", "start"]);
  });
});

test("B4 of the host key: what waits while it is rotated is refused, whatever it asked for, and is done by the new one", async () => {
  const child = await mint(owner(), "child");
  const old = owner();
  const { release } = await busy();
  const late = [
    mint(old, "late"),
    join(old),
    revoke(child.record.token_id, old),
    daemon.call("stop", { session_id }, old),
    daemon.call("stop_workdir_session", { workdir }, old),
  ].map(outcomeOf);
  await queued();
  const host = await newHostKey();
  await release();
  expect(await Promise.all(late)).toEqual(Array(5).fill("unauthenticated"));
  expect(await labels(host)).toEqual(["child", "start", "start"]);
  expect((await daemon.call("session_info", { session_id }, host)).life_state).toBe("live");
  expect((await daemon.call("stop", { session_id }, host)).life).toBe(1);
});

test("B4 of the host key: a start and a key that wait for the disk while it is rotated: there is no session and no key", async () => {
  const old = owner();
  const starting = disk.hold("replace", "/open/");
  const started = outcomeOf(daemon.call("start_session", { request_id: idOf("req", "A"), workdir, model: "practice" }, old));
  await starting.reached;
  await makeKey(daemon);
  const held = disk.hold("replace", "keys.json");
  const first = makeKey(daemon);
  await held.reached;
  const second = outcomeOf(makeKey(daemon));
  await queued();
  const host = await newHostKey();
  for (const each of [starting, held]) each.release();
  await first;
  expect([await started, await second]).toEqual(["unauthenticated", "unauthenticated"]);
  expect((await daemon.call("list_sessions", {}, host)).sessions).toHaveLength(1);
  expect(keysOnDisk(daemon).keys).toHaveLength(2);
});
