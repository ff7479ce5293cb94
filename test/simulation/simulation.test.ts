import { afterAll, expect, test } from "vitest";
import { amount, shrinks, whole } from "../support/amount.ts";
import { actionNames, faultNames } from "./actions.ts";
import { campaign, hitList, type Outcome } from "./campaign.ts";

/**
 * The daemon's core in one process, on a simulated disk, clock and agent, against clients and faults
 * at random: after each step what must hold is looked at. SESSIOND_STEPS sets how many steps,
 * SESSIOND_SEED the seed; `npm run simulate` does the same for as long as one likes.
 */
const steps = amount(3_000, 150_000, "SESSIOND_STEPS");
const seed = Number(process.env["SESSIOND_SEED"] ?? Date.now() % 1_000_000_000);
// Shrinking takes time that only a reader of the failure wants.
const shrinkMs = shrinks ? (whole ? 60_000 : 4_000) : 0;
let outcome: Outcome | null = null;

afterAll(() => {
  if (outcome === null) return;
  const { hits, ms } = outcome;
  const rarest = (list: string): string => list.split(", ").slice(0, 4).join(", ");
  console.log(
    `simulation: seed ${seed}, ${outcome.steps} steps in ${(ms / 1_000).toFixed(1)} s; rarest actions: ${rarest(hitList(hits.actions, actionNames))}; rarest faults: ${rarest(hitList(hits.faults, faultNames))}`,
  );
});

test(
  "B3 B4 B9 B10 B11 B13 B14 B15 B16 B17 B18 B19 B21 B22 B23 B24 B25 B26 B27 B28 B29 B30 B31 B32 B33 B35 B36 B37 B38 B47 whatever clients, agents, time and the disk do, what was promised holds",
  {
    timeout: 1_800_000,
  },
  async () => {
    outcome = await campaign({ seed, steps, shrinkMs });
    expect(outcome.failure, outcome.failure ?? "").toBeNull();
    if (steps < 100_000) return;
    // What hardly ever happened was hardly looked at.
    for (const name of actionNames) expect(outcome.hits.actions.get(name) ?? 0, name).toBeGreaterThanOrEqual(1_000);
    for (const name of faultNames) expect(outcome.hits.faults.get(name) ?? 0, name).toBeGreaterThanOrEqual(200);
  },
);

test("B31 B32 B36 clients that come back after losses of power are never told what is not so", { timeout: 600_000 }, async () => {
  const about = ["power_cut", "power_before_sync", "power_during_write", "power_after_write", "resume", "agent_say", "attach_driver"];
  const { failure } = await campaign({ seed, steps: amount(1_800, 12_000), shrinkMs, about });
  expect(failure, failure ?? "").toBeNull();
});
