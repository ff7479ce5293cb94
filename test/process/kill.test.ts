import { afterEach, expect, test } from "vitest";
import { amount } from "../support/amount.ts";
import { DaemonHome } from "../support/daemon-home.ts";
import { KilledSession, phases, type Phase } from "../support/killed-session.ts";
import { seededChance } from "../support/chance.ts";

/**
 * kill -9 of the daemon, again and again, under one session with a driver and two viewers that go on by themselves.
 * SESSIOND_KILLS says how often; SESSIOND_SEED repeats the instants of an earlier run, as far as machines do.
 */
const kills = amount(12, 50, "SESSIOND_KILLS");
const seed = Number(process.env["SESSIOND_SEED"] ?? Date.now() % 1_000_000);
/** Of `kills`, at least so many in each phase, by what was seen and not by what was aimed at. */
const least = Math.floor(kills / 10);

let home: DaemonHome | null = null;
let session: KilledSession | null = null;
afterEach(async () => {
  await session?.close();
  await home?.close();
});

test(`B36 kill -9 at ${kills} random instants: what was acknowledged or seen is there, nothing is missing or doubled, and clients go on by themselves`, async () => {
  home = new DaemonHome();
  session = await KilledSession.open(home, seededChance(seed));
  const counts = Object.fromEntries(phases.map((phase) => [phase, 0])) as Record<Phase, number>;
  const missing = (): Phase | undefined => phases.find((phase) => counts[phase] < least);
  let done = 0;
  try {
    for (let round = 0; done < kills || missing() !== undefined; round++) {
      if (round >= 3 * kills) throw new Error(`after ${round} kills there were too few in phase ${missing()}`);
      const aim = done < kills ? (phases[round % phases.length] ?? "idle") : (missing() ?? "idle");
      const hit = await session.killIn(aim);
      counts[hit]++;
      done++;
      session.check();
    }
  } finally {
    console.log(`B36: seed ${seed}, ${done} kills: ${phases.map((phase) => `${counts[phase]} ${phase}`).join(", ")}; ${session.told()}`);
  }
  await session.goOn();
  expect(home.logged("unexpected").concat(home.logged("uncaught"))).toEqual([]);
}, 600_000);
