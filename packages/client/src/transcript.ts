import { SessiondError, type Frame } from "@sessiond/shared";
import { Backoff } from "./backoff.ts";
import type { CallOptions } from "./call-limit.ts";
import type { SeatStream } from "./seat-stream.ts";

export interface TranscriptPage {
  readonly frames: readonly Frame[];
  readonly more: boolean;
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
  async after(seq: number, signal: AbortSignal): Promise<TranscriptPage> {
    const backoff = new Backoff();
    for (;;) {
      try {
        return await this.#ask(seq, { signal });
      } catch (error) {
        if (!(error instanceof SessiondError)) throw new SessiondError("internal", {}, { cause: error });
        if (error.retry === "never" || this.#stream.end !== undefined) throw error;
      }
      await backoff.wait(signal);
    }
  }
}
