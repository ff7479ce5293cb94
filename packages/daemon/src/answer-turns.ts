import { SessiondError } from "@sessiond/shared";

/**
 * Whose turn it is to be given an answer that may be long. Such an answer is made out of text that is parsed, checked and
 * made into text again, at once: a few kilobytes of calls would ask for gigabytes, and the event loop is everybody's. So
 *
 * - of one session (or of what is no session's) a connection is answered one such call of each verb at a time, a stream
 *   until its first item;
 * - the next one is not begun before the connection has taken what it was told, or has room for it;
 * - in one turn of the event loop one such answer is begun, whoever they are for, in the order of their asking. A connection
 *   stands in that line once a verb and session, however much it asks.
 *
 * So what waits to be sent to a connection is bounded by `socket_buffer_bytes_max` and one answer. An answer that waits
 * for a disk holds up none of other sessions or verbs, not even on its own connection. Other calls never wait here.
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
  /** An answer was begun in this turn of the event loop. */
  #begun = false;

  /**
   * @param about  verb and session
   * @returns to be called when the answer is given: what comes after it in this step is still part of it
   * @throws SessiondError cancelled: the connection has closed, and nobody hears of it
   */
  async take(asker: Asker, about: string): Promise<() => void> {
    mustBeThere(asker);
    const lanes = this.#lanesOf(asker);
    let lane = lanes.get(about);
    if (lane === undefined) lanes.set(about, (lane = []));
    else await inLine(lane);
    mustBeThere(asker);
    const mine = lane;
    // The answer is sent in the step that ends the call, after it.
    const leave = (): void => void setImmediate(() => passOn(lanes, about, mine));
    try {
      do {
        // Who takes nothing for too long is closed, and told so by its streams.
        await asker.ready().catch(() => undefined);
        await this.#turn();
        mustBeThere(asker);
      } while (asker.full);
    } catch (error) {
      leave();
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
    if (this.#begun) return inLine(this.#line);
    this.#begun = true;
    setImmediate(this.#next);
    return Promise.resolve();
  }

  readonly #next = (): void => {
    const go = this.#line.shift();
    if (go === undefined) {
      this.#begun = false;
      return;
    }
    setImmediate(this.#next);
    go();
  };
}

const inLine = (line: (() => void)[]): Promise<void> => new Promise((resolve) => line.push(resolve));

function passOn(lanes: Lanes, about: string, lane: (() => void)[]): void {
  const go = lane.shift();
  if (go === undefined) lanes.delete(about);
  else go();
}

function mustBeThere({ signal }: Asker): void {
  if (signal.aborted) throw new SessiondError("cancelled");
}
