import type { ContentPart, Limits } from "@sessiond/shared";
import { acpErrors, isAcpError, type AcpSessionName } from "@sessiond/shared/acp";
import type { Agent, AgentContext, AgentEvent, AgentSays, AgentTurn } from "../agent.ts";
import type { TalkingChild } from "../children.ts";
import { Conversation } from "./conversation.ts";
import type { Hide } from "./hidden-secrets.ts";
import type { AgentEntry } from "./known-agents.ts";
import { loginNeeded, open, type Opened } from "./opening.ts";
import { whyRefused } from "./parts.ts";
import { Program } from "./program.ts";
import { Settings } from "./settings.ts";
import { TurnFailure } from "./start-failure.ts";
import { unlessAborted } from "./when-aborted.ts";
import type { StderrFile } from "./stderr-file.ts";

/**
 * Any agent that speaks ACP, as a child: started when its first prompt comes, kept between turns, started
 * anew when it has ended. It does its work by itself and as the owner; sessiond asks and tells.
 */
export interface AcpAgentOptions {
  readonly entry: AgentEntry;
  readonly limits: Limits;
  readonly hide: Hide;
  /** @throws TurnFailure agent_unavailable; nothing is left of it when `signal` aborted */
  start(context: AgentContext): Promise<{ readonly child: TalkingChild; readonly log: StderrFile }>;
  /** Null when its program is there; else what to do. */
  missing(context: AgentContext): Promise<string | null>;
  report(error: unknown): void;
}

/** An agent that runs, and knows what it is about. */
interface Live extends Opened {
  readonly program: Program;
  readonly conversation: Conversation;
  readonly settings: Settings;
}

interface Beginning {
  readonly opened: Opened;
  readonly program: Program;
  readonly conversation: Conversation;
  /** Aborts when nobody waits for it any more. */
  readonly signal: AbortSignal;
}

export class AcpAgent implements Agent {
  readonly capabilities = { park: false, steer: false };
  readonly #context: AgentContext;
  readonly #options: AcpAgentOptions;
  #live: Live | null = null;
  /** Also while it is on its way to a conversation. */
  #program: Program | null = null;
  /** As of the last look. */
  #missing: string | null = null;
  /** What became of the model that was told to it at its start, until its first prompt comes or something else is chosen. */
  #begunWith: Promise<string | null> | null = null;
  #closed = false;
  /** A prompt has come, and the agent has not got it yet. */
  #preparing = false;

  constructor(context: AgentContext, options: AcpAgentOptions) {
    this.#context = context;
    this.#options = options;
  }

  async look(): Promise<void> {
    this.#missing = await this.#options.missing(this.#context);
  }

  unavailable(): string | null {
    return this.#missing;
  }

  /** Before it has run nobody knows: then the turn says so. */
  refuses(parts: readonly ContentPart[]): string | null {
    return this.#live === null ? null : whyRefused(parts, this.#live.takes, this.#options.entry.name);
  }

  chosenChanged(): void {
    this.#begunWith = null;
    if (this.#live !== null && !this.#live.program.over) this.#live.settings.apply().catch((error: unknown) => this.#options.report(error));
  }

  async *prompt(parts: readonly ContentPart[], turn: AgentTurn): AsyncGenerator<AgentSays> {
    const { name } = this.#options.entry;
    this.#preparing = true;
    try {
      const live = await this.#ready(turn.signal);
      // What was told to it at its start is not told again for this prompt; for the next one it is, whatever becomes of this.
      const begunWith = this.#begunWith;
      this.#begunWith = null;
      const refused = whyRefused(parts, live.takes, name);
      if (refused !== null) throw new TurnFailure("unsupported", `Not supported: ${refused}.`);
      const wrongModel = await unlessAborted(turn.signal, begunWith ?? live.settings.apply());
      if (turn.signal.aborted) return;
      if (wrongModel !== null) throw new TurnFailure("model_unknown", `The model cannot be had: ${wrongModel}.`);
      this.#preparing = false;
      yield* live.conversation.prompt(live.program.peer, { id: live.id, parts, takes: live.takes }, turn);
    } catch (error) {
      if (turn.signal.aborted) return;
      const end = failed(await this.#wordsOf(error));
      // Who takes this does not come back.
      this.#preparing = false;
      yield end;
    } finally {
      this.#preparing = false;
    }
  }

  /** It cannot be parked: what it waits for is known to its process alone. */
  async *resume(): AsyncGenerator<AgentSays> {
    yield failed(new TurnFailure("agent_failed", `The agent ${this.#options.entry.name} cannot take a turn up again.`));
  }

  async close(): Promise<void> {
    this.#closed = true;
    const [live, program] = [this.#live, this.#program];
    const isIdle = live !== null && !live.conversation.busy && !live.program.over;
    await program?.end(isIdle ? () => this.#goodbye(live) : undefined);
  }

  async #goodbye({ program, canClose, id }: Live): Promise<void> {
    if (!canClose) return;
    const params: AcpSessionName = { sessionId: id };
    await program.peer.request("session/close", params, { timeoutMs: this.#options.limits.agent_close_wait_ms }).catch(() => undefined);
  }

  async #ready(signal: AbortSignal): Promise<Live> {
    if (this.#live !== null && !this.#live.program.over) return this.#live;
    // What is left of the one before must be gone: it may hold what the next one needs.
    await this.#program?.end();
    const { entry, limits, hide, report } = this.#options;
    const context = this.#context;
    const { child, log } = await this.#options.start(context);
    const conversation = new Conversation({ name: entry.name, context, limits, hide });
    const program = new Program(child, {
      limits,
      log,
      report,
      onEnd: (words) => this.#ended(program, conversation, words),
      onRequest: (method, params, request) => conversation.requested(method, params, request),
      onNotification: (method, params) => conversation.notified(method, params),
    });
    this.#program = program;
    try {
      if (this.#closed || signal.aborted) throw new TurnFailure("agent_unavailable", "The agent was ended before it had begun.");
      return await conversation.facts.held(async () => {
        const opened = await open(program.peer, { entry, workdir: entry.cwd ?? context.workdir, conversation: context.conversation(), limits, hide, signal });
        log.note("ready", opened.how);
        return this.#begun({ opened, program, conversation, signal });
      });
    } catch (error) {
      const why = isAcpError(error, acpErrors.connection_closed)
        ? new TurnFailure("agent_unavailable", `The agent ${entry.name} ended while it was started (${await program.peer.closed}).`)
        : error;
      if (why instanceof TurnFailure) log.note("failed", why.message);
      // A login that was missing is looked for anew by the next one.
      const ending = program.end();
      if (signal.aborted) await ending;
      throw why;
    }
  }

  async #begun({ opened, program, conversation, signal }: Beginning): Promise<Live> {
    const { entry, limits, hide } = this.#options;
    const context = this.#context;
    conversation.id = opened.id;
    context.tell({ type: "agent_conversation", conversation: opened.id, how: opened.how });
    if (opened.lost !== null && context.turnsBefore() > 0)
      context.tell({ type: "notice", code: "agent_lost_context", text: `The agent ${entry.name} knows nothing of what was said before: ${opened.lost}.` });
    conversation.facts.learn(opened.facts);
    const settings = new Settings({ peer: program.peer, id: opened.id, name: entry.name, context, facts: conversation.facts, limits, hide });
    const live: Live = { ...opened, program, conversation, settings };
    this.#live = live;
    // Before anything is told of it: what it has by itself would take back what people chose.
    this.#begunWith = settings.apply();
    await this.#begunWith;
    if (opened.how === "loaded") await conversation.replay.over(signal);
    return live;
  }

  /** In a turn, its end tells of it. */
  #ended(program: Program, conversation: Conversation, words: string): void {
    if (this.#live?.program === program) this.#live = null;
    if (this.#closed || this.#preparing || conversation.busy) return;
    this.#context.tell({
      type: "notice",
      code: "agent_ended",
      text: `The agent ${this.#options.entry.name} ended by itself (${words}). The next prompt starts it again.`,
    });
  }

  async #wordsOf(error: unknown): Promise<TurnFailure> {
    if (error instanceof TurnFailure) return error;
    if (isAcpError(error, acpErrors.auth_required)) {
      // Whether somebody is known it looks at its start.
      void this.#program?.end();
      return loginNeeded(error, { ...this.#options, logins: this.#live?.logins ?? [] });
    }
    if (!isAcpError(error) || this.#program === null) throw error;
    const [{ name }, words] = [this.#options.entry, await this.#program.peer.closed];
    return new TurnFailure("agent_ended", `The agent ${name} ended by itself (${words}).`);
  }
}

const failed = ({ code, message }: TurnFailure): AgentEvent => ({ type: "turn_end", stop_reason: "failed", error: { code, message } });
