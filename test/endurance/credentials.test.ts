import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { endRigs, Rig } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** What the daemon knows of the tokens of sessions that are not in memory: the last few, and of the others what is on disk. */
afterEach(endRigs);

interface Saying {
  say(text: string): Promise<void>;
  end(): void;
}
const script = { auto: (turn: Saying) => void turn.say("done").then(() => turn.end()) };
const sessions = limits.credentials_idle_max * 2;

/** Sessions that were used, and are stopped. */
async function stopped(disk?: TrappedDisk): Promise<Rig[]> {
  const first = await Rig.start({ script, ...(disk && { disk }) });
  const rigs = [first];
  while (rigs.length < sessions) rigs.push(await first.another(`work-${rigs.length}`));
  for (const rig of rigs) {
    const driver = await rig.driver();
    await driver.prompt("hello");
    await driver.event("turn_ended", 1);
    await driver.detach();
    await rig.stop();
  }
  return rigs;
}

const held = (rigs: readonly Rig[]): Rig[] => rigs.filter((rig) => rig.daemon.host.credentials.loaded(rig.sessionId) !== undefined);

async function fewHeld(rigs: readonly Rig[]): Promise<void> {
  await expect.poll(() => held(rigs).length, { timeout: 20_000 }).toBeLessThanOrEqual(limits.credentials_idle_max);
}

const byHost = ({ daemon }: Rig) => ({ host_key: daemon.hostKey });
const tokensOf = async (rig: Rig) => (await rig.daemon.call("list_tokens", { session_id: rig.sessionId }, byHost(rig))).tokens;

test(
  "B4 B13 of sessions that nobody uses the tokens of the last few are in memory; the others' are read again when a call names them, with their last use",
  { timeout: 60_000 },
  async () => {
    const rigs = await stopped();
    await fewHeld(rigs);
    const [first, other] = rigs;
    if (first === undefined || other === undefined) throw new Error("there are no sessions");
    expect(held([first])).toEqual([]);
    // Used now, and let go of again: the use is on disk.
    first.clock.advance(60_000);
    expect((await first.info()).turns).toBe(1);
    const before = await tokensOf(first);
    expect(before).toMatchObject([{ last_used_at: first.clock.now() }]);
    for (const rig of rigs.slice(1)) await rig.info();
    await fewHeld(rigs);
    expect(held([first])).toEqual([]);
    expect(await tokensOf(first)).toEqual(before);
    // A token that was taken back stays so.
    await other.daemon.call("revoke_token", { session_id: other.sessionId, token_id: (await tokensOf(other))[0]?.token_id ?? "" }, byHost(other));
    for (const rig of rigs.filter((each) => each !== other)) await rig.info();
    await fewHeld(rigs);
    expect(held([other])).toEqual([]);
    await expect(other.info()).rejects.toMatchObject({ code: "unauthenticated" });
    expect(first.daemon.bugs).toEqual([]);
  },
);

test(
  "B4 B36 a session's tokens have one writer: a call that comes while they are let go of waits, and no token is lost that was given out then",
  { timeout: 60_000 },
  async () => {
    const disk = new TrappedDisk();
    const rigs = await stopped(disk);
    await fewHeld(rigs);
    const [first, ...others] = rigs;
    if (first === undefined) throw new Error("there are no sessions");
    const file = `${first.sessionId}/session.json`;
    const give = (label: string) => first.daemon.call("mint_token", { session_id: first.sessionId, right: "view", label }, byHost(first));
    await first.info();
    const letGo = disk.hold("replace", file);
    for (const rig of others) await rig.info();
    await letGo.reached;
    const one = give("one");
    const given = disk.hold("replace", file);
    letGo.release();
    await given.reached;
    const two = give("two");
    expect((await tokensOf(first)).map(({ label }) => label)).toEqual(["start"]);
    given.release();
    await Promise.all([one, two]);
    expect((await tokensOf(first)).map(({ label }) => label)).toEqual(["start", "one", "two"]);
    for (const rig of others) await rig.info();
    await fewHeld(rigs);
    expect((await tokensOf(first)).map(({ label }) => label)).toEqual(["start", "one", "two"]);
    expect(first.daemon.bugs).toEqual([]);
  },
);
