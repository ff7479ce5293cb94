import type { AgentFacts, AgentFactsTold, AgentOption, OptionValues, SessionEvent, SessionState } from "@sessiond/client";
import { foreignLine } from "./screen.ts";

/** What an agent tells of itself, in words: its modes, its own options, how full its context is. */
type Configured = Extract<SessionEvent, { type: "session_configured" }>;

/** What is worth a line when an agent tells it: another title, another mode. What it tells first, and what people chose, is no news. */
export class AgentNews {
  #title: string | null = null;
  /** A title that people gave stays. */
  #titled = false;
  #facts: Pick<AgentFacts, "mode" | "modes"> = { mode: null, modes: [] };

  stands({ title, chosen, agent_facts }: SessionState): void {
    this.#title = title;
    this.#titled = chosen.title;
    this.#facts = agent_facts;
  }

  chosen({ title, mode }: Configured): void {
    if (title !== undefined) [this.#title, this.#titled] = [title, title !== null];
    if (mode !== undefined) this.#facts = { ...this.#facts, mode };
  }

  /** Null: nothing that a reader needs to know. */
  told({ title, mode, modes = this.#facts.modes }: AgentFactsTold): string | null {
    const before = this.#facts.mode;
    this.#facts = { mode: mode === undefined ? before : mode, modes };
    const retitled = title !== undefined && !this.#titled && title !== this.#title;
    if (retitled) this.#title = title;
    const words = [
      ...(retitled ? [`the agent calls this session “${foreignLine(title)}”`] : []),
      ...(before !== null && mode != null && mode !== before ? [`the agent's mode is ${modeWords(this.#facts)} now`] : []),
    ];
    return words.length === 0 ? null : words.join("; ");
  }
}

/** The mode by its name, and by its id where that is another word. */
export function modeWords({ mode, modes }: Pick<AgentFacts, "mode" | "modes">): string {
  if (mode === null) return "-";
  const name = modes.find(({ id }) => id === mode)?.name ?? mode;
  return foreignLine(name.toLowerCase() === mode.toLowerCase() ? mode : `${mode} (${name})`);
}

export const settingWords = (id: string, value: OptionValues[string]): string => foreignLine(`${id} = ${String(value)}`);

/** `effort = high (low, medium, high)`. */
export function optionWords(option: AgentOption): string {
  const choices = option.type === "boolean" ? ["true", "false"] : option.choices.map(({ id }) => id);
  return foreignLine(`${settingWords(option.id, option.value)}  (${fewOf(choices)})`);
}

/** `12,000 of 200,000 tokens, 6 %; 0.42 USD so far`. */
export function useWords({ use }: Pick<AgentFacts, "use">): string | null {
  if (use === null) return null;
  const share = use.size === 0 ? "" : ` of ${use.size.toLocaleString("en")} tokens, ${Math.round((100 * use.used) / use.size)} %`;
  const cost = use.cost === undefined ? "" : `; ${use.cost.amount.toFixed(2)} ${foreignLine(use.cost.currency)} so far`;
  return `${use.used.toLocaleString("en")}${share === "" ? " tokens" : share}${cost}`;
}

const namesMax = 12;

/** Some of many; how many there are beyond them. */
export const fewOf = (names: readonly string[]): string =>
  names.length <= namesMax + 1 ? names.join(", ") : `${names.slice(0, namesMax).join(", ")} and ${names.length - namesMax} more`;

/** Who answers, in a line. An agent of another maker has a model of its own where none was named; the built-in one has none then. */
export function whoAnswers({ agent, model }: { readonly agent: string; readonly model: string }): string {
  if (agent === "openai") return `model ${foreignLine(model) || "not set"}`;
  return model === "" ? `agent ${foreignLine(agent)}` : `agent ${foreignLine(agent)}, model ${foreignLine(model)}`;
}
