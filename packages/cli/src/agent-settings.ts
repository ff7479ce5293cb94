import type { AgentFacts, AgentOption, OptionValues } from "@sessiond/client";
import { fewOf } from "./agent-words.ts";
import { Failure } from "./exit-codes.ts";
import { foreignLine } from "./screen.ts";

/** The agent's mode and options as a person types them, held against what the agent told of. */
export interface TypedSettings {
  readonly mode?: string | undefined;
  /** `key=value` each. */
  readonly options: readonly string[];
}

export interface AgentSettings {
  readonly mode?: string;
  readonly options?: OptionValues;
}

const isTrue = /^(true|on|yes)$/i;
const isFalse = /^(false|off|no)$/i;

/** @throws Failure usage, with what there is */
export function agentSettings({ mode, options }: TypedSettings, facts: AgentFacts): AgentSettings {
  const chosen = options.map((text) => optionTyped(text, facts.options));
  return {
    ...(mode !== undefined && { mode: idOf("mode", mode, facts.modes) }),
    ...(chosen.length > 0 && { options: Object.fromEntries(chosen) }),
  };
}

function optionTyped(text: string, there: readonly AgentOption[]): [id: string, value: string | boolean] {
  const at = text.indexOf("=");
  if (at <= 0) throw new Failure("usage", `\`${foreignLine(text)}\` is no setting; write --option name=value.${has("option", there)}`);
  const id = idOf("option", text.slice(0, at), there);
  const value = text.slice(at + 1);
  const option = there.find((each) => each.id === id);
  if (option?.type !== "boolean") return [id, idOf(`value of ${id}`, value, option?.choices ?? [])];
  if (isTrue.test(value)) return [id, true];
  if (isFalse.test(value)) return [id, false];
  throw new Failure("usage", `${foreignLine(id)} is on or off, not \`${foreignLine(value)}\`.`);
}

/** By its id, or by its name in any case where no other has it. */
function idOf(what: string, typed: string, there: readonly { readonly id: string; readonly name: string }[]): string {
  if (there.some(({ id }) => id === typed)) return typed;
  const [only, second] = there.filter(({ name }) => name.toLowerCase() === typed.toLowerCase());
  if (only !== undefined && second === undefined) return only.id;
  throw new Failure("usage", `The agent has no ${foreignLine(what)} \`${foreignLine(typed)}\`.${has(what, there)}`);
}

function has(what: string, there: readonly { readonly id: string; readonly name: string }[]): string {
  if (there.length === 0) return ` It has told of no ${foreignLine(what.split(" ")[0] ?? what)}; an agent tells when it first runs.`;
  const names = there.map(({ id, name }) => (name === "" || name.toLowerCase() === id.toLowerCase() ? id : `${id} (${name})`));
  return ` There ${names.length === 1 ? "is" : "are"}: ${foreignLine(fewOf(names))}.`;
}
