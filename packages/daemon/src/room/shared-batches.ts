import type { EncodedFrames } from "./encoded-frames.ts";

/** What a reader who stands at one place gets next. */
export interface Batch {
  /** Seq of its last frame. */
  readonly last: number;
  readonly frames: EncodedFrames;
}

interface Kept {
  readonly batch: Promise<Batch>;
  /** The head at which it ended for want of more; null when it is as long as a batch may be, or being made. */
  shortAt: number | null;
  chars: number;
}

/**
 * Batches that were made lately, by the seq that they begin behind: readers pass the same places, and what they get there
 * is read, joined and turned into bytes for the first of them, also where they fell behind. The room lets go of all of
 * them when nobody has anything before him.
 */
export class SharedBatches {
  readonly #charsMax: number;
  readonly #kept = new Map<number, Kept>();
  #chars = 0;

  /** @param charsMax  of frames; what is kept of them, texts and bytes, is at most three bytes for each, or eight where it is not ASCII, and only while somebody is behind */
  constructor(charsMax: number) {
    this.#charsMax = charsMax;
  }

  /**
   * @param head  newest seq that is shown
   * @param make  asked only where there is none that is as long as it can be
   * @throws what `make` throws
   */
  take(after: number, head: () => number, make: () => Promise<Batch>): Promise<Batch> {
    const there = this.#kept.get(after);
    if (there !== undefined && (there.shortAt === null || there.shortAt === head())) return there.batch;
    this.#drop(after);
    const kept: Kept = { batch: make(), shortAt: null, chars: 0 };
    this.#kept.set(after, kept);
    kept.batch.then(
      ({ last, frames }) => {
        if (this.#kept.get(after) !== kept) return;
        if (last === head()) kept.shortAt = last;
        kept.chars = frames.chars;
        this.#chars += kept.chars;
        for (const oldest of this.#kept.keys()) {
          if (this.#chars <= this.#charsMax) break;
          this.#drop(oldest);
        }
      },
      () => this.#kept.get(after) === kept && this.#drop(after),
    );
    return kept.batch;
  }

  get empty(): boolean {
    return this.#kept.size === 0;
  }

  clear(): void {
    this.#kept.clear();
    this.#chars = 0;
  }

  #drop(after: number): void {
    this.#chars -= this.#kept.get(after)?.chars ?? 0;
    this.#kept.delete(after);
  }
}
