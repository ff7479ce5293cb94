import { isSessiondError, limits, SessiondError, type Auth, type ContentPart, type ServedSaid, type VerbInput, type VerbOutput } from "@sessiond/shared";
import type { Connection } from "./connection.ts";

/**
 * What a served agent says in one turn, as calls of `agent_event`: in order, one at a time, and what comes while one is
 * under way goes together in the next. A call that was lost is made again under its number, and counts once; of one that
 * was given up nobody knows whether it counted, until the next one is made.
 */
export interface SaysParts {
  readonly calls: Connection;
  readonly auth: Auth;
  readonly servingId: string;
  readonly turnId: string;
  /** Aborts when the daemon does not know the turn any more. */
  readonly lost: AbortSignal;
}

type Waiting = { readonly event: ServedSaid; readonly chars: number } | { readonly steered: (prompts: ContentPart[][]) => void };

/** Of one call: a request holds several times as much, so that letters of four bytes fit too. */
const callChars = limits.request_bytes_max / 4;

export class TurnSays {
  readonly #parts: SaysParts;
  #waiting: Waiting[] = [];
  #number = 0;
  #sending: Promise<void> | null = null;
  #failure: SessiondError | null = null;

  constructor(parts: SaysParts) {
    this.#parts = parts;
  }

  /** Resolves when more may be said; where a tool begins, when that is on disk. @throws SessiondError  what the daemon refused it, or what came before it, with */
  async say(event: ServedSaid): Promise<void> {
    this.#add({ event, chars: JSON.stringify(event).length });
    const begins = event.type === "tool_call_update" && event.status === "in_progress";
    if (begins || this.#waiting.length >= limits.agent_events_per_call_max || this.#waitingChars >= callChars) await this.taken();
  }

  /** Prompts that were sent into this turn, and enter it now. */
  async takeSteering(): Promise<ContentPart[][]> {
    let prompts: ContentPart[][] = [];
    this.#add({ steered: (taken) => (prompts = taken) });
    await this.taken();
    return prompts;
  }

  /** Resolves when the session has taken all that was said. @throws SessiondError */
  async taken(): Promise<void> {
    while (this.#sending !== null) await this.#sending;
    if (this.#failure !== null) throw this.#failure;
  }

  /** The last of it, whatever became of what was said before. Never fails: whoever cannot be told has ended the turn. */
  async end(event: Extract<ServedSaid, { type: "turn_end" }>): Promise<void> {
    await this.taken().catch(() => undefined);
    this.#failure = null;
    this.#add({ event, chars: 0 });
    await this.taken().catch(() => undefined);
  }

  get #waitingChars(): number {
    return this.#waiting.reduce((sum, each) => sum + ("chars" in each ? each.chars : 0), 0);
  }

  #add(waiting: Waiting): void {
    if (this.#failure !== null) throw this.#failure;
    this.#waiting.push(waiting);
    this.#sending ??= this.#send().finally(() => (this.#sending = null));
  }

  async #send(): Promise<void> {
    const { servingId: serving_id, turnId: turn_id } = this.#parts;
    // What is said in the same step goes together.
    await Promise.resolve();
    while (this.#waiting.length > 0 && this.#failure === null) {
      const { events, steered } = this.#nextCall();
      const said: VerbInput<"agent_event"> = { serving_id, turn_id, number: this.#number + 1, events, ...(steered && { take_steering: true }) };
      try {
        const taken = await this.#call(said).catch((error: unknown) => {
          // The one before it was given up, and had been taken all the same.
          if (!isSessiondError(error, "conflict") || error.detail["next_number"] !== said.number + 1) throw error;
          this.#number += 1;
          return this.#call({ ...said, number: said.number + 1 });
        });
        this.#number += 1;
        steered?.(taken.steered);
      } catch (error) {
        this.#waiting = [];
        this.#failure = isSessiondError(error) ? error : new SessiondError("internal", {}, { cause: error });
      }
    }
  }

  #call(said: VerbInput<"agent_event">): Promise<VerbOutput<"agent_event">> {
    const { calls, auth, lost } = this.#parts;
    // It takes as long as the session's disk does.
    return calls.call("agent_event", said, auth, { signal: lost, timeoutMs: limits.repeat_ms_max });
  }

  #nextCall(): { events: ServedSaid[]; steered?: (prompts: ContentPart[][]) => void } {
    const events: ServedSaid[] = [];
    let chars = 0;
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || events.length >= limits.agent_events_per_call_max) return { events };
      if ("event" in next && events.length > 0 && chars + next.chars > callChars) return { events };
      this.#waiting.shift();
      if (!("event" in next)) return { events, steered: next.steered };
      events.push(next.event);
      chars += next.chars;
    }
  }
}
