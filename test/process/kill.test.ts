import { afterEach, expect, test } from "vitest";
import { amount } from "../support/amount.ts";
import { DaemonHome } from "../support/daemon-home.ts";
import { Halt } from "../support/halt.ts";
import { Killer, phases, type Phase } from "../support/kill-phases.ts";
import { KilledSession } from "../support/killed-session.ts";
import { seededChance } from "../support/chance.ts";

/**
 * kill -9 of the daemon, again and again, under load: a session with a driver and two viewers that go on by themselves,
 * another whose question is open all the time, a third that runs a tool with a prompt waiting behind it.
 * SESSIOND_KILLS says how often; SESSIOND_SEED repeats the pauses of an earlier run.
 */
const kills = amount(20, 300, "SESSIOND_KILLS");
const seed = Number(process.env["SESSIOND_SEED"] ?? Date.now() % 1_000_000);

let home: DaemonHome | null = null;
let session: KilledSession | null = null;
afterEach(async () => {
  session?.halt.disarm();
  await home?.close();
});

test(`B11 B19 B25 B26 B30 B31 B36 B37 kill -9 at ${kills} instants of every phase: what was acknowledged or seen is there, nothing is missing, doubled or left over, and clients go on by themselves`, async () => {
  home = new DaemonHome();
  session = await KilledSession.open(home, new Halt(home));
  const killer = new Killer(session, seededChance(seed));
  const counts = Object.fromEntries(phases.map((phase) => [phase, 0])) as Record<Phase, number>;
  let done = 0;
  let aim: Phase = "idle";
  try {
    for (let round = 0; done < kills; round++) {
      aim = phases[round % phases.length] ?? "idle";
      for (const phase of await killer.kill(aim)) {
        counts[phase]++;
        done++;
      }
      await session.backAgain();
      await session.check();
      await session.settle();
    }
    await session.goOn();
    await session.check();
  } finally {
    console.log(`B36: seed ${seed}, ${done} kills, the last ${aim}: ${phases.map((phase) => `${counts[phase]} ${phase}`).join(", ")}; ${session.told()}`);
  }
  expect(home.logged("unexpected").concat(home.logged("uncaught"), home.logged("could not start"))).toEqual([]);
  if (kills >= 300) expect(phases.filter((phase) => counts[phase] < 10)).toEqual([]);
}, 900_000);
