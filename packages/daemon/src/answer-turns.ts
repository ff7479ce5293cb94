import { limits, SessiondError } from "@sessiond/shared";

/**
 * Whose turn it is to be given an answer that may be long. Such an answer is made out of text that is parsed, checked and
 * made into text again, at once: a few kilobytes of calls would ask for gigabytes, and the event loop is everybody's. So
 *
 * - of one session (or of what is no session's) a connection is answered one such call of each verb at a time, a stream
 *   until its first item;
 * - the next one is not begun before the connection has taken what it was told, or has room for it;
 * - in one turn of the event loop one such answer is begun, whoever they are for, in the order of their asking. A connection
 *   stands in that line once a verb and session, however much it asks;
 * - what turns out to be short leaves the turn to the next one, until together they were `answers_per_turn_chars_max`.
 *
 * So what waits to be sent to a connection is bounded by `socket_buffer_bytes_max` and one answer, and while disks are slow
 * by one for each verb and session that it asks about: an answer that waits for a disk holds up none of other sessions or
 * verbs, not even on its own connection. Other calls never wait here. A verb that does something does it first, and waits
 * to say so.
 */
export interface Asker {
  /** Aborts when its connection has closed. */
  readonly signal: AbortSignal;
  /** It has yet to take what it was told. */
  readonly full: boolean;
  /** Resolves when it has room. @throws SessiondError slow_consumer */
  ready(): Promise<void>;
}

/** Those that wait for the one before them, by what they are about. */
type Lanes = Map<string, (() => void)[]>;

export class AnswerTurns {
  readonly #lanes = new WeakMap<Asker, Lanes>();
  readonly #line: (() => void)[] = [];
  /** Characters answered in this turn of the event loop. */
  #spent = 0;
  /** The answer that was begun in it and is not given yet. */
  #current: symbol | null = null;
  /** The turn's end is waited for. */
  #counting = false;

  /**
   * @param about  verb and session
   * @returns to be called when the answer is given, with its length in characters: without one it was long, and what comes
   *   after it in this step is still part of it
   * @throws SessiondError cancelled: the connection has closed, and nobody hears of it
   */
  async take(asker: Asker, about: string): Promise<(chars?: number) => void> {
    mustBeThere(asker);
    const lanes = this.#lanesOf(asker);
    let lane = lanes.get(about);
    if (lane === undefined) lanes.set(about, (lane = []));
    else await inLine(lane);
    mustBeThere(asker);
    const mine = lane;
    const begun = Symbol(about);
    const leave = (chars = Number.POSITIVE_INFINITY): void => {
      if (this.#given(begun, chars)) passOn(lanes, about, mine);
      // The answer is sent in the step that ends the call, after it.
      else setImmediate(() => passOn(lanes, about, mine));
    };
    try {
      for (;;) {
        // Who takes nothing for too long is closed, and told so by its streams.
        await asker.ready().catch(() => undefined);
        await this.#turn();
        this.#current = begun;
        mustBeThere(asker);
        if (!asker.full) break;
        // It was told something meanwhile; the turn is the next one's.
        this.#given(begun, 0);
        await new Promise((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      leave(0);
      throw error;
    }
    return leave;
  }

  #lanesOf(asker: Asker): Lanes {
    const kept = this.#lanes.get(asker);
    if (kept !== undefined) return kept;
    const lanes: Lanes = new Map<string, (() => void)[]>();
    this.#lanes.set(asker, lanes);
    // Nobody waits for an answer any more.
    asker.signal.addEventListener(
      "abort",
      () => {
        for (const lane of lanes.values()) for (const go of lane.splice(0)) go();
      },
      { once: true },
    );
    return lanes;
  }

  #turn(): Promise<void> {
    if (this.#taken) return inLine(this.#line);
    this.#begin();
    return Promise.resolve();
  }

  get #taken(): boolean {
    return this.#current !== null || this.#spent >= limits.answers_per_turn_chars_max;
  }

  #begin(): void {
    // Whose it is is said by who begins; until then it is nobody else's.
    this.#current = nobodys;
    this.#count();
  }

  /** Until the end of this turn of the event loop. */
  #count(): void {
    if (this.#counting) return;
    this.#counting = true;
    setImmediate(this.#next);
  }

  /** @returns whether there is room for another in this turn of the event loop */
  #given(begun: symbol, chars: number): boolean {
    this.#spent += chars;
    this.#count();
    // Its turn may be over long since, and another's.
    if (this.#current === begun) this.#current = null;
    if (this.#taken) return false;
    const go = this.#line.shift();
    if (go !== undefined) {
      this.#begin();
      go();
    }
    return true;
  }

  readonly #next = (): void => {
    this.#counting = false;
    this.#spent = 0;
    this.#current = null;
    const go = this.#line.shift();
    if (go === undefined) return;
    this.#begin();
    go();
  };
}

const nobodys = Symbol("about to begin");

const inLine = (line: (() => void)[]): Promise<void> => new Promise((resolve) => line.push(resolve));

function passOn(lanes: Lanes, about: string, lane: (() => void)[]): void {
  const go = lane.shift();
  if (go === undefined) lanes.delete(about);
  else go();
}

/** About as many characters as the value has as JSON; counted no further than is needed to know that it is long. */
export function charsOf(answer: unknown): number {
  let chars = 0;
  const left = [answer];
  while (left.length > 0 && chars < limits.answers_per_turn_chars_max) {
    const value = left.pop();
    if (typeof value === "string") chars += value.length + 2;
    else if (typeof value !== "object" || value === null) chars += 8;
    else
      for (const [key, each] of Object.entries(value)) {
        chars += key.length + 4;
        left.push(each);
      }
  }
  return chars;
}

function mustBeThere({ signal }: Asker): void {
  if (signal.aborted) throw new SessiondError("cancelled");
}
