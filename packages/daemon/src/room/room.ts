import { limits, SessiondError, type Fault, type Frame } from "@sessiond/shared";
import { diskReason } from "../disk.ts";
import type { EncodedFrame } from "./journal-file.ts";
import type { Journal } from "./journal.ts";

/**
 * The fan-out of one log. Readers are cursors, not queues: a reader says what it has, is woken
 * when there is more, and takes at its own pace from the window in memory or from disk. So a
 * slow reader costs one number, and nobody else notices it.
 *
 * Only frames that the journal has written come here.
 */

/** Frames as the texts they are on disk; the transport puts them into an envelope unparsed. */
export class EncodedFrames {
  readonly texts: readonly string[];
  #joined: string | undefined;

  constructor(texts: readonly string[]) {
    this.texts = texts;
  }

  /** As they stand in a JSON array; made once for all readers. */
  get joined(): string {
    return (this.#joined ??= this.texts.join(","));
  }

  /** For a reader in the same process. */
  parsed(): Frame[] {
    return this.texts.map((text) => JSON.parse(text) as Frame);
  }
}

export interface RoomBatch {
  readonly cursor: string;
  readonly head: number;
  readonly frames: EncodedFrames;
  readonly fault?: Fault;
}

export interface Reading {
  readonly ready?: () => Promise<void>;
  readonly told?: Fault | undefined;
}

/** How a room's streams end: `complete`, or with an error for every reader. */
export type RoomEnd = "complete" | SessiondError;

export class Room {
  #journal: Journal;
  #window: EncodedFrame[] = [];
  #windowBytes = 0;
  #head: number;
  #fault: Fault | undefined;
  #end: RoomEnd | null = null;
  #sleepers = new Set<() => void>();
  #shownWaiters: { seq: number; resolve: () => void; reject: (error: SessiondError) => void }[] = [];
  #readers = 0;
  #unreadWaiters: (() => void)[] = [];
  /** Many readers stand at the same place; they share one batch, and its encoding. */
  #latest: { after: number; last: number; frames: EncodedFrames } | null = null;

  constructor(journal: Journal, head: number) {
    this.#journal = journal;
    this.#head = head;
  }

  /** Newest seq that is shown. */
  get head(): number {
    return this.#head;
  }

  get fault(): Fault | undefined {
    return this.#fault;
  }

  /** Set or lift a fault; every reader gets a batch without frames that says so. */
  set fault(fault: Fault | undefined) {
    this.#fault = fault;
    this.#wake();
  }

  /** Go on with another journal of the same log, after a fault. */
  set journal(journal: Journal) {
    this.#journal = journal;
  }

  cursor(seq: number): string {
    return `${this.#journal.epoch}:${seq}`;
  }

  /** Why the cursor cannot be served, or null. */
  judge(cursor: string): "unknown_epoch" | "beyond_end" | null {
    const [epoch = 0, seq = 0] = cursor.split(":").map(Number);
    return this.#journal.judge(epoch, seq, this.#head);
  }

  publish(frames: readonly EncodedFrame[]): void {
    for (const frame of frames) {
      this.#window.push(frame);
      this.#windowBytes += frame.text.length;
    }
    let drop = 0;
    while (this.#windowBytes > limits.window_bytes_max || this.#window.length - drop > limits.window_frames_max)
      this.#windowBytes -= this.#window[drop++]?.text.length ?? 0;
    if (drop > 0) this.#window = this.#window.slice(drop);
    this.#head = frames.at(-1)?.seq ?? this.#head;
    const shown = this.#shownWaiters.filter((waiter) => waiter.seq <= this.#head);
    this.#shownWaiters = this.#shownWaiters.filter((waiter) => waiter.seq > this.#head);
    for (const waiter of shown) waiter.resolve();
    this.#wake();
  }

  /** Resolves when the frame is shown. @throws SessiondError what `fail` was given */
  shown(seq: number): Promise<void> {
    if (seq <= this.#head) return Promise.resolve();
    return new Promise((resolve, reject) => this.#shownWaiters.push({ seq, resolve, reject }));
  }

  /** What was not shown never will be. */
  failWaiters(error: SessiondError): void {
    for (const waiter of this.#shownWaiters.splice(0)) waiter.reject(error);
  }

  /** No frame comes any more; readers get what is there, then the end. */
  end(how: RoomEnd): void {
    this.#end ??= how;
    this.#wake();
  }

  /**
   * Batches after `after`, until the room ends or `signal` aborts.
   *
   * @param ready  awaited before each batch: the reader's socket has room again
   * @param told   the fault that the reader knows of
   * @yields       batches of ascending seq without gap; one without frames announces a fault or its end
   * @throws       the error that the room ended with, or the signal's reason when it is a SessiondError
   */
  async *read(after: number, signal: AbortSignal, { ready = () => Promise.resolve(), told }: Reading = {}): AsyncGenerator<RoomBatch> {
    this.#readers += 1;
    try {
      yield* this.#follow(after, signal, ready, told);
    } finally {
      this.#readers -= 1;
      if (this.#readers === 0) for (const resolve of this.#unreadWaiters.splice(0)) resolve();
    }
  }

  /** Resolves when nobody reads: the journal's file can be let go. */
  unread(): Promise<void> {
    return this.#readers === 0 ? Promise.resolve() : new Promise((resolve) => this.#unreadWaiters.push(resolve));
  }

  async *#follow(after: number, signal: AbortSignal, ready: () => Promise<void>, told: Fault | undefined): AsyncGenerator<RoomBatch> {
    for (;;) {
      await ready();
      if (signal.aborted) break;
      if (after < this.#head) {
        const { last, frames } = await this.#take(after);
        after = last;
        told = this.#fault;
        yield this.#batch(after, frames);
      } else if (told !== this.#fault) {
        told = this.#fault;
        yield this.#batch(after, new EncodedFrames([]));
      } else if (this.#end !== null) {
        if (this.#end !== "complete") throw this.#end;
        return;
      } else {
        await this.#change(signal);
      }
    }
    if (signal.reason instanceof SessiondError) throw signal.reason;
  }

  /** Frames after `after`, from memory or disk, bounded in number and bytes. */
  async page(after: number, count: number, bytes: number): Promise<EncodedFrame[]> {
    const first = this.#window[0]?.seq ?? Number.POSITIVE_INFINITY;
    if (after + 1 < first) {
      const journal = this.#journal;
      const frames = await journal.read(after, Math.min(count, this.#head - after), bytes).catch((cause: unknown) => {
        // Another file has taken its place meanwhile.
        if (journal !== this.#journal) return null;
        throw new SessiondError("storage_failed", { reason: diskReason(cause) }, { cause });
      });
      if (frames === null) return this.page(after, count, bytes);
      // The file may hold frames that are written and not yet shown.
      return frames.filter((frame) => frame.seq <= this.#head);
    }
    const frames: EncodedFrame[] = [];
    let taken = 0;
    for (let index = after + 1 - first; index < this.#window.length && frames.length < count; index++) {
      const frame = this.#window[index];
      if (frame === undefined || (frames.length > 0 && taken + frame.text.length > bytes)) break;
      frames.push(frame);
      taken += frame.text.length;
    }
    return frames;
  }

  async #take(after: number): Promise<{ last: number; frames: EncodedFrames }> {
    if (this.#latest?.after === after) return this.#latest;
    const frames = await this.page(after, limits.batch_frames_max, limits.batch_bytes_max);
    const last = frames.at(-1);
    if (last === undefined) throw new SessiondError("storage_failed", { reason: "the journal lacks frames that were shown" });
    const taken = { after, last: last.seq, frames: new EncodedFrames(frames.map((frame) => frame.text)) };
    if (last.seq === this.#head) this.#latest = taken;
    return taken;
  }

  #batch(seq: number, frames: EncodedFrames): RoomBatch {
    return { cursor: this.cursor(seq), head: this.#head, frames, ...(this.#fault && { fault: this.#fault }) };
  }

  #wake(): void {
    const sleepers = this.#sleepers;
    this.#sleepers = new Set();
    for (const wake of sleepers) wake();
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener("abort", wake);
        this.#sleepers.delete(wake);
        resolve();
      };
      this.#sleepers.add(wake);
      signal.addEventListener("abort", wake, { once: true });
      if (signal.aborted) wake();
    });
  }
}
