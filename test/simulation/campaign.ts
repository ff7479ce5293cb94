import { noHits, run, sequence, type Failure, type Hits, type Step } from "./run.ts";
import { asText, shrink } from "./shrink.ts";
import { answerForWorkdirs } from "./workdirs.ts";

/** Many sequences one after another, each on a machine of its own, until so many steps were taken or one has failed. */
const sequenceLength = 300;

export interface Campaign {
  readonly seed: number;
  readonly steps: number;
  /** How long a failing sequence is shortened. */
  readonly shrinkMs: number;
  /** Actions that are to happen more often than they would. */
  readonly about?: readonly string[];
  /** Told after each sequence how many steps there were. */
  progress?(steps: number): void;
}

export interface Outcome {
  readonly hits: Hits;
  readonly steps: number;
  readonly ms: number;
  /** What a person needs, to see what failed and to see it again. */
  readonly failure: string | null;
}

export async function campaign({ seed, steps, shrinkMs, about = [], progress }: Campaign): Promise<Outcome> {
  const restore = answerForWorkdirs();
  const hits = noHits();
  const begun = performance.now();
  let taken = 0;
  try {
    for (let at = 0; taken < steps; at++) {
      const length = Math.min(sequenceLength, steps - taken);
      const sequenceSeed = (seed + at * 7_919) >>> 0;
      const failed = await run(sequence(sequenceSeed, length, about), hits);
      taken += length;
      if (failed !== null) {
        const shrunk = await shrink(sequence(sequenceSeed, length, about), failed, shrinkMs);
        return {
          hits,
          steps: taken,
          ms: performance.now() - begun,
          failure: report(`--seed ${sequenceSeed} --steps ${length}${about.length > 0 ? ` --about ${about.join()}` : ""}`, failed, shrunk),
        };
      }
      progress?.(taken);
    }
    return { hits, steps: taken, ms: performance.now() - begun, failure: null };
  } finally {
    restore();
  }
}

const shown = 40;

function report(again: string, failed: Failure, shrunk: { steps: readonly Step[]; failure: Failure }): string {
  return [
    `${failed.error.message}`,
    `after step ${failed.at}; again: npm run simulate -- ${again}`,
    `shortened to ${shrunk.steps.length} steps: ${asText(shrunk.steps)}`,
    `which end in: ${shrunk.failure.error.stack ?? shrunk.failure.error.message}`,
    `what happened (the last of it):\n  ${shrunk.failure.told.slice(-shown).join("\n  ")}`,
    `frames:\n  ${shrunk.failure.frames.slice(-shown).join("\n  ")}`,
  ].join("\n");
}

/** Rarest first. */
export const hitList = (hits: ReadonlyMap<string, number>, names: readonly string[]): string =>
  names
    .map((name) => [name, hits.get(name) ?? 0] as const)
    .toSorted((a, b) => a[1] - b[1])
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
