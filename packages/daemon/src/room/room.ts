import { SessiondError, type Fault, type Limits } from "@sessiond/shared";
import { diskReason } from "../disk.ts";
import { Bell } from "./bell.ts";
import { EncodedFrames } from "./encoded-frames.ts";
import type { EncodedFrame } from "./journal-file.ts";
import type { Journal } from "./journal.ts";
import { SeqWaiters } from "./seq-waiters.ts";
import { SharedBatches, type Batch } from "./shared-batches.ts";

/**
 * The fan-out of one log. Readers are cursors, not queues: a reader says what it has, is woken
 * when there is more, and takes at its own pace from the window in memory or from disk. So a
 * slow reader costs one number, and nobody else notices it.
 *
 * Only frames that the journal has written come here.
 */

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

/**
 * A place in the log. Who holds one gets every frame behind it: nothing there is compacted before he has passed,
 * or is so far behind that he was given up.
 */
export interface Standing {
  after: number;
  /** True for a stream, which moves on as it is read. */
  readonly live: boolean;
  /** What is behind it may be compacted: nothing is read from here any more. */
  givenUp: boolean;
}

/** How a room's streams end: `complete`, or with an error for every reader. */
export type RoomEnd = "complete" | SessiondError;

export class Room {
  readonly #limits: Limits;
  #journal: Journal;
  #window: EncodedFrame[] = [];
  #windowBytes = 0;
  #head: number;
  #fault: Fault | undefined;
  #end: RoomEnd | null = null;
  readonly #bell = new Bell();
  readonly #shown = new SeqWaiters();
  readonly #standing = new Set<Standing>();
  readonly #moved = new Bell();
  #unreadWaiters: (() => void)[] = [];
  readonly #batches: SharedBatches;

  constructor(journal: Journal, head: number, limits: Limits) {
    this.#journal = journal;
    this.#limits = limits;
    this.#head = head;
    this.#batches = new SharedBatches(limits.window_bytes_max);
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
    this.#bell.ring();
  }

  /** Go on with another journal of the same log, after a fault. */
  set journal(journal: Journal) {
    this.#journal = journal;
  }

  cursor(seq: number): string {
    return `${this.#journal.epoch}:${seq}`;
  }

  /** Up to this seq frames were merged and dropped; 0 when nothing was. */
  get compactedThrough(): number {
    return this.#journal.compactedThrough;
  }

  /** Why the cursor cannot be served, or null. */
  judge(cursor: string): "unknown_epoch" | "beyond_end" | "too_old" | null {
    const [epoch = 0, seq = 0] = cursor.split(":").map(Number);
    return this.#journal.judge(epoch, seq, this.#head);
  }

  publish(frames: readonly EncodedFrame[]): void {
    for (const frame of frames) {
      this.#window.push(frame);
      this.#windowBytes += frame.text.length;
    }
    let drop = 0;
    while (this.#windowBytes > this.#limits.window_bytes_max || this.#window.length - drop > this.#limits.window_frames_max)
      this.#windowBytes -= this.#window[drop++]?.text.length ?? 0;
    if (drop > 0) this.#window = this.#window.slice(drop);
    this.#head = frames.at(-1)?.seq ?? this.#head;
    this.#shown.reached(this.#head);
    this.#bell.ring();
  }

  /** Resolves when the frame is shown. @throws SessiondError what `fail` was given */
  shown(seq: number): Promise<void> {
    if (seq <= this.#head) return Promise.resolve();
    return this.#shown.wait(seq);
  }

  /** What was not shown never will be. */
  failWaiters(error: SessiondError): void {
    this.#shown.fail(error);
  }

  /** No frame comes any more; readers get what is there, then the end. */
  end(how: RoomEnd): void {
    this.#end ??= how;
    this.#bell.ring();
  }

  /** Take a place, in the same step as the cursor is judged; `leave` it in any case. */
  stand(after: number, live = true): Standing {
    const standing = { after, live, givenUp: false };
    this.#standing.add(standing);
    return standing;
  }

  leave(standing: Standing): void {
    this.#standing.delete(standing);
    this.#moved.ring();
    if (!this.standsBefore(this.#head)) this.#batches.clear();
    if (this.#standing.size > 0) return;
    for (const resolve of this.#unreadWaiters.splice(0)) resolve();
  }

  /**
   * Batches from a place on, until the room ends or `signal` aborts.
   *
   * @param ready  awaited before each batch: the reader's socket has room again
   * @param told   the fault that the reader knows of
   * @yields       batches of ascending seq without gap; one without frames announces a fault or its end
   * @throws       the error that the room ended with, or the signal's reason when it is a SessiondError; slow_consumer when
   *               compaction had to wait too long for this reader
   */
  async *read(standing: Standing, signal: AbortSignal, { ready = () => Promise.resolve(), told }: Reading = {}): AsyncGenerator<RoomBatch> {
    for (;;) {
      await ready();
      if (signal.aborted) break;
      if (standing.givenUp) throw leftBehind();
      if (standing.after < this.#head) {
        const { after } = standing;
        const { last, frames } = await this.#batches.take(
          after,
          () => this.#head,
          () => this.#take(after),
        );
        // Given up while it was read: it may lack what compaction dropped.
        if (standing.givenUp) throw leftBehind();
        standing.after = last;
        this.#moved.ring();
        told = this.#fault;
        yield this.#batch(last, frames);
      } else if (told !== this.#fault) {
        told = this.#fault;
        yield this.#batch(standing.after, new EncodedFrames([]));
      } else if (this.#end !== null) {
        if (this.#end !== "complete") throw this.#end;
        return;
      } else {
        if (!this.#batches.empty && !this.standsBefore(this.#head)) this.#batches.clear();
        await this.#bell.rung(signal);
      }
    }
    if (signal.reason instanceof SessiondError) throw signal.reason;
  }

  /** How many frames each reader lacks. */
  get lags(): number[] {
    return [...this.#standing].filter(({ live }) => live).map(({ after }) => this.#head - after);
  }

  /** Resolves when nobody reads: the journal's file can be let go. */
  unread(): Promise<void> {
    return this.#standing.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#unreadWaiters.push(resolve));
  }

  standsBefore(seq: number): boolean {
    // Asked by each reader who falls asleep: the first that is behind is answer enough.
    for (const { after } of this.#standing) if (after < seq) return true;
    return false;
  }

  /** Resolves when nobody stands before this frame any more, or the signal aborts. */
  async passed(seq: number, signal: AbortSignal): Promise<void> {
    while (this.standsBefore(seq) && !signal.aborted) await this.#moved.rung(signal);
  }

  /** Streams that stand before this frame are waited for no longer: they end with slow_consumer. */
  giveUp(seq: number): void {
    for (const standing of [...this.#standing].filter(({ after, live }) => live && after < seq)) {
      standing.givenUp = true;
      this.leave(standing);
    }
    // One that is being read may lack what compaction drops next.
    this.#batches.clear();
  }

  /** Frames after `after`, from memory or disk, bounded in number and bytes. */
  async page(after: number, count: number, bytes: number): Promise<EncodedFrame[]> {
    const first = this.#window[0]?.seq ?? Number.POSITIVE_INFINITY;
    if (after + 1 < first) {
      const frames = await this.#fromDisk((journal) => journal.read(after, { count: Math.min(count, this.#head - after), bytes }));
      // The file may hold frames that are written and not yet shown.
      if (frames === null) return this.page(after, count, bytes);
      const shown = frames.filter((frame) => frame.seq <= this.#head);
      this.#mustBeWhole(after, shown);
      return shown;
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

  /** The frames before `before`, ascending, from memory or disk; fewer than asked for where the one ends and the other begins. */
  async pageBefore(before: number, count: number, bytes: number): Promise<EncodedFrame[]> {
    const end = Math.min(before, this.#head + 1);
    const first = this.#window[0]?.seq ?? Number.POSITIVE_INFINITY;
    if (end <= first) {
      const frames = await this.#fromDisk((journal) => journal.readBefore(end, { count, bytes }));
      if (frames === null) return this.pageBefore(before, count, bytes);
      this.#mustBeWhole((frames[0]?.seq ?? end) - 1, [...frames, { seq: end }]);
      return frames;
    }
    const frames: EncodedFrame[] = [];
    let taken = 0;
    for (let index = end - 1 - first; index >= 0 && frames.length < count; index--) {
      const frame = this.#window[index];
      if (frame === undefined || (frames.length > 0 && taken + frame.text.length > bytes)) break;
      frames.push(frame);
      taken += frame.text.length;
    }
    return frames.toReversed();
  }

  /** Whether there are frames before this one; the first of a journal may have been dropped. */
  async anyBefore(seq: number): Promise<boolean> {
    if (seq <= 1 || seq > (this.#window[0]?.seq ?? seq)) return seq > 1;
    return (await this.#fromDisk((journal) => journal.anyBefore(seq))) ?? this.anyBefore(seq);
  }

  /**
   * What was found to be good once is not looked through again, and may have been damaged since: never a hole that nobody
   * notices. Compaction alone leaves some.
   */
  #mustBeWhole(after: number, frames: readonly { readonly seq: number }[]): void {
    let last = after;
    for (const { seq } of frames) {
      if (seq !== last + 1 && last >= this.compactedThrough) throw new SessiondError("storage_failed", { reason: "the journal lacks frames that were shown" });
      last = seq;
    }
  }

  /** @returns null when another file has taken its place meanwhile */
  async #fromDisk<T>(read: (journal: Journal) => Promise<T>): Promise<T | null> {
    const journal = this.#journal;
    return read(journal).catch((cause: unknown) => {
      if (journal !== this.#journal) return null;
      // Its files were let go of: who reads is told why, not that they are closed.
      if (this.#end !== null && this.#end !== "complete") throw this.#end;
      throw cause instanceof SessiondError ? cause : new SessiondError("storage_failed", { reason: diskReason(cause) }, { cause });
    });
  }

  async #take(after: number): Promise<Batch> {
    // From disk as much as a batch may be, however many frames: it is read in larger parts, and none of it twice.
    const behind = after + 1 < (this.#window[0]?.seq ?? Number.POSITIVE_INFINITY);
    const frames = await this.page(after, behind ? Number.POSITIVE_INFINITY : this.#limits.batch_frames_max, this.#limits.batch_bytes_max);
    const last = frames.at(-1);
    if (last === undefined) throw new SessiondError("storage_failed", { reason: "the journal lacks frames that were shown" });
    return { last: last.seq, frames: new EncodedFrames(frames.map((frame) => frame.text)) };
  }

  #batch(seq: number, frames: EncodedFrames): RoomBatch {
    return { cursor: this.cursor(seq), head: this.#head, frames, ...(this.#fault && { fault: this.#fault }) };
  }
}

const leftBehind = (): SessiondError => new SessiondError("slow_consumer", { reason: "fell too far behind" });
