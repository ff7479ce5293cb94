import type { SeatEvent, ViewerSeat } from "@sessiond/client";

export interface ReaderParts {
  readonly seat: ViewerSeat;
  take(event: SeatEvent): void;
  /** Everything that came at once has been taken. */
  rest(): void;
  /** What was said has been taken by the editor. */
  readonly flushed: () => Promise<void>;
  /** The seat is over. */
  ended(): void;
}

/** Events taken in a row before the rest is told; output of a tool that never pauses is seen all the same. */
const rowMax = 256;

/** Reads a seat's events, no faster than the editor takes what is made of them. */
export class Reader {
  readonly #parts: ReaderParts;
  readonly #events: AsyncIterator<SeatEvent, undefined>;
  #seq = 0;
  #over = false;
  #waiting: { readonly seq: number; readonly done: () => void }[] = [];

  constructor(parts: ReaderParts) {
    this.#parts = parts;
    this.#events = parts.seat.events[Symbol.asyncIterator]() as AsyncIterator<SeatEvent, undefined>;
  }

  /** The state from which the events go on. To be called once, before `run`. */
  async first(): Promise<SeatEvent | undefined> {
    const { value } = await this.#events.next();
    if (value !== undefined) this.#seq = seqOf(value);
    return value;
  }

  /** Until the seat is over. Never fails. */
  async run(): Promise<void> {
    const { take, rest, flushed, ended } = this.#parts;
    let row = 0;
    try {
      for (;;) {
        const next = this.#events.next();
        if (row > 0 && (row >= rowMax || (await pauses(next)))) {
          row = 0;
          rest();
          this.#tellReached();
          await flushed();
        }
        const { value, done } = await next;
        if (done === true || value === undefined) break;
        take(value);
        this.#seq = seqOf(value);
        row += 1;
      }
    } catch {
      // What ended the seat is told to whoever asks something of it.
    }
    rest();
    this.#over = true;
    this.#tellReached();
    ended();
  }

  /** Resolves when what happened up to that seq has been told. */
  reached(seq: number): Promise<void> {
    if (this.#over) return Promise.resolve();
    return new Promise((done) => {
      this.#waiting.push({ seq, done });
      // Nothing more may come to wake it.
      if (this.#seq >= seq) setImmediate(() => this.#tellReached());
    });
  }

  #tellReached(): void {
    const reached = this.#waiting.filter(({ seq }) => this.#over || seq <= this.#seq);
    this.#waiting = this.#waiting.filter((each) => !reached.includes(each));
    for (const { done } of reached) done();
  }
}

const seqOf = (event: SeatEvent): number => (event.type === "frame" ? event.frame.seq : event.state.seq);

/** Whether nothing more comes in this turn of the event loop. */
const pauses = (next: Promise<unknown>): Promise<boolean> =>
  Promise.race([
    next.then(
      () => false,
      () => false,
    ),
    new Promise<boolean>((resolve) => setImmediate(() => resolve(true))),
  ]);
