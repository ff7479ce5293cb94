import { eventTable, isSessiondError, limits, SessiondError, type EventOf, type SessionEvent } from "@sessiond/shared";
import type { AgentEvent, AgentSays, AgentTurn, Answer, Question } from "../agents/agent.ts";
import { late, within, type Clock } from "../clock.ts";
import { joinedSignal } from "../joined-signal.ts";

/**
 * One running turn: pulls the agent's events one by one into the session. It ends once: by the
 * agent's `turn_end`, or by `abort`, after which nothing the agent still says is heard.
 */
export type TurnEnd = Omit<EventOf<"turn_ended">, "type" | "turn_id">;

/** `parked`: nothing more is written; the turn goes on after the next start. */
export type AbortCause = "interrupt" | "stop" | "shutdown" | "fault" | "parked";

export interface TurnHost {
  readonly clock: Clock;
  readonly interrupt_wait_ms: number;
  apply(event: SessionEvent): number;
  durable(seq: number): Promise<void>;
  /** Null when there is nothing to wait for. */
  drained(): Promise<void> | null;
  /** Resolves when the frames that began the turn are on disk, and who waited for that has been answered. */
  begun(): Promise<void>;
  ask(turnId: string, question: Question): Promise<Answer>;
  /** The open question about this call, if there is one, ends unanswered. */
  withdraw(turnId: string, toolCallId: string): void;
  /** Deliver what was sent to steer the turn. @returns how many prompts that were */
  steer(): number;
  /** End the agent's children by force. */
  kill(): Promise<void>;
  /** A bug in an agent. */
  report(error: unknown): void;
}

const aborted = Symbol("aborted");
type Iterator = AsyncIterator<AgentSays>;

export class RunningTurn {
  readonly turnId: string;
  /** Resolves when the agent has let go, or its time to do so has passed; never rejects. */
  readonly done: Promise<TurnEnd>;
  readonly #host: TurnHost;
  readonly #abort = new AbortController();
  #cause: AbortCause | null = null;
  /** The newest question of each call that has no answer yet. */
  readonly #asked = new Map<string, Promise<unknown>>();
  /** By open calls that were asked about: aborts when the call is over, and nobody can judge it any more. */
  readonly #callsOver = new Map<string, AbortController>();
  /** Questions that wait for another one about their call. */
  #unraised = 0;
  /** How it ends is known; nothing is delivered into it any more. */
  #over = false;
  /** Ends the one wait that is under way. */
  #wake = (): void => undefined;

  constructor(host: TurnHost, turnId: string, start: (turn: AgentTurn) => AsyncIterable<AgentSays>) {
    this.#host = host;
    this.turnId = turnId;
    this.done = this.#run(start);
  }

  get cause(): AbortCause | null {
    return this.#cause;
  }

  /** The first cause counts. */
  abort(cause: AbortCause): void {
    if (this.#cause !== null) return;
    this.#cause = cause;
    this.#abort.abort();
    this.#wake();
  }

  async #run(start: (turn: AgentTurn) => AsyncIterable<AgentSays>): Promise<TurnEnd> {
    const signal = this.#abort.signal;
    let iterator: Iterator | null = null;
    try {
      // To ask a model takes the event loop for milliseconds: the answer to the prompt goes first.
      await this.#orAborted(this.#host.begun());
      if (signal.aborted) return this.#abortedEnd();
      const ask: AgentTurn["ask"] = (question, givenUp) => this.#ask(question, givenUp);
      const takeSteering = () => (signal.aborted || this.#over ? 0 : this.#host.steer());
      iterator = start({ turnId: this.turnId, signal, ask, takeSteering })[Symbol.asyncIterator]();
      for (;;) {
        const next = await this.#orAborted(iterator.next());
        if (next === aborted || signal.aborted) return await this.#letGo(iterator);
        if (next.done === true) return failed("agent_silent", "The agent ended without saying how.");
        for (const event of "type" in next.value ? [next.value] : next.value) {
          if (event.type === "turn_end") return this.#endOf(event);
          const seq = this.#host.apply({ ...event, turn_id: this.turnId });
          if (event.type === "tool_call_update" && event.status !== "in_progress") this.#callOver(event.tool_call_id);
          // A tool starts only when the frame that says so is on disk: after a crash nobody may
          // wonder whether it ran.
          const before = event.type === "tool_call_update" && event.status === "in_progress" ? this.#host.durable(seq) : this.#host.drained();
          if (before !== null) await this.#orAborted(before);
          // Coming for the next event would let the tool run.
          if (signal.aborted) return await this.#letGo(iterator);
        }
      }
    } catch (error) {
      if (signal.aborted && iterator !== null) return await this.#letGo(iterator);
      if (signal.aborted) return this.#abortedEnd();
      if (iterator !== null) await this.#bounded(iterator);
      if (error instanceof SessiondError) return failed(error.code, error.message);
      this.#host.report(error);
      return failed("internal", "The agent failed; the daemon's log has the details.");
    } finally {
      this.#over = true;
    }
  }

  /** One after another for each call: the session takes a second one for the first asked again, and would give it that one's answer. */
  #ask(question: Question, givenUp?: AbortSignal): Promise<Answer> {
    const id = question.toolCallId;
    const before = this.#asked.get(id);
    if (before !== undefined && this.#unraised >= limits.approvals_pending_max)
      return Promise.resolve(refused(`Too many questions wait (limit ${limits.approvals_pending_max}); ask again when some are answered.`));
    const over = this.#callsOver.get(id) ?? new AbortController();
    this.#callsOver.set(id, over);
    const { signal: vain, release } = joinedSignal(over.signal, ...(givenUp === undefined ? [] : [givenUp]));
    const answer = before === undefined ? this.#raise(question, vain) : this.#raiseBehind(before, question, vain);
    const heard = answer
      .catch(() => undefined)
      .then(() => {
        release();
        if (this.#asked.get(id) === heard) this.#asked.delete(id);
      });
    this.#asked.set(id, heard);
    return answer;
  }

  #callOver(id: string): void {
    this.#callsOver.get(id)?.abort();
    this.#callsOver.delete(id);
  }

  async #raiseBehind(before: Promise<unknown>, question: Question, vain: AbortSignal): Promise<Answer> {
    this.#unraised += 1;
    await before;
    this.#unraised -= 1;
    return this.#over ? refused("The turn has ended.") : this.#raise(question, vain);
  }

  /** A session that cannot write asks nobody; anything else that is thrown is a bug. */
  #raise(question: Question, vain: AbortSignal): Promise<Answer> {
    if (vain.aborted) return Promise.resolve({ ...refused("The agent waited for it no more."), cause: "withdrawn" });
    try {
      const answer = this.#host.ask(this.turnId, question);
      vain.addEventListener("abort", () => this.#withdraw(question.toolCallId), { once: true });
      return answer;
    } catch (error) {
      return isSessiondError(error) ? Promise.resolve(refused(error.message)) : Promise.reject(error);
    }
  }

  #withdraw(toolCallId: string): void {
    try {
      this.#host.withdraw(this.turnId, toolCallId);
    } catch (error) {
      // The journal takes nothing: the question ends with the session's fault.
      if (!isSessiondError(error)) this.#host.report(error);
    }
  }

  /** Checked here, while the agent can still be held to it: a frame that does not fit must not stop the turn from ending. */
  #endOf({ stop_reason, error, usage }: Extract<AgentEvent, { type: "turn_end" }>): TurnEnd {
    const end = { stop_reason, ...(error && { error }), ...(usage && { usage }) };
    eventTable.turn_ended.schema.parse({ type: "turn_ended", turn_id: this.turnId, ...end });
    return end;
  }

  /** Not a race against one promise of the whole turn: that would keep every event until the turn ends. */
  #orAborted<T>(work: Promise<T>): Promise<T | typeof aborted> {
    return new Promise((resolve, reject) => {
      this.#wake = () => resolve(aborted);
      work.then(resolve, reject);
    });
  }

  async #letGo(iterator: Iterator): Promise<TurnEnd> {
    await this.#bounded(iterator);
    return this.#abortedEnd();
  }

  /** Wait for the agent to end what it started; beyond the bound its children are killed. */
  async #bounded(iterator: Iterator): Promise<void> {
    const gone = Promise.resolve(iterator.return?.()).catch(() => undefined);
    if ((await within(this.#host.clock, this.#host.interrupt_wait_ms, gone)) === late)
      await this.#host.kill().catch((error: unknown) => this.#host.report(error));
  }

  #abortedEnd(): TurnEnd {
    return { stop_reason: this.#cause === "shutdown" ? "interrupted" : "cancelled" };
  }
}

const refused = (reason: string): Answer => ({ allowed: false, reason });

const failed = (code: string, message: string): TurnEnd => ({ stop_reason: "failed", error: { code, message } });
