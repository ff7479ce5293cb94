import { run, type Failure, type Step } from "./run.ts";

/**
 * The shortest sequence found that still breaks the same promise: larger parts are left out first,
 * then single steps, then what the disk does between them.
 */
const sameKind = (one: Failure, other: Failure): boolean => one.error.message.slice(0, 4) === other.error.message.slice(0, 4);

export async function shrink(steps: readonly Step[], failure: Failure, forMs = 30_000): Promise<{ steps: readonly Step[]; failure: Failure }> {
  const until = Date.now() + forMs;
  let best = { steps: steps.slice(0, failure.at + 1), failure };
  const tryThese = async (fewer: readonly Step[]): Promise<boolean> => {
    const found = await run(fewer);
    if (found === null || !sameKind(found, failure)) return false;
    best = { steps: fewer.slice(0, found.at + 1), failure: found };
    return true;
  };
  for (let size = Math.ceil(best.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = best.steps.length - size; at > -size && Date.now() < until; at -= size) {
      const from = Math.max(0, at);
      await tryThese([...best.steps.slice(0, from), ...best.steps.slice(from + size)]);
      at = Math.min(at, best.steps.length);
    }
  }
  for (let at = 0; at < best.steps.length && Date.now() < until; at++) {
    const step = best.steps[at];
    for (const pumps of [0, 200]) if (step !== undefined && step.pumps !== pumps && (await tryThese(best.steps.toSpliced(at, 1, { ...step, pumps })))) break;
  }
  return best;
}

/** As it is written into a test. */
export const asText = (steps: readonly Step[]): string => JSON.stringify(steps.map(({ action, seed, pumps }) => [action, seed, pumps]));
