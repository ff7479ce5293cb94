import { setImmediate as nextStep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { limits, SessiondError, type ContentPart, type ServedSaid, type VerbOutput, type VerbParsed } from "@sessiond/shared";
import { bindingDigest, type AgentContext, type AgentEvent, type AgentSays, type AgentTurn, type Answer } from "../agent.ts";
import { ownAnswers } from "../own-answers.ts";
import { goneWords, type Serving } from "./serving.ts";

/**
 * One turn that a program runs: its calls of `agent_event`, one at a time, are what the session pulls. A call is answered
 * when the session has come for what is behind it, so the program goes no faster than the session. Once the session does
 * not want the turn any more, the program is told to cancel and waited for; what it says meanwhile is answered and dropped.
 */
export type SaidCall = Omit<VerbParsed<"agent_event">, "serving_id" | "turn_id">;
type Taken = VerbOutput<"agent_event">;
type Ask = Extract<ServedSaid, { type: "ask" }>;
type Text = Extract<AgentEvent, { type: "agent_message_chunk" | "agent_thought_chunk" }>;

const nothing: Taken = { steered: [] };

export class ServedTurn {
  readonly #serving: Serving;
  readonly #turn: AgentTurn;
  readonly #context: AgentContext;
  /** What is being applied. */
  #call: (SaidCall & { readonly answer: (taken: Taken) => void }) | null = null;
  /** The newest call that was taken on; a repeat of it gets the same answer. */
  #last: { readonly call: SaidCall; readonly answer: Promise<Taken> } | null = null;
  /** Tool calls that have not ended, with what binds an answer to each as it stands. */
  readonly #open = new Map<string, { readonly tool: string; readonly digest: string }>();
  /** The program has said how it ended, or never will. */
  #over = false;
  /** The session does not want it any more. */
  #leaving = false;
  #lost = false;
  /** Of a question; the turn ends with it. */
  #bug: { readonly error: unknown } | null = null;
  #wake = (): void => undefined;
  readonly #released: Promise<void>;
  #release = (): void => undefined;

  constructor(serving: Serving, turn: AgentTurn, context: AgentContext) {
    this.#serving = serving;
    this.#turn = turn;
    this.#context = context;
    this.#released = new Promise((resolve) => (this.#release = resolve));
  }

  get turnId(): string {
    return this.#turn.turnId;
  }

  /** @throws SessiondError conflict  with `next_number`, when it is neither the next call nor the one before again */
  async take(call: SaidCall): Promise<Taken> {
    const last = this.#last;
    if (last !== null && isDeepStrictEqual(last.call, call)) return last.answer;
    const next = (last?.call.number ?? 0) + 1;
    if (call.number !== next)
      throw new SessiondError("conflict", { reason: `the next call of this turn has the number ${next}, or is the last one again`, next_number: next });
    // How it ended may be known to who has given up the call before: that one is still taken first.
    if (this.#call !== null && call.events[0]?.type === "turn_end") return this.#last?.answer.then(() => (this.#over ? nothing : this.take(call))) ?? nothing;
    if (this.#call !== null) throw new SessiondError("conflict", { reason: "the turn's call before it has not been answered" });
    const answer = new Promise<Taken>((resolve) => {
      if (this.#leaving) resolve(nothing);
      else this.#call = { ...call, answer: resolve };
    });
    this.#last = { call, answer };
    if (this.#leaving && call.events.some(({ type }) => type === "turn_end")) this.forget();
    this.#wake();
    return answer;
  }

  /** The program has gone. */
  lose(): void {
    this.#lost = true;
    this.forget();
  }

  /** Nothing is expected of the program any more. */
  forget(): void {
    this.#over = true;
    this.#serving.turns.delete(this.turnId);
    this.#answer(nothing);
    this.#release();
    this.#wake();
  }

  /** Something else was chosen for the agent. */
  chosenChanged(): void {
    const { model, mode, options } = this.#context.chosen();
    if (!this.#over && !this.#leaving) this.#serving.tell({ type: "chosen", turn_id: this.turnId, model, mode, options });
  }

  async *run(parts: readonly ContentPart[]): AsyncGenerator<AgentSays> {
    const { signal } = this.#turn;
    const leave = (): void => this.#leave();
    signal.addEventListener("abort", leave, { once: true });
    this.#begin(parts);
    try {
      while (!this.#leaving && (this.#lost || !this.#over)) {
        const call = this.#call;
        if (this.#bug !== null) throw this.#bug.error;
        if (call !== null) {
          yield* this.#apply(call.events);
          if (this.#over && !this.#lost) return;
          this.#answer(call.take_steering === true && !this.#leaving ? { steered: await this.#steered() } : nothing);
        } else if (this.#lost) {
          yield failed("agent_unavailable", goneWords(this.#serving.offer.agent));
          return;
        } else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } catch (error) {
      // What was said is at fault: the turn ends with that, and waits for nobody.
      this.#serving.tell({ type: "cancel", turn_id: this.turnId });
      this.forget();
      throw error;
    } finally {
      signal.removeEventListener("abort", leave);
      // The session goes, or has found fault itself: it waits so long as it likes.
      this.#leave();
      await this.#released;
    }
  }

  #begin(parts: readonly ContentPart[]): void {
    const { sessionId: session_id, workdir, env } = this.#context;
    const { model, mode, options } = this.#context.chosen();
    const conversation = this.#context.conversation();
    const turns_before = this.#context.turnsBefore();
    const about = { turn_id: this.turnId, session_id, workdir, env: { ...env }, model, mode, options: { ...options } };
    this.#serving.turns.set(this.turnId, this);
    this.#serving.tell({ type: "turn", ...about, parts: [...parts], conversation, turns_before });
  }

  *#apply(events: readonly ServedSaid[]): Generator<AgentSays> {
    let texts: Text[] = [];
    for (const event of events) {
      if (this.#leaving) return;
      if (event.type === "agent_message_chunk" || event.type === "agent_thought_chunk") {
        texts.push(event);
        continue;
      }
      if (texts.length > 0) yield texts;
      texts = [];
      switch (event.type) {
        case "turn_end":
          // The session comes for nothing behind it.
          this.forget();
          yield endOf(event);
          return;
        case "ask":
          this.#ask(event);
          break;
        case "agent_facts":
        case "agent_conversation":
          this.#context.tell(event);
          break;
        default:
          this.#note(event);
          yield event;
      }
    }
    if (texts.length > 0 && !this.#leaving) yield texts;
  }

  /** @throws SessiondError conflict, limit_reached; the turn ends with it */
  #note(event: Exclude<AgentEvent, { type: "turn_end" }>): void {
    if (event.type === "tool_call") {
      if (this.#open.has(event.tool_call_id)) throw new SessiondError("conflict", { reason: "the agent has an open tool call of that id" });
      if (this.#open.size >= limits.calls_open_max)
        throw new SessiondError("limit_reached", { limit: "calls_open_max", value: limits.calls_open_max, unit: "open tool calls" });
      this.#open.set(event.tool_call_id, { tool: event.tool, digest: bindingDigest(event.tool, event.input) });
    }
    if (event.type === "tool_call_changed" && event.input !== undefined) {
      const call = this.#open.get(event.tool_call_id);
      if (call !== undefined) this.#open.set(event.tool_call_id, { ...call, digest: bindingDigest(call.tool, event.input) });
    }
    if (event.type === "tool_call_update" && event.status !== "in_progress") this.#open.delete(event.tool_call_id);
  }

  /** The program goes on meanwhile, and may ask more. */
  #ask({ ask_id, tool_call_id, tool, input, preview, options }: Ask): void {
    const call = this.#open.get(tool_call_id);
    if (call === undefined) throw new SessiondError("conflict", { reason: "the agent asks about a tool call that it has not open" });
    const digest = bindingDigest(tool, input);
    // Whoever answers judges by what the session shows of the call.
    if (call.digest !== digest) throw new SessiondError("conflict", { reason: "the agent asks about another tool or input than its call has" });
    const own = options === undefined ? null : ownAnswers(options, this.#serving.offer.agent);
    const question = { toolCallId: tool_call_id, tool, input, preview, digest, pattern: null, ...(own && { options: own.options }) };
    this.#turn
      .ask(question)
      .then((answer) => {
        if (this.#over) return;
        const chosen = answer.optionId === undefined ? undefined : own === null ? answer.optionId : own.nameOf(answer.optionId);
        this.#serving.tell({ type: "answer", turn_id: this.turnId, ask_id, ...saidOf(answer), option_id: chosen ?? null });
      })
      .catch((error: unknown) => {
        this.#bug ??= { error };
        this.#wake();
      });
  }

  async #steered(): Promise<Taken["steered"]> {
    const count = this.#turn.takeSteering();
    if (count === 0) return [];
    const { entries } = await this.#context.transcript();
    return entries.slice(-count).flatMap((entry) => (entry.type === "user" ? [[...entry.parts]] : []));
  }

  #leave(): void {
    if (this.#leaving || this.#over) return;
    this.#leaving = true;
    // Behind the ends of its questions, which were closed just now: it is told how, and not only that the turn is over.
    void nextStep().then(() => this.#over || this.#serving.tell({ type: "cancel", turn_id: this.turnId }));
    // How it ends it may have said already, in what is dropped now.
    if (this.#call?.events.some(({ type }) => type === "turn_end") === true) this.forget();
    this.#answer(nothing);
    this.#wake();
  }

  #answer(taken: Taken): void {
    const call = this.#call;
    this.#call = null;
    call?.answer(taken);
  }
}

const endOf = ({ type, stop_reason, error, usage }: Extract<ServedSaid, { type: "turn_end" }>): AgentEvent => ({
  type,
  stop_reason,
  ...(error && { error }),
  ...(usage && { usage }),
});

const saidOf = (answer: Answer) => ({ allowed: answer.allowed, cause: answer.cause ?? null, reason: answer.allowed ? null : answer.reason });

const failed = (code: "agent_unavailable", reason: string): AgentEvent => ({
  type: "turn_end",
  stop_reason: "failed",
  error: { code, message: new SessiondError(code, { reason }).message },
});
