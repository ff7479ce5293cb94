import { limits, SessiondError, type Frame, type SessionState } from "@sessiond/shared";
import { EventQueue } from "./event-queue.ts";
import type { SeatStream } from "./seat-stream.ts";
import type { Transcript } from "./transcript.ts";

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
 * The events of a seat, for one reader at a time. A queue exists only while somebody
 * iterates; it is bounded, and neither it nor its reader ever holds up the seat.
 */
export class SeatEvents implements AsyncIterable<SeatEvent> {
  readonly #stream: SeatStream;
  readonly #transcript: Transcript;
  readonly #queueMax: number;
  #reading = false;

  constructor(stream: SeatStream, transcript: Transcript, queueMax: number = limits.client_events_max) {
    this.#stream = stream;
    this.#transcript = transcript;
    this.#queueMax = queueMax;
  }

  /** @throws SessiondError `unsupported` while another reader iterates */
  [Symbol.asyncIterator](): AsyncIterator<SeatEvent, undefined> {
    if (this.#reading) throw new SessiondError("unsupported", { reason: "one reader at a time takes a seat's events" });
    this.#reading = true;
    const stream = this.#stream;
    const queue = new EventQueue({ stream, transcript: this.#transcript, max: this.#queueMax });
    const leave = stream.watch(queue);
    queue.snapshot(stream.state, undefined);
    if (stream.end !== undefined) queue.ended(stream.end);
    let over = false;
    const done = (): { done: true; value: undefined } => {
      leave();
      queue.close();
      // Asked once more after its end, it must not make room beside the next reader.
      if (!over) this.#reading = false;
      over = true;
      return { done: true, value: undefined };
    };
    const take = async (): Promise<IteratorResult<SeatEvent, undefined>> => {
      try {
        const event = await queue.take();
        return event === null ? done() : { done: false, value: event };
      } catch (error) {
        done();
        throw error;
      }
    };
    let before: Promise<unknown> = Promise.resolve();
    return {
      next: () => {
        // Of two that are asked for at once, each gets its own, in order.
        const result = before.then(take);
        before = result.catch(() => undefined);
        return result;
      },
      return: async () => done(),
    };
  }
}
