import { SessiondError, type Frame, type SessionState } from "@sessiond/shared";
import type { Reading } from "./one-reader.ts";
import type { ResetCause, SeatEvent } from "./seat-events.ts";
import type { SeatStream, SeatWatcher } from "./seat-stream.ts";
import type { Transcript } from "./transcript.ts";

/**
 * What one reader of a seat's events has not taken yet, each event once and in order.
 *
 * It never holds up the seat. Full, it stops queueing and remembers where; when its reader
 * has taken everything, pages of the transcript bring what was missed, one at a time, until
 * they meet the stream, and frames are queued again. So it holds `max` events, or one page
 * and what came after it, however slow the reader.
 */
export interface EventQueueParts {
  readonly stream: SeatStream;
  readonly transcript: Transcript;
  readonly max: number;
}

export class EventQueue implements SeatWatcher, Reading<SeatEvent> {
  readonly #parts: EventQueueParts;
  #events: SeatEvent[] = [];
  #first = 0;
  /** Where the newest queued event brings its reader. */
  #last = 0;
  /** Frames after `#last` came and were not queued. */
  #behind = false;
  /** Ends the wait for a page whose frames nobody wants any more. */
  #paging: AbortController | null = null;
  #end: SessiondError | null | undefined;
  #wake: () => void = () => undefined;

  constructor(parts: EventQueueParts) {
    this.#parts = parts;
  }

  frame(frame: Frame): void {
    this.#behind ||= this.#waiting >= this.#parts.max;
    if (!this.#behind) this.#push({ type: "frame", frame }, frame.seq);
  }

  snapshot(state: SessionState, reset: ResetCause | undefined): void {
    this.#paging?.abort(new SessiondError("cancelled"));
    // It replaces what was missed, and in a full queue the one that is last in it.
    this.#behind = false;
    if (this.#waiting >= this.#parts.max && this.#events.at(-1)?.type === "snapshot") this.#events.pop();
    this.#push({ type: "snapshot", state, ...(reset && { reset }) }, state.seq);
  }

  ended(error: SessiondError | null): void {
    if (this.#end === undefined) this.#end = error;
    this.#wake();
  }

  /** Nothing is kept. */
  close(): void {
    this.#events = [];
    this.#first = 0;
    this.#behind = false;
    this.#end = null;
    this.#paging?.abort(new SessiondError("cancelled"));
    this.#wake();
  }

  ready(): SeatEvent | null {
    const event = this.#events[this.#first];
    if (event === undefined) return null;
    this.#first += 1;
    // Taken ones are dropped by halves, so that a long queue costs no shifting.
    if (this.#first * 2 > this.#events.length) {
      this.#events = this.#events.slice(this.#first);
      this.#first = 0;
    }
    return event;
  }

  async take(): Promise<SeatEvent | null> {
    for (;;) {
      const event = this.ready();
      if (event !== null) return event;
      if (this.#behind) await this.#catchUp();
      else if (this.#end === undefined) await new Promise<void>((resolve) => (this.#wake = resolve));
      // A life that ended has told so by its last frame.
      else if (this.#end === null || this.#end.code === "session_stopped") return null;
      else throw this.#end;
    }
  }

  /** One page of what was missed. Frames go on coming meanwhile; what it does not reach, the next one will. */
  async #catchUp(): Promise<void> {
    const { stream, transcript } = this.#parts;
    const { signal } = (this.#paging = new AbortController());
    try {
      const { frames, compacted_through } = await transcript.after(this.#last, signal);
      if (signal.aborted) return;
      // What is missed is not kept, or merged with what was taken, or this is not the log that it was: the reader is told so.
      if (frames[0]?.seq !== this.#last + 1 || (this.#last > 0 && this.#last < compacted_through)) return this.snapshot(stream.state, "too_old");
      // What a page has beyond the seat's state, the stream will bring: here it would come twice.
      const { seq } = stream.state;
      for (const frame of frames) if (frame.seq <= seq) this.#push({ type: "frame", frame }, frame.seq);
      this.#behind = this.#last < seq;
    } catch (error) {
      if (signal.aborted) return;
      this.#behind = false;
      this.#refused(error);
    } finally {
      this.#paging = null;
    }
  }

  /** What ended the seat says more than the refusal; who left it himself gets what could still be read. */
  #refused(error: unknown): void {
    const refusal = error instanceof SessiondError ? error : new SessiondError("internal", {}, { cause: error });
    if (this.#end === undefined || this.#end?.code === "session_stopped") this.#end = refusal;
  }

  #push(event: SeatEvent, seq: number): void {
    this.#events.push(event);
    this.#last = seq;
    // Who waits does so because there is nothing else.
    if (this.#waiting === 1) this.#wake();
  }

  get #waiting(): number {
    return this.#events.length - this.#first;
  }
}
