import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Host, SessionListing } from "@sessiond/client";
import { amount } from "../support/amount.ts";
import { endure, expectTidy, fillWindows, growthLine } from "../support/growth.ts";
import { MeasuredHome } from "../support/measured-home.ts";

/** Sessions by the thousand, each with a life of its own that ends; what stays of one is its entry in the registry. */
const lives = amount(24, 2_000, "SESSIOND_LIVES");
const lanes = 4;
/** As long as the daemon runs, a session that nobody uses costs this much memory. */
const restingBytesMax = 2_048;
const entryBytesMax = 160;

let home: MeasuredHome;
beforeEach(() => {
  home = new MeasuredHome();
});
afterEach(() => home.close());

/** @returns the id of the directory's session, after a life with a turn of it */
async function life(host: Host, directory: string): Promise<string> {
  const session = await host.sessionForWorkdir(directory);
  expect(session.created).toBe(true);
  const driver = await session.attach({ as: "driver" });
  expect((await driver.prompt("say done")).stopReason).toBe("end_turn");
  await driver.detach();
  await session.stop();
  await session.close();
  return session.id;
}

async function listedBy(host: Host): Promise<SessionListing[]> {
  const found: SessionListing[] = [];
  for (let after: string | null | undefined; after !== null;) {
    const page = await host.listSessions({ after: after ?? undefined, limit: 500 });
    found.push(...page.sessions);
    after = page.next;
  }
  return found;
}

test(
  `B11 B13 B42 ${lives} sessions that were started, used and stopped cost the daemon no more than an entry each, and no descriptor`,
  { timeout: 900_000 },
  async () => {
    const host = await home.begin();
    const ids = new Map<string, string>();
    const work = async (from: number, to: number): Promise<void> => {
      const lane = async (first: number): Promise<void> => {
        for (let n = first; n < to; n += lanes) {
          const directory = home.directory(n);
          ids.set(directory, await life(host, directory));
        }
      };
      await Promise.all(Array.from({ length: lanes }, (_, n) => lane(from + n)));
    };
    await work(-2 * lanes, 0);
    const atRest = await home.openAtRest(host);
    const kept = await Promise.all(Array.from({ length: lanes }, (_, n) => host.sessionForWorkdir(home.directory(`kept-${n}`))));
    const holders = await fillWindows(host, kept);
    const begun = performance.now();
    const endured = await endure(home, { operations: lives, work, allowed: { daemonObjects: 2, daemonBytes: restingBytesMax } });
    const seconds = (performance.now() - begun) / 1_000;
    await Promise.all(holders.map((holder) => holder.detach()));

    // The registry knows each of them once, and the daemon of none that is live.
    const listed = await listedBy(host);
    const all = new Map([...ids, ...kept.map(({ workdir, id }) => [workdir, id] as const)]);
    expect(listed.length).toBe(all.size);
    expect(new Map(listed.map(({ workdir, session_id }) => [workdir, session_id]))).toEqual(all);
    expect(await home.openAtRest(host)).toEqual(atRest);
    expect((await host.status()).sessions).toEqual({ live: 0, resting: lanes, stopped: ids.size });
    expectTidy(home);
    expect(readdirSync(join(home.stateDir, "sessions")).toSorted()).toEqual([...all.values()].toSorted());
    const registry = readFileSync(join(home.stateDir, "registry.json"), "utf8");
    const paths = [...all.keys()].reduce((sum, path) => sum + path.length, 0);
    const entryBytes = (registry.length - paths) / all.size;
    expect(entryBytes).toBeLessThanOrEqual(entryBytesMax);
    // Nor has one lost its conversation: its next life is the same session's.
    const again = [...ids].filter((_, n) => n % Math.ceil(ids.size / 20) === 0);
    for (const [directory, id] of again) expect(await life(host, directory)).toBe(id);
    console.log(
      `B11 B13 endurance: ${endured.operations} lives in ${seconds.toFixed(1)} s; ${growthLine(endured)}; ${entryBytes.toFixed(0)} bytes of registry each beside the path; ${atRest.length} descriptors at rest before and after`,
    );
  },
);
