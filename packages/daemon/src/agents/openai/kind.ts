import type { Limits } from "@sessiond/shared";
import type { Agent, AgentContext, AgentEvent, AgentKind, AgentTurn } from "../agent.ts";
import type { MarkedChild } from "../children.ts";
import { deathSignalPrefix, spawnMarked } from "../children.ts";
import { childEnvironment } from "./child-env.ts";
import { runTurn } from "./loop.ts";
import { ChatModel } from "./model.ts";
import { Paths } from "./paths.ts";
import { practiceFetch } from "./practice.ts";

/** The built-in agent over any server that speaks Chat Completions, and the practice model behind the same client. */
export interface OpenaiOptions {
  readonly apiKey?: string | undefined;
  readonly baseURL?: string | undefined;
  /** The default model. */
  readonly model?: string | undefined;
  /** The daemon's state, runtime and config directories: no file tool enters them, no child hears of them. */
  readonly forbiddenDirs: readonly string[];
  /** What tools get as their environment; secrets and forbidden values are taken out here once more. */
  readonly childEnv: Readonly<Record<string, string>>;
  /** `<installId>.<bootId>.<callId>` */
  readonly mark: (callId: string) => string;
  readonly limits: Limits;
  readonly fetch?: typeof fetch | undefined;
  /** Waits between retries; for tests. */
  readonly sleep?: ((ms: number, signal: AbortSignal) => Promise<void>) | undefined;
}

const practiceModel = "practice";
const officialURL = "https://api.openai.com/v1";
const officialModel = "gpt-5-mini";

export function openaiKind(options: OpenaiOptions): AgentKind {
  const env = childEnvironment(options.childEnv, options.forbiddenDirs);
  // Asked of the system once, when the first command is run.
  let prefix: Promise<readonly string[]> | undefined;
  const spawn = async (cwd: string, callId: string, command: string): Promise<MarkedChild> => {
    prefix ??= deathSignalPrefix(env);
    return spawnMarked({ command, cwd, env, mark: options.mark(callId), prefix: await prefix });
  };
  return {
    name: "openai",
    defaultModel: options.model || (options.apiKey && !options.baseURL ? officialModel : ""),
    // Names differ from server to server, and only the server knows its own.
    knowsModel: (model) => model === "" || /^[^\s\p{C}]{1,128}$/u.test(model),
    create: (context) => new OpenaiAgent(context, options, (callId, command) => spawn(context.workdir, callId, command)),
  };
}

class OpenaiAgent implements Agent {
  readonly capabilities = { park: true };
  readonly #context: AgentContext;
  readonly #options: OpenaiOptions;
  readonly #spawn: (callId: string, command: string) => Promise<MarkedChild>;
  readonly #model: ChatModel;
  readonly #closing = new AbortController();
  readonly #children = new Set<MarkedChild>();

  constructor(context: AgentContext, options: OpenaiOptions, spawn: (callId: string, command: string) => Promise<MarkedChild>) {
    this.#context = context;
    this.#options = options;
    this.#spawn = spawn;
    const { limits, sleep } = options;
    this.#model =
      context.model === practiceModel
        ? new ChatModel({ apiKey: "none-is-needed", baseURL: "http://practice.invalid/v1", limits, fetch: practiceFetch, sleep })
        : // Local servers want no key but refuse an empty one.
          new ChatModel({ apiKey: options.apiKey || "none", baseURL: options.baseURL || officialURL, limits, fetch: options.fetch, sleep });
  }

  unavailable(): string | null {
    const { apiKey, baseURL } = this.#options;
    if (this.#context.model === practiceModel) return null;
    const practice = "To try it without a model, use the practice model: --model practice";
    if (!apiKey && !baseURL) {
      return `no model is configured. Set OPENAI_API_KEY where the daemon is started, or api_key_file or base_url in config.toml under [model], and start the daemon again. ${practice}`;
    }
    return this.#context.model === "" ? `no model is named. Name one with --model, or set model in config.toml under [model]. ${practice}` : null;
  }

  prompt(_parts: unknown, turn: AgentTurn): AsyncIterable<AgentEvent> {
    // The prompt is already the transcript's last entry, and the loop goes by the transcript alone.
    return this.resume(turn);
  }

  resume(turn: AgentTurn): AsyncIterable<AgentEvent> {
    const { limits, forbiddenDirs } = this.#options;
    const signal = AbortSignal.any([turn.signal, this.#closing.signal]);
    const ask: AgentTurn["ask"] = (question) => turn.ask(question);
    return runTurn({
      context: this.#context,
      turn: { turnId: turn.turnId, signal, ask },
      model: this.#model,
      paths: new Paths(this.#context.workdir, forbiddenDirs),
      limits,
      spawn: (callId, command) => this.#start(callId, command),
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([...this.#children].map((child) => child.end(this.#options.limits.kill_wait_ms)));
  }

  async #start(callId: string, command: string): Promise<MarkedChild> {
    const child = await this.#spawn(callId, command);
    this.#children.add(child);
    // Its leftovers are ended by its call, which waits for them after this.
    void child.exited.then(() => child.closed).then(() => this.#children.delete(child));
    return child;
  }
}
