import { parseArgs } from "node:util";
import { actionNames, faultNames } from "./actions.ts";
import { campaign, hitList } from "./campaign.ts";

/** `npm run simulate`: the simulation for as long as somebody wants it, with its progress. */
const help = `npm run simulate -- [--seed N] [--steps M] [--about a,b]

Plays clients and faults against the daemon's core in one process, and checks after each step what must hold.
A seed repeats the same run. Without --seed one is chosen, and printed.

  --seed N    of the first sequence (300 steps each; the next has N + 7919)
  --steps M   how many steps there are in all (100000)
  --about a,b actions that are to happen more often
  --help      this`;

export async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: { seed: { type: "string" }, steps: { type: "string" }, about: { type: "string" }, help: { type: "boolean" } },
  });
  if (values.help === true) {
    console.log(help);
    return 0;
  }
  const seed = Number(values.seed ?? Date.now() % 1_000_000_000);
  const steps = Number(values.steps ?? 100_000);
  if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(steps) || steps < 1) {
    console.error(`--seed and --steps must be whole numbers\n\n${help}`);
    return 2;
  }
  console.log(`seed ${seed}, ${steps} steps`);
  const begun = performance.now();
  let told = begun;
  const outcome = await campaign({
    seed,
    steps,
    shrinkMs: 60_000,
    about: values.about?.split(",") ?? [],
    progress: (taken) => {
      const now = performance.now();
      if (now - told < 5_000) return;
      told = now;
      console.log(`${taken} steps, ${Math.round((taken * 1_000) / (now - begun))}/s`);
    },
  });
  console.log(`actions: ${hitList(outcome.hits.actions, actionNames)}`);
  console.log(`faults: ${hitList(outcome.hits.faults, faultNames)}`);
  console.log(`seed ${seed}: ${outcome.steps} steps in ${(outcome.ms / 1_000).toFixed(1)} s, ${Math.round((outcome.steps * 1_000) / outcome.ms)} a second`);
  if (outcome.failure === null) return 0;
  console.error(`\nFAILED ${outcome.failure}`);
  return 1;
}
