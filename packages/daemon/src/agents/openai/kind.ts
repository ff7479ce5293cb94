import type { ContentPart, Limits } from "@sessiond/shared";
import { joinedSignal } from "../../joined-signal.ts";
import type { Agent, AgentContext, AgentSays, AgentKind, AgentTurn } from "../agent.ts";
import type { MarkedChild } from "../children.ts";
import { deathSignalPrefix, spawnMarked } from "../children.ts";
import { systemProgramDirs } from "../../system-program.ts";
import { childEnvironment } from "../child-env.ts";
import { runTurn } from "./loop.ts";
import { ChatModel } from "./model.ts";
import { Paths } from "./paths.ts";
import { practiceFetch } from "./practice.ts";
import { SandboxMaker, type Sandboxed } from "./sandbox.ts";
import { ToolError } from "./tools/tool.ts";
import { Workdir } from "./workdir.ts";

/** The built-in agent over any server that speaks Chat Completions, and the practice model behind the same client. */
export interface OpenaiOptions {
  readonly apiKey?: string | undefined;
  readonly baseURL?: string | undefined;
  /** The default model. */
  readonly model?: string | undefined;
  /** The daemon's state, runtime and config directories: no file tool enters them, no child hears of them. */
  readonly forbiddenDirs: readonly string[];
  /** Keys that lie elsewhere, with the same meaning. */
  readonly secretFiles?: readonly string[] | undefined;
  /** Where the programs are that the daemon runs itself. */
  readonly programDirs?: readonly string[] | undefined;
  /** Which daemon this is, for whoever has to set what it lacks: "this daemon (pid 42, started by a client 3 h ago)". */
  readonly daemon?: (() => string) | undefined;
  /** What tools get as their environment, under what their session was started with; secrets and forbidden values are taken out here once more. */
  readonly childEnv: Readonly<Record<string, string>>;
  /** Of the account; a sandbox has an empty one in its place. */
  readonly home?: string | undefined;
  /** `<installId>.<bootId>.<callId>` */
  readonly mark: (callId: string) => string;
  readonly limits: Limits;
  readonly fetch?: typeof fetch | undefined;
  /** Waits between retries; for tests. */
  readonly sleep?: ((ms: number, signal: AbortSignal) => Promise<void>) | undefined;
}

/** @throws ToolError when the turn was aborted, or the agent closed, before it could be started */
type Start = (callId: string, command: string, signal: AbortSignal) => Promise<MarkedChild>;

const practiceModel = "practice";
const officialURL = "https://api.openai.com/v1";
const officialModel = "gpt-5-mini";
const capabilities = { park: true, steer: true };

export function openaiKind(options: OpenaiOptions): AgentKind {
  // Asked of the system once, when the first command is run.
  let prefix: Promise<readonly string[]> | undefined;
  const { programDirs = systemProgramDirs } = options;
  const forbidden = forbiddenTo(options);
  const maker = new SandboxMaker({ ...options, programDirs, home: options.home ?? options.childEnv["HOME"] ?? "" });
  const starter =
    ({ env: given, sandbox }: AgentContext, workdir: Workdir): Start =>
    async (callId, command, signal) => {
      prefix ??= deathSignalPrefix(programDirs);
      const words = await prefix;
      const env = childEnvironment({ ...options.childEnv, ...given }, forbidden);
      const mark = options.mark(callId);
      const held = await workdir.hold();
      let enclosure: Sandboxed | undefined;
      try {
        if (sandbox !== "off") enclosure = await maker.enclosure({ workdir: held, sandbox, env, mark });
        if (signal.aborted) throw new ToolError("Interrupted before it was run.");
        // What holds a sandbox leads there by itself.
        return spawnMarked({ command, cwd: enclosure === undefined ? held.at() : "/", env, mark, prefix: words, enclosure });
      } finally {
        // By now it is there, or will not be. Not waited for: what a command says before somebody listens is lost.
        void Promise.allSettled([held.close(), enclosure?.release()]);
      }
    };
  const defaultModel = options.model || (options.apiKey && !options.baseURL ? officialModel : "");
  return {
    name: "openai",
    defaultModel,
    // Names differ from server to server, and only the server knows its own.
    knowsModel: (model) => model === "" || /^[^\s\p{C}]{1,128}$/u.test(model),
    info: () => ({
      name: "openai",
      kind: "built_in",
      default_model: defaultModel,
      models: null,
      modes: [],
      capabilities: { ...capabilities, images: false },
      unavailable: whyUnavailable(defaultModel, options),
    }),
    whyNoSandbox: () => maker.whyNot(),
    create: (context) => {
      const workdir = new Workdir(context.workdir);
      return new OpenaiAgent(context, options, { workdir, spawn: starter(context, workdir) });
    },
  };
}

const forbiddenTo = ({ forbiddenDirs, secretFiles = [] }: OpenaiOptions): readonly string[] => [...forbiddenDirs, ...secretFiles];

/** Null when the model can be asked; else what this daemon lacks, and what to do. */
function whyUnavailable(model: string, { apiKey, baseURL, daemon = () => "this daemon" }: OpenaiOptions): string | null {
  if (model === practiceModel) return null;
  const practice = "To try it without a model, use the practice model: --model practice";
  if (!apiKey && !baseURL) {
    return `no model is configured: ${daemon()} has no key. Set OPENAI_API_KEY where the daemon is started, or api_key_file or base_url in config.toml under [model], and start the daemon again (\`sessiond down\`, then any command). ${practice}`;
  }
  return model === ""
    ? `no model is named, and ${daemon()} has none of its own. Name one with --model, or set name in config.toml under [model]. ${practice}`
    : null;
}

class OpenaiAgent implements Agent {
  readonly capabilities = capabilities;
  readonly #context: AgentContext;
  readonly #options: OpenaiOptions;
  readonly #workdir: Workdir;
  readonly #spawn: Start;
  readonly #model: ChatModel;
  readonly #closing = new AbortController();
  readonly #children = new Set<MarkedChild>();

  constructor(context: AgentContext, options: OpenaiOptions, { workdir, spawn }: { workdir: Workdir; spawn: Start }) {
    this.#context = context;
    this.#options = options;
    this.#workdir = workdir;
    this.#spawn = spawn;
    const { limits, sleep } = options;
    this.#model =
      context.model === practiceModel
        ? new ChatModel({ apiKey: "none-is-needed", baseURL: "http://practice.invalid/v1", limits, fetch: practiceFetch, sleep })
        : // Local servers want no key but refuse an empty one.
          new ChatModel({ apiKey: options.apiKey || "none", baseURL: options.baseURL || officialURL, limits, fetch: options.fetch, sleep });
  }

  unavailable(): string | null {
    return whyUnavailable(this.#context.model, this.#options);
  }

  refuses(parts: readonly ContentPart[]): string | null {
    return parts.some((part) => part.type === "image") ? "the built-in agent takes no images; name the file in the prompt" : null;
  }

  prompt(_parts: unknown, turn: AgentTurn): AsyncIterable<AgentSays> {
    // The prompt is already the transcript's last entry, and the loop goes by the transcript alone.
    return this.resume(turn);
  }

  async *resume(turn: AgentTurn): AsyncIterable<AgentSays> {
    const { signal, release } = joinedSignal(turn.signal, this.#closing.signal);
    try {
      yield* this.#run(turn, signal);
    } finally {
      release();
    }
  }

  #run(turn: AgentTurn, signal: AbortSignal): AsyncIterable<AgentSays> {
    const { limits } = this.#options;
    const ask: AgentTurn["ask"] = (question) => turn.ask(question);
    const takeSteering = (): number => turn.takeSteering();
    return runTurn({
      context: this.#context,
      turn: { turnId: turn.turnId, signal, ask, takeSteering },
      model: this.#model,
      unavailable: () => this.unavailable(),
      paths: new Paths(this.#workdir, forbiddenTo(this.#options)),
      limits,
      sandbox: this.#context.sandbox,
      spawn: (callId, command) => this.#start(callId, command, signal),
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([...this.#children].map((child) => child.end(this.#options.limits.kill_wait_ms)));
  }

  async #start(...call: Parameters<Start>): Promise<MarkedChild> {
    const child = await this.#spawn(...call);
    this.#children.add(child);
    // Its leftovers are ended by its call, which waits for them after this.
    void child.exited.then(() => child.closed).then(() => this.#children.delete(child));
    return child;
  }
}
