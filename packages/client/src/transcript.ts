import type { Frame } from "@sessiond/shared";
import { untilAnswered } from "./backoff.ts";
import type { CallOptions } from "./call-limit.ts";
import type { SeatStream } from "./seat-stream.ts";

export interface TranscriptPage {
  readonly frames: readonly Frame[];
  readonly more: boolean;
  /** Frames up to this seq are not all as they were sent: pieces of a text are merged. */
  readonly compacted_through: number;
}

/**
 * The transcript's pages, for those who follow a seat and missed frames of its stream. They
 * come over the connection of the calls, so they do not depend on the stream that they
 * mend, and a page that cannot be had now is asked for again as long as the seat lives.
 */
export class Transcript {
  readonly #stream: SeatStream;
  readonly #ask: (after: number, options: CallOptions) => Promise<TranscriptPage>;

  constructor(stream: SeatStream, ask: (after: number, options: CallOptions) => Promise<TranscriptPage>) {
    this.#stream = stream;
    this.#ask = ask;
  }

  /**
   * The frames after a seq: a page of them, however long it takes.
   *
   * @throws SessiondError: a refusal that the table calls hopeless, any failure once the seat has ended, or the signal's reason
   */
  after(seq: number, signal: AbortSignal): Promise<TranscriptPage> {
    return untilAnswered(() => this.#ask(seq, { signal }), { signal, over: () => this.#stream.end !== undefined });
  }
}
