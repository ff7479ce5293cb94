import { agentActions } from "./actions-agent.ts";
import { faultActions } from "./actions-faults.ts";
import { lifeActions } from "./actions-lives.ts";
import { promptActions } from "./actions-prompts.ts";
import { questionActions } from "./actions-questions.ts";
import { seatActions } from "./actions-seats.ts";
import { settingActions } from "./actions-settings.ts";
import { tokenActions } from "./actions-tokens.ts";
import type { World } from "./world.ts";

/**
 * What can happen. Where an action finds nothing to do it to, one that leads there is taken instead;
 * only what had its effect is counted.
 */
export interface Action {
  readonly name: string;
  /** How often it is chosen, against the others. */
  readonly weight: number;
  /** @returns false: there is nothing to do it to */
  act(world: World): boolean | Promise<boolean>;
  /** What leads to where it can be done. */
  readonly otherwise?: string | ((world: World) => string);
  /** Counted as a fault, where it happens. */
  readonly fault?: boolean;
}

export const actions: readonly Action[] = [
  ...lifeActions,
  ...tokenActions,
  ...seatActions,
  ...promptActions,
  ...questionActions,
  ...settingActions,
  ...agentActions,
  ...faultActions,
];
const byName = new Map(actions.map((action) => [action.name, action]));

/** Counted by what came of them rather than by their own name. */
export const actionNames: readonly string[] = [...actions.filter(({ fault }) => fault !== true).map(({ name }) => name), "mint_expiring_token"];
export const faultNames: readonly string[] = [
  ...actions.filter(({ fault }) => fault === true).map(({ name }) => name),
  "agent_throws",
  "agent_hangs",
  "agent_talks_after_cancel",
];

export async function act(world: World, name: string): Promise<void> {
  for (let next = byName.get(name), tries = 0; next !== undefined && tries < 6; tries++) {
    world.told.push(next.name);
    if (await next.act(world)) return;
    world.told.pop();
    const { otherwise = "start_or_get" } = next;
    next = byName.get(typeof otherwise === "string" ? otherwise : otherwise(world));
  }
}
