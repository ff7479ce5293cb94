import { seededChance } from "../support/chance.ts";
import { act, actions } from "./actions.ts";
import { heal } from "./healing.ts";
import { observe } from "./observe.ts";
import { World } from "./world.ts";

/**
 * A sequence of steps, made from a seed before anything happens, so that a part of it can be tried
 * by itself; and what became of it.
 */
export interface Step {
  readonly action: string;
  /** Of all that chance decides in this step. */
  readonly seed: number;
  /** Operations of the disk that come true before the next step. */
  readonly pumps: number;
}

export interface Failure {
  readonly error: Error;
  /** Index of the step after which it showed. */
  readonly at: number;
  readonly told: readonly string[];
  /** The newest frames of every session. */
  readonly frames: readonly string[];
}

export interface Hits {
  readonly actions: Map<string, number>;
  readonly faults: Map<string, number>;
}

export const noHits = (): Hits => ({ actions: new Map(), faults: new Map() });

/** How much more often that is chosen which a sequence is about. */
const emphasis = 8;

/** @param about  names of actions that are to happen more often */
export function sequence(seed: number, length: number, about: readonly string[] = []): Step[] {
  const chance = seededChance(seed);
  const weightOf = ({ name, weight }: (typeof actions)[number]): number => (about.includes(name) ? weight * emphasis : weight);
  const total = actions.reduce((sum, action) => sum + weightOf(action), 0);
  return Array.from({ length }, () => {
    let at = chance.upTo(total);
    const action = actions.find((each) => (at -= weightOf(each)) < 0) ?? actions[0];
    const kind = chance.upTo(10);
    const pumps = kind < 5 ? chance.upTo(5) : kind < 8 ? 8 + chance.upTo(12) : 200;
    return { action: action?.name ?? "", seed: Math.floor(chance.upTo(2 ** 31)), pumps: Math.floor(pumps) };
  });
}

export async function run(steps: readonly Step[], hits: Hits = noHits()): Promise<Failure | null> {
  const world = new World(hits.actions, hits.faults);
  let at = -1;
  try {
    await world.start();
    for (at = 0; at < steps.length; at++) {
      const step = steps[at];
      if (step === undefined) continue;
      world.chance = seededChance(step.seed);
      await act(world, step.action);
      await world.pump(step.pumps);
      observe(world);
    }
    await heal(world);
    return null;
  } catch (error) {
    return { error: error as Error, at: Math.min(at, steps.length - 1), told: world.told, frames: framesOf(world) };
  }
}

const framesOf = (world: World): string[] =>
  world.sessions.flatMap(({ id, view, gone }) => [
    `${id}${gone ? " (deleted)" : ""}`,
    ...Array.from({ length: 25 }, (_, index) => view.text(view.last - 24 + index)).filter((text) => text !== undefined),
  ]);
