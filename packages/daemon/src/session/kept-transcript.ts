import { SessiondError, type Frame, type SessionEvent } from "@sessiond/shared";
import { Transcript } from "../agents/transcript.ts";
import type { Counters } from "../counters.ts";
import { diskReason } from "../disk.ts";

/**
 * The whole conversation of a session, for its agent: read from the journal when the agent first
 * asks for it, kept up to date from then on, and dropped between turns when it is large. A
 * session that only lives holds no more of it than its state does.
 */
export interface TranscriptSource {
  /** In one step: the frames on disk so far, and the events that are not there yet. `done` lets go of the frames. */
  begin(): { readonly frames: AsyncIterable<Frame>; readonly unwritten: SessionEvent[]; done(): void };
  readonly charsMax: number;
  readonly counters: Counters;
}

interface Keeping {
  whole: Transcript | null;
  /** Applied while the frames before are being read. */
  readonly later: SessionEvent[];
  ready: Promise<Transcript>;
}

export class KeptTranscript {
  readonly #source: TranscriptSource;
  #keeping: Keeping | null = null;

  constructor(source: TranscriptSource) {
    this.#source = source;
  }

  /** Good until the turn has ended. @throws SessiondError storage_failed  when it cannot be read, or the journal fails meanwhile */
  get(): Promise<Transcript> {
    if (this.#keeping !== null) return this.#keeping.ready;
    const { frames, unwritten, done } = this.#source.begin();
    const keeping: Keeping = { whole: null, later: unwritten, ready: Promise.resolve(new Transcript()) };
    this.#keeping = keeping;
    keeping.ready = this.#read(keeping, frames).finally(done);
    // Whoever asked is told; nobody else has to know.
    keeping.ready.catch(() => this.#keeping === keeping && this.forget());
    return keeping.ready;
  }

  fold(event: SessionEvent): void {
    const keeping = this.#keeping;
    if (keeping === null) return;
    if (keeping.whole === null) return void keeping.later.push(event);
    keeping.whole.fold(event);
    if (event.type === "turn_ended" && keeping.whole.chars > this.#source.charsMax) this.forget();
  }

  /** The journal is another now, or the conversation too long to be kept for nothing. */
  forget(): void {
    this.#keeping = null;
  }

  async #read(keeping: Keeping, frames: AsyncIterable<Frame>): Promise<Transcript> {
    const transcript = new Transcript();
    try {
      for await (const frame of frames) {
        if (this.#keeping !== keeping) break;
        this.#source.counters.framesDecoded += 1;
        transcript.fold(frame.event);
      }
    } catch (cause) {
      throw cause instanceof SessiondError ? cause : new SessiondError("storage_failed", { reason: diskReason(cause) }, { cause });
    }
    if (this.#keeping !== keeping) throw new SessiondError("storage_failed", { reason: "the journal was taken up again" });
    for (const event of keeping.later) transcript.fold(event);
    keeping.later.length = 0;
    return (keeping.whole = transcript);
  }
}
