import { limits, SessiondError, type Frame, type SessionState } from "@sessiond/shared";
import type { SeatStream, StreamWatcher } from "./seat-stream.ts";

/**
 * What a reader of `seat.events` gets: first the state, then every frame after it. A further
 * `snapshot` replaces what was shown; with `reset` the daemon could not serve our cursor and
 * says why, so frames between the two were not seen.
 */
export type SeatEvent =
  | { readonly type: "snapshot"; readonly state: SessionState; readonly reset?: ResetCause }
  | { readonly type: "frame"; readonly frame: Frame };

export type ResetCause = "beyond_end" | "unknown_epoch" | "too_old";

/**
 * One reader's queue. It exists only while somebody iterates, and is bounded: a reader
 * that falls behind by `client_events_max` stops the seat's socket, not this process's
 * memory; the daemon then keeps nothing for it but a cursor.
 */
export class SeatEvents implements AsyncIterable<SeatEvent> {
  readonly #stream: SeatStream;
  readonly #queueMax: number;
  #reading = false;

  constructor(stream: SeatStream, queueMax: number = limits.client_events_max) {
    this.#stream = stream;
    this.#queueMax = queueMax;
  }

  /** @throws SessiondError `unsupported` while another reader iterates */
  [Symbol.asyncIterator](): AsyncIterator<SeatEvent, undefined> {
    if (this.#reading) throw new SessiondError("unsupported", { reason: "one reader at a time takes a seat's events" });
    this.#reading = true;
    const stream = this.#stream;
    const queue = new Queue(this.#queueMax, stream);
    const leave = stream.watch(queue);
    queue.push({ type: "snapshot", state: stream.state });
    if (stream.end !== undefined) queue.ended(stream.end);
    let over = false;
    const done = (): { done: true; value: undefined } => {
      leave();
      queue.empty();
      // Asked once more after its end, it must not make room beside the next reader.
      if (!over) this.#reading = false;
      over = true;
      return { done: true, value: undefined };
    };
    return {
      next: async () => {
        try {
          const event = await queue.take();
          return event === null ? done() : { done: false, value: event };
        } catch (error) {
          done();
          throw error;
        }
      },
      return: async () => done(),
    };
  }
}

class Queue implements StreamWatcher {
  readonly #max: number;
  readonly #stream: SeatStream;
  #events: SeatEvent[] = [];
  #first = 0;
  #end: SessiondError | null | undefined;
  #sleepers: (() => void)[] = [];

  constructor(max: number, stream: SeatStream) {
    this.#max = max;
    this.#stream = stream;
  }

  push(event: SeatEvent): void {
    this.#events.push(event);
    if (this.#waiting >= this.#max) this.#stream.pause();
    this.#wake();
  }

  /** @returns null at the end. @throws the end's error, after everything before it was taken */
  async take(): Promise<SeatEvent | null> {
    while (this.#waiting === 0) {
      if (this.#end !== undefined) {
        // A life that ended has told so by its last frame.
        if (this.#end === null || this.#end.code === "session_stopped") return null;
        throw this.#end;
      }
      await new Promise<void>((resolve) => this.#sleepers.push(resolve));
    }
    const event = this.#events[this.#first++];
    // Taken ones are dropped by halves, so that a long queue costs no shifting.
    if (this.#first * 2 > this.#events.length) {
      this.#events = this.#events.slice(this.#first);
      this.#first = 0;
    }
    if (this.#waiting <= this.#max / 2) this.#stream.resume();
    return event ?? null;
  }

  empty(): void {
    this.#events = [];
    this.#first = 0;
    this.#end ??= null;
    this.#wake();
    this.#stream.resume();
  }

  frame(frame: Frame): void {
    this.push({ type: "frame", frame });
  }

  snapshot(state: SessionState, reset: ResetCause | undefined): void {
    this.push({ type: "snapshot", state, ...(reset && { reset }) });
  }

  ended(error: SessiondError | null): void {
    this.#end = error;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#sleepers.splice(0)) wake();
  }

  get #waiting(): number {
    return this.#events.length - this.#first;
  }
}
