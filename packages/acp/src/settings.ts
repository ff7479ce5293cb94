import type { AgentMode, AgentOption, ConfigureRequest, SessionState } from "@sessiond/client";
import type { AcpConfigOption, AcpMode, AcpModes, AcpUpdate } from "@sessiond/shared/acp";
import { refused } from "./errors.ts";

/** What the editor's client can show, as it told at `initialize`. */
export interface ClientFacts {
  /** How others see its seats. */
  readonly label: string;
  readonly booleans: boolean;
  readonly notices: boolean;
}

/** In the place of a switch, for clients that know lists of choices only. */
const onOff = [
  { value: "true", name: "On" },
  { value: "false", name: "Off" },
];

/** The agent's modes; undefined where it has none, or has not run yet. */
function modesOf({ agent_facts: { mode, modes } }: SessionState): AcpModes | undefined {
  const currentModeId = mode ?? modes[0]?.id;
  return currentModeId === undefined ? undefined : { currentModeId, availableModes: modes.map(modeOf) };
}

/** The agent's settings, and its modes as one more: an agent tells of them when it runs, and a client hears of later ones in this form only. */
export function optionsOf(state: SessionState, { booleans }: ClientFacts): AcpConfigOption[] {
  const options = state.agent_facts.options.map((option) => optionOf(option, booleans));
  const modes = modesOf(state);
  const id = modeOptionOf(state);
  if (modes === undefined || id === null) return options;
  const choices = modes.availableModes.map(({ id: value, name, description }) => ({ value, name, ...(description !== undefined && { description }) }));
  return [{ id, name: "Mode", category: "mode", type: "select", currentValue: modes.currentModeId, options: choices }, ...options];
}

/** Null where the agent itself has its modes among its settings, or has none. */
function modeOptionOf({ agent_facts: { modes, options } }: SessionState): string | null {
  if (modes.length === 0 || options.some(({ category }) => category === "mode")) return null;
  return options.some(({ id }) => id === "mode") ? "sessiond_mode" : "mode";
}

function optionOf(option: AgentOption, booleans: boolean): AcpConfigOption {
  const { id, name, description, category } = option;
  const base = { id, name, ...(description !== undefined && { description }), ...(category !== undefined && { category }) };
  if (option.type === "boolean")
    return booleans
      ? { ...base, type: "boolean", currentValue: option.value }
      : { ...base, type: "select", currentValue: String(option.value), options: onOff };
  const options = option.choices.map(({ id: value, name: text, description: more, group }) => ({
    value,
    name: group === undefined ? text : `${group}: ${text}`,
    ...(more !== undefined && { description: more }),
  }));
  return { ...base, type: "select", currentValue: option.value, options };
}

const modeOf = ({ id, name, description }: AgentMode): AcpMode => ({ id, name, ...(description !== undefined && { description }) });

/** What `session/set_config_option` asks for. @throws AcpError when there is no such setting */
export function wantedOf(state: SessionState, id: string, value: string | boolean): ConfigureRequest {
  if (id === modeOptionOf(state)) return { mode: String(value) };
  const option = state.agent_facts.options.find((each) => each.id === id);
  if (option === undefined) throw refused(`This session's agent has no setting ${id}.`);
  if (option.type !== "boolean" || typeof value === "boolean") return { options: { [id]: value } };
  if (value !== "true" && value !== "false") throw refused(`${option.name} is on or off: true or false.`);
  return { options: { [id]: value === "true" } };
}

/** What the editor was told last of all that stands beside the conversation. */
export class ToldSettings {
  readonly #client: ClientFacts;
  #title: string | null = null;
  #mode: string | undefined;
  #options = "[]";
  #commands = "[]";
  #use: string | null = null;

  constructor(client: ClientFacts) {
    this.#client = client;
  }

  /** The answer to `session/new` and its like carries these. */
  answered(state: SessionState): { modes?: AcpModes; configOptions?: readonly AcpConfigOption[] } {
    const modes = modesOf(state);
    const configOptions = optionsOf(state, this.#client);
    this.#mode = modes?.currentModeId;
    this.#options = JSON.stringify(configOptions);
    return { ...(modes && { modes }), ...(configOptions.length > 0 && { configOptions }) };
  }

  /** What is otherwise than it was told. */
  news(state: SessionState): AcpUpdate[] {
    const updates: AcpUpdate[] = [];
    const { title, agent_facts: facts } = state;
    if (title !== this.#title) updates.push({ sessionUpdate: "session_info_update", title: (this.#title = title) });
    const mode = modesOf(state)?.currentModeId;
    if (mode !== undefined && mode !== this.#mode) updates.push({ sessionUpdate: "current_mode_update", currentModeId: (this.#mode = mode) });
    const configOptions = optionsOf(state, this.#client);
    const options = JSON.stringify(configOptions);
    if (options !== this.#options) updates.push({ sessionUpdate: "config_option_update", configOptions });
    this.#options = options;
    const commands = JSON.stringify(facts.commands);
    if (commands !== this.#commands) {
      const availableCommands = facts.commands.map(({ name, description, hint }) => ({ name, description, ...(hint !== undefined && { input: { hint } }) }));
      updates.push({ sessionUpdate: "available_commands_update", availableCommands });
    }
    this.#commands = commands;
    const use = facts.use === null ? null : JSON.stringify(facts.use);
    if (facts.use !== null && use !== this.#use) {
      const { used, size, cost } = facts.use;
      updates.push({ sessionUpdate: "usage_update", used, size, ...(cost && { cost }) });
    }
    this.#use = use;
    return updates;
  }
}
