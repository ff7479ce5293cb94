/**
 * A seat's stream without a daemon, for who reads its events: a test says what is folded,
 * what each page brings, and how it ends.
 */
import { SessiondError, type ErrorCode, type Frame, type SessionState } from "@sessiond/shared";
import { orAborted } from "../../packages/client/src/call-limit.ts";
import { SeatEvents, type SeatEvent } from "../../packages/client/src/seat-events.ts";
import type { SeatStream, SeatWatcher } from "../../packages/client/src/seat-stream.ts";
import { Transcript, type TranscriptPage } from "../../packages/client/src/transcript.ts";
import { chunks, Inbox, stateAt } from "./wire-peer.ts";

/** One page that was asked for. */
export interface AskedPage {
  readonly after: number;
  readonly signal: AbortSignal | undefined;
  give(frames: readonly Frame[], compactedThrough?: number): void;
  refuse(code: ErrorCode): void;
}

export class FoldedSeat {
  state: SessionState;
  end: SessiondError | null | undefined;
  readonly pages = new Inbox<AskedPage>();
  readonly events: AsyncIterator<SeatEvent, undefined>;
  readonly #watchers = new Set<SeatWatcher>();

  /** At that seq, with one reader whose queue holds so many. */
  constructor(seq: number, queueMax: number) {
    this.state = stateAt(seq);
    const stream = this as unknown as SeatStream;
    this.events = new SeatEvents(stream, new Transcript(stream, (after, { signal }) => this.#ask(after, signal)), queueMax)[Symbol.asyncIterator]();
  }

  watch(watcher: SeatWatcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** The stream brings everything up to that seq. */
  fold(to: number): void {
    for (const frame of chunks(this.state.seq + 1, to)) {
      this.state = { ...this.state, seq: frame.seq };
      for (const watcher of this.#watchers) watcher.frame?.(frame);
    }
  }

  reset(seq: number): void {
    this.state = stateAt(seq);
    for (const watcher of this.#watchers) watcher.snapshot?.(this.state, "unknown_epoch");
  }

  finish(code: ErrorCode | null): void {
    this.end = code === null ? null : new SessiondError(code);
    for (const watcher of this.#watchers) watcher.ended?.(this.end);
  }

  #ask(after: number, signal: AbortSignal | undefined): Promise<TranscriptPage> {
    const page = new Promise<TranscriptPage>((resolve, reject) => {
      const give = (frames: readonly Frame[], compactedThrough = 0): void => resolve({ frames, more: true, compacted_through: compactedThrough });
      this.pages.put({ after, signal, give, refuse: (code) => reject(new SessiondError(code)) });
    });
    return signal === undefined ? page : orAborted(page, signal);
  }
}
