import {
  limits,
  SessiondError,
  wordsOf,
  type ApprovalCause,
  type ContentPart,
  type OptionValues,
  type OwnAnswer,
  type ServedItem,
  type ServedSaid,
} from "@sessiond/shared";
import { TurnSays, type SaysParts } from "./turn-says.ts";

type Item<T extends ServedItem["type"]> = Extract<ServedItem, { type: T }>;

/**
 * What an agent yields: an event of docs/verbs.md without the turn's id, a text, which goes on with the message that is
 * being written, or `turn_end` where it ended otherwise than by having done.
 */
export type ServedEvent = string | Exclude<ServedSaid, { type: "ask" }>;

export interface ServedQuestion {
  /** A call that was yielded and has not ended. */
  readonly toolCallId: string;
  /** What a person judges by, whole; the input as JSON unless given. */
  readonly preview?: string | undefined;
  /** The agent's own answers, in place of allow once and reject. At most 16; of kind `other` none counts as leave. */
  readonly options?: readonly OwnAnswer[] | undefined;
}

export interface ServedAnswer {
  readonly allowed: boolean;
  /** What was chosen: the agent's own id, where it offered its own answers; null where nobody chose. */
  readonly optionId: string | null;
  /** How the question ended; null where it could not be raised. */
  readonly cause: ApprovalCause | null;
  /** Why it is refused, for the model. */
  readonly reason: string | null;
}

/** One turn, as it is given to an agent to run. */
export interface TurnToRun {
  readonly turnId: string;
  readonly sessionId: string;
  /** Absolute path. */
  readonly workdir: string;
  /** Variables that the session was started with, for the agent's tools. */
  readonly env: Readonly<Record<string, string>>;
  readonly parts: readonly ContentPart[];
  /** The parts in words. */
  readonly text: string;
  /** The agent's own name for the conversation, as it last told by `agent_conversation`. */
  readonly conversation: string | null;
  /** How many turns the session has had: who knows nothing of them reads them by `host.session(sessionId).data()`. */
  readonly turnsBefore: number;
  /** What is chosen for the session, as of now. */
  readonly model: string;
  readonly mode: string | null;
  readonly options: OptionValues;
  /** Aborts when the turn was interrupted, the session stopped, or the daemon lost: return soon. */
  readonly signal: AbortSignal;
  /** Raises a question, and resolves at its end, perhaps after days; refused when the turn is aborted. @throws SessiondError `bad_request` for a question that does not fit */
  ask(question: ServedQuestion): Promise<ServedAnswer>;
  /** Prompts that were sent into this turn, which enter it with this. Only for an agent that said `steer`. */
  takeSteering(): Promise<readonly (readonly ContentPart[])[]>;
}

export class RunningTurn implements TurnToRun {
  readonly turnId: string;
  readonly sessionId: string;
  readonly workdir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly parts: readonly ContentPart[];
  readonly conversation: string | null;
  readonly turnsBefore: number;
  model: string;
  mode: string | null;
  options: OptionValues;
  readonly #says: TurnSays;
  readonly #abort = new AbortController();
  readonly #lost = new AbortController();
  /** Calls that have not ended: what a question about one shows. */
  readonly #calls = new Map<string, { readonly tool: string; readonly input: Record<string, unknown> }>();
  readonly #asked = new Map<string, (answer: ServedAnswer) => void>();
  #asks = 0;
  #messages = 1;
  #writing = false;

  constructor(item: Item<"turn">, parts: Omit<SaysParts, "turnId" | "lost">) {
    this.turnId = item.turn_id;
    this.sessionId = item.session_id;
    this.workdir = item.workdir;
    this.env = item.env;
    this.parts = item.parts;
    this.conversation = item.conversation;
    this.turnsBefore = item.turns_before;
    this.model = item.model;
    this.mode = item.mode;
    this.options = item.options;
    this.#says = new TurnSays({ ...parts, turnId: this.turnId, lost: this.#lost.signal });
  }

  get text(): string {
    return wordsOf(this.parts);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  async ask({ toolCallId, preview, options }: ServedQuestion): Promise<ServedAnswer> {
    if (this.signal.aborted) return refusal("The turn was interrupted.");
    const call = this.#calls.get(toolCallId);
    if (call === undefined) throw new SessiondError("bad_request", { reason: `there is no open tool call ${JSON.stringify(toolCallId)}: yield it first` });
    const ask_id = String(++this.#asks);
    const shown = preview ?? JSON.stringify(call.input, null, 2);
    const answer = new Promise<ServedAnswer>((resolve) => this.#asked.set(ask_id, resolve));
    const said = { type: "ask", ask_id, tool_call_id: toolCallId, ...call, preview: shown, ...(options && { options: [...options] }) } as const;
    await this.#says.say(said);
    const refused = this.#says.taken().then(() => answer);
    return Promise.race([answer, refused]);
  }

  takeSteering(): Promise<ContentPart[][]> {
    return this.signal.aborted ? Promise.resolve([]) : this.#says.takeSteering();
  }

  /** Never fails: what the agent throws is how its turn ended. */
  async run(prompt: (turn: TurnToRun) => AsyncIterable<ServedEvent>): Promise<void> {
    const end = await this.#end(prompt);
    await this.#says.end(this.signal.aborted ? { type: "turn_end", stop_reason: "cancelled" } : end);
    this.#abort.abort();
    this.#refuseAll("The turn has ended.");
  }

  answered({ ask_id, allowed, option_id, cause, reason }: Item<"answer">): void {
    this.#asked.get(ask_id)?.({ allowed, optionId: option_id, cause, reason });
    this.#asked.delete(ask_id);
  }

  chosen({ model, mode, options }: Item<"chosen">): void {
    Object.assign(this, { model, mode, options });
  }

  cancel(): void {
    this.#abort.abort(new SessiondError("cancelled"));
    this.#refuseAll("The turn was interrupted.");
  }

  /** The daemon has ended it, or is not there: nothing more can be said. */
  lose(): void {
    const reason = "the link to the daemon was lost, and the turn with it";
    this.#abort.abort(new SessiondError("daemon_unreachable", { reason, lost: true }));
    this.#lost.abort(this.signal.reason);
    this.#refuseAll("The link to the daemon was lost.");
  }

  async #end(prompt: (turn: TurnToRun) => AsyncIterable<ServedEvent>): Promise<Extract<ServedSaid, { type: "turn_end" }>> {
    try {
      for await (const event of prompt(this)) {
        if (this.signal.aborted) break;
        if (typeof event !== "string" && event.type === "turn_end") return event;
        await this.#says.say(this.#said(event));
      }
      await this.#says.taken();
      return { type: "turn_end", stop_reason: "end_turn" };
    } catch (error) {
      const code = error instanceof SessiondError ? error.code : "agent_failed";
      const message = (error instanceof Error ? error.message : String(error)).slice(0, limits.failure_chars_max);
      return { type: "turn_end", stop_reason: "failed", error: { code, message: message === "" ? "The agent failed, and did not say why." : message } };
    }
  }

  #said(event: ServedEvent): ServedSaid {
    if (typeof event === "string") {
      this.#writing = true;
      return { type: "agent_message_chunk", message_id: `${this.turnId}_${this.#messages}`, content: { type: "text", text: event } };
    }
    if (this.#writing) this.#messages += 1;
    this.#writing = false;
    if (event.type === "tool_call") this.#calls.set(event.tool_call_id, { tool: event.tool, input: event.input });
    if (event.type === "tool_call_changed" && event.input !== undefined) {
      const call = this.#calls.get(event.tool_call_id);
      if (call !== undefined) this.#calls.set(event.tool_call_id, { ...call, input: event.input });
    }
    if (event.type === "tool_call_update" && event.status !== "in_progress") this.#calls.delete(event.tool_call_id);
    return event;
  }

  #refuseAll(reason: string): void {
    for (const resolve of this.#asked.values()) resolve(refusal(reason));
    this.#asked.clear();
  }
}

const refusal = (reason: string): ServedAnswer => ({ allowed: false, optionId: null, cause: null, reason });
