import type { AgentCommand, AgentFactsTold, AgentMode, AgentOption, AgentFacts, Limits } from "@sessiond/shared";
import type { ReadConfigOption } from "@sessiond/shared/acp";
import { clip, line } from "../bounded.ts";

/** What an agent tells of itself, in the shapes of `agent_facts`: what does not fit is left out, from the end. */

interface Named {
  readonly id: string;
  readonly name: string;
  readonly description?: string | undefined;
}
interface Command {
  readonly name: string;
  readonly description: string;
  readonly input?: { readonly hint: string } | undefined;
}
type Use = NonNullable<AgentFacts["use"]>;

export function modesOf(modes: readonly Named[], limits: Limits): AgentMode[] {
  const all = modes.map(({ id, name, description }) => ({ id, name: short(name, limits), ...described(description, limits) }));
  return fitting(all, limits);
}

export function optionsOf(options: readonly ReadConfigOption[], limits: Limits): AgentOption[] {
  const all = options.flatMap((option): AgentOption[] => {
    const named = { id: option.id, name: short(option.name, limits), ...described(option.description, limits) };
    const category = option.category ? { category: short(option.category, limits) } : {};
    if (option.type === "boolean") return [{ type: "boolean", ...named, ...category, value: option.currentValue }];
    const fit = option.options.map(({ value, name, description, group }) => ({
      id: value,
      name: short(name, limits),
      ...described(description, limits),
      ...(group !== undefined && { group: short(group, limits) }),
    }));
    return [{ type: "select", ...named, ...category, value: option.currentValue, choices: fitting(fit, limits, limits.agent_choices_max) }];
  });
  return fitting(
    all.filter((option) => option.type === "boolean" || option.value.length <= limits.agent_text_chars_max),
    limits,
  );
}

export function commandsOf(commands: readonly Command[], limits: Limits): AgentCommand[] {
  const all = commands.map(({ name, description, input }) => ({
    id: name,
    name,
    description: short(description, limits),
    ...(input?.hint ? { hint: short(input.hint, limits) } : {}),
  }));
  return fitting(all, limits).map(({ id: _id, ...command }) => command);
}

/** Null where it is no count. */
export function useOf({ used, size, cost }: { used: number; size: number; cost?: { amount: number; currency: string } | undefined }): Use | null {
  if (![used, size].every((count) => Number.isSafeInteger(count) && count >= 0)) return null;
  const isCost = cost && Number.isFinite(cost.amount) && cost.amount >= 0;
  return { used, size, ...(isCost && { cost: { amount: cost.amount, currency: clip(cost.currency, 8) } }) };
}

export const titleOf = (title: string, limits: Limits): string => line(title, limits.session_title_chars_max);

const short = (text: string, limits: Limits): string => clip(text, limits.agent_text_chars_max);
const described = (text: string | undefined, limits: Limits) => (text ? { description: short(text, limits) } : {});

/** Ids are used to set what they name, so they are never cut. */
function fitting<T extends { readonly id: string }>(all: readonly T[], limits: Limits, most = limits.agent_facts_max): T[] {
  let room = limits.agent_facts_chars_max;
  const seen = new Set<string>();
  return all.slice(0, most).filter((each) => {
    const chars = JSON.stringify(each).length;
    if (each.id === "" || each.id.length > limits.agent_text_chars_max || seen.has(each.id) || chars > room) return false;
    seen.add(each.id);
    room -= chars;
    return true;
  });
}

/** What holds, and what of it is not told yet. */
export class Facts {
  #told: AgentFactsTold = {};
  #now: AgentFactsTold = {};
  #held = 0;
  readonly #tell: (facts: AgentFactsTold) => void;

  constructor(tell: (facts: AgentFactsTold) => void) {
    this.#tell = tell;
  }

  get now(): AgentFactsTold {
    return this.#now;
  }

  learn(facts: AgentFactsTold): void {
    this.#now = { ...this.#now, ...facts };
    this.#flush();
  }

  /**
   * Nothing is told until `work` is done: what was chosen is being set, one after another, and what the agent
   * tells meanwhile of what is not set yet would take that choice back.
   */
  async held<T>(work: () => Promise<T>): Promise<T> {
    this.#held += 1;
    try {
      return await work();
    } finally {
      this.#held -= 1;
      this.#flush();
    }
  }

  /** Tell these again: somebody chose otherwise meanwhile. */
  again(names: readonly (keyof AgentFactsTold)[]): void {
    this.#told = Object.fromEntries(Object.entries(this.#told).filter(([name]) => !names.some((each) => each === name)));
    this.#flush();
  }

  #flush(): void {
    if (this.#held > 0) return;
    const news = Object.entries(this.#now).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(this.#told[name as keyof AgentFactsTold]));
    if (news.length === 0) return;
    this.#told = this.#now;
    this.#tell(Object.fromEntries(news));
  }
}
