import type { AgentContext } from "../agent.ts";
import type { AgentOption, Limits } from "@sessiond/shared";
import {
  acpErrors,
  isAcpError,
  readAcp,
  setConfigOptionResponse,
  type AcpSetConfigOptionRequest,
  type AcpSetModeRequest,
  type JsonRpcPeer,
} from "@sessiond/shared/acp";
import { optionsOf, type Facts } from "./facts.ts";
import type { Hide } from "./hidden-secrets.ts";
import { quoted, wordsOfError } from "./start-failure.ts";

/**
 * What people chose for an agent, and the agent: one difference after another is told to it, until there
 * is none or it has refused. What holds then is told to everybody.
 */
export interface SettingsHost {
  readonly peer: JsonRpcPeer;
  /** The agent's name for the conversation. */
  readonly id: string;
  /** Of the agent, for sentences. */
  readonly name: string;
  readonly context: Pick<AgentContext, "chosen" | "tell">;
  readonly facts: Facts;
  readonly limits: Limits;
  readonly hide: Hide;
}

/** One thing to be told. `key`: told once, whatever comes of it. */
type Difference = { readonly key: string; readonly what: string } & (
  | { readonly mode: string }
  | { readonly option: AgentOption; readonly value: string | boolean }
);

export class Settings {
  readonly #host: SettingsHost;
  #work: Promise<unknown> = Promise.resolve();
  /** The model that was chosen when the agent was last told. */
  #model: string | null = null;

  constructor(host: SettingsHost) {
    this.#host = host;
  }

  /** One at a time. @returns why the chosen model is not the one that answers; null when it is, or none was chosen */
  apply(): Promise<string | null> {
    const next = this.#work.then(() => this.#host.facts.held(() => this.#apply()));
    this.#work = next.catch(() => undefined);
    return next;
  }

  async #apply(): Promise<string | null> {
    const tried = new Set<string>();
    let refusal: string | null = null;
    for (let next = this.#next(tried); next !== undefined; next = this.#next(tried)) {
      tried.add(next.key);
      const refused = await this.#tell(next);
      if (refused === null) continue;
      if ("option" in next && next.option.id === this.#modelOption()?.id) refusal = refused;
      this.#host.facts.again(["mode", "options"]);
      this.#host.context.tell({
        type: "notice",
        code: "agent_refused_setting",
        text: `The agent ${this.#host.name} did not take the ${next.what}: ${refused}.`,
      });
    }
    this.#model = this.#host.context.chosen().model;
    return refusal ?? this.#wrongModel();
  }

  #next(tried: ReadonlySet<string>): Difference | undefined {
    const { mode, options } = this.#host.context.chosen();
    const all: Difference[] = [];
    if (mode !== null && mode !== this.#host.facts.now.mode) all.push({ key: `mode ${mode}`, what: `mode ${JSON.stringify(mode)}`, mode });
    for (const [id, value] of this.#wanted(options)) {
      const option = this.#options.find((each) => each.id === id);
      if (option === undefined || option.value === value || typeof option.value !== typeof value) continue;
      all.push({ key: `option ${id} ${value}`, what: `value ${JSON.stringify(value)} of ${JSON.stringify(id)}`, option, value });
    }
    return all.find(({ key }) => !tried.has(key));
  }

  /**
   * A model is chosen by its name or as the option that it is; the later choice counts. Told first, a name would take an
   * option's value back, so after a start the option counts: were the name the later one, that had been taken back before.
   */
  #wanted(options: Readonly<Record<string, string | boolean>>): Map<string, string | boolean> {
    const wanted = new Map(Object.entries(options));
    const { model } = this.#host.context.chosen();
    const option = this.#modelOption();
    if (model !== "" && option !== undefined && hasChoice(option, model) && (!wanted.has(option.id) || (this.#model !== null && this.#model !== model)))
      wanted.set(option.id, model);
    return wanted;
  }

  #wrongModel(): string | null {
    const { model, options } = this.#host.context.chosen();
    const option = this.#modelOption();
    if (model === "" || (option !== undefined && options[option.id] !== undefined)) return null;
    if (option === undefined) return `the agent ${this.#host.name} lets nobody choose its model from here; start the session without one`;
    if (option.value === model) return null;
    const choices = option.type === "select" ? option.choices.map(({ id }) => id).join(", ") : "";
    return `the agent ${this.#host.name} has no model ${JSON.stringify(model)}; there are ${choices}`;
  }

  /** @returns why not; null when it holds now */
  async #tell(next: Difference): Promise<string | null> {
    const { peer, id, facts, limits, hide } = this.#host;
    const wait = { timeoutMs: limits.agent_setting_wait_ms };
    try {
      if ("mode" in next) {
        if (facts.now.modes?.some((mode) => mode.id === next.mode) !== true) return "it has none of that name";
        await peer.request("session/set_mode", { sessionId: id, modeId: next.mode } satisfies AcpSetModeRequest, wait);
        facts.learn({ mode: next.mode });
        return null;
      }
      const { option, value } = next;
      if (option.type === "select" && !hasChoice(option, value)) return "it is not among those that it offers";
      const base = { sessionId: id, configId: option.id };
      const params: AcpSetConfigOptionRequest = typeof value === "boolean" ? { ...base, type: "boolean", value } : { ...base, value };
      const read = readAcp(setConfigOptionResponse, await peer.request("session/set_config_option", params, wait));
      facts.learn({
        options: read.ok ? optionsOf(read.value.configOptions, limits) : this.#options.map((each) => (each === option ? withValue(each, value) : each)),
      });
      const now = this.#options.find((each) => each.id === option.id)?.value;
      return now === undefined || now === value ? null : `it has ${JSON.stringify(now)} now`;
    } catch (error) {
      // Whoever waits for the agent hears that it has ended.
      if (isAcpError(error, acpErrors.connection_closed)) throw error;
      return quoted(wordsOfError(error, hide), hide);
    }
  }

  #modelOption(): AgentOption | undefined {
    return this.#options.find(({ category }) => category === "model");
  }

  get #options(): readonly AgentOption[] {
    return this.#host.facts.now.options ?? [];
  }
}

const hasChoice = (option: AgentOption, value: string | boolean): boolean => option.type === "select" && option.choices.some(({ id }) => id === value);

function withValue(option: AgentOption, value: string | boolean): AgentOption {
  if (option.type === "boolean") return typeof value === "boolean" ? { ...option, value } : option;
  return typeof value === "string" ? { ...option, value } : option;
}
