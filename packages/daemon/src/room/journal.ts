import { SessiondError, type Frame, type Limits } from "@sessiond/shared";
import { diskReason, type Disk } from "../disk.ts";
import { Backlog } from "./backlog.ts";
import { Compactor, type ReaderGate } from "./compactor.ts";
import type { EncodedFrame, Epoch, Scan } from "./journal-file.ts";
import type { CutPoint } from "./journal-mending.ts";
import { openToRead, openToWrite, type OpenOptions } from "./journal-opening.ts";
import { headerLine, makeSegment } from "./segment.ts";
import type { PageSize, SegmentFile } from "./segment-file.ts";
import type { Segments } from "./segments.ts";
import { SeqWaiters } from "./seq-waiters.ts";

/**
 * The journal of one room: what was decided, on disk, in order; a row of segments (segment.ts).
 *
 * At most one write and one sync are under way. What is appended meanwhile travels with the
 * next write; whoever waits for durability shares the next sync that covers it (group commit).
 * When a segment is full it is synced, and the next one, with its snapshot, is on disk before
 * anything is written to it.
 * A failed write or sync ends this journal for good: what was not written is dropped, whoever
 * waits is told, and the same descriptor is never synced again, because a kernel that has
 * reported a failed sync may have thrown the pages away.
 */
export interface JournalEvents {
  /** A write has returned: these frames may be shown. */
  written(frames: readonly EncodedFrame[]): void;
  failed(error: SessiondError): void;
  /** What the frames up to `after`, the last written, fold to. */
  snapshot(after: number): unknown;
}

/** Counted, not timed: benches and tests read these. */
export interface JournalCounts {
  writes: number;
  syncs: number;
  bytes: number;
}

export interface JournalOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly limits: Limits;
  now(): number;
  /** A compaction that failed: nothing is lost by it but space. */
  report(error: SessiondError): void;
}

/** @see OpenOptions */
export type JournalFold = Pick<OpenOptions, "restore" | "visit">;

export class Journal {
  readonly counts: JournalCounts = { writes: 0, syncs: 0, bytes: 0 };
  readonly #segments: Segments;
  readonly #epochs: readonly Epoch[];
  readonly #options: JournalOptions;
  readonly #events: JournalEvents;
  readonly #compactor: Compactor;
  #gate: ReaderGate | null = null;
  readonly #pending: Backlog;
  #scheduled = false;
  #writing = false;
  #closing = false;
  #step: Promise<void> = Promise.resolve();
  #syncing: Promise<void> | null = null;
  /** No sync begins while the old segment is sealed and the new one made. */
  #rolling = false;
  /** Bytes of lines at which the segment is full. */
  #rollAt: number;
  #syncedEnd: number;
  #appendedSeq: number;
  #writtenSeq: number;
  #syncedSeq: number;
  #error: SessiondError | null = null;
  readonly #durable = new SeqWaiters();

  /** What was wrong with its end when it was opened. */
  readonly damage: Scan["damage"];

  private constructor(
    opened: { segments: Segments; epochs: readonly Epoch[]; lastSeq: number; damage: Scan["damage"] },
    options: JournalOptions,
    events: JournalEvents,
  ) {
    this.#segments = opened.segments;
    this.damage = opened.damage;
    this.#epochs = opened.epochs.slice(-options.limits.epochs_kept);
    this.#options = options;
    this.#events = events;
    this.#compactor = new Compactor(opened.segments, options);
    this.#rollAt = options.limits.segment_bytes_max;
    this.#pending = new Backlog(options.limits.journal_pending_bytes_max);
    this.#syncedEnd = this.#file.end;
    this.#appendedSeq = this.#writtenSeq = this.#syncedSeq = opened.lastSeq;
  }

  /**
   * Open for writing: cut damage off, then begin the next epoch, on disk before this resolves.
   *
   * @param cut  after a failure in this process: cut back to what was shown, and write what was shown
   *             but never synced once more
   * @throws SessiondError storage_failed
   */
  static async open(
    options: JournalOptions,
    { fold, events, setAside, isNew, cut }: { fold: JournalFold; events: JournalEvents } & Pick<OpenOptions, "setAside" | "isNew" | "cut">,
  ): Promise<{ journal: Journal; damage: Scan["damage"] }> {
    const opened = await typed(() =>
      openToWrite(options, {
        limits: options.limits,
        now: () => options.now(),
        restore: (snapshot, after) => fold.restore(snapshot, after),
        visit: (frame: Frame) => fold.visit(frame),
        snapshot: (after) => events.snapshot(after),
        setAside,
        ...(isNew && { isNew }),
        ...(cut && { cut }),
      }),
    );
    return { journal: new Journal(opened, options, events), damage: opened.damage };
  }

  /** Open a journal that nobody will write to again. Damage is left as it is and not read. @throws SessiondError storage_failed */
  static async openForReading(options: JournalOptions, fold: JournalFold): Promise<Journal> {
    const opened = await typed(() =>
      openToRead(options, { limits: options.limits, restore: (snapshot, after) => fold.restore(snapshot, after), visit: (frame) => fold.visit(frame) }),
    );
    return new Journal(opened, options, { written: () => undefined, failed: () => undefined, snapshot: () => undefined });
  }

  get epoch(): number {
    return this.#epochs.at(-1)?.epoch ?? 0;
  }

  get cutPoint(): CutPoint {
    return { after: this.#segments.after, shown: this.#file.end, synced: this.#syncedEnd };
  }

  /** Up to this seq frames were merged and dropped; 0 when nothing was. */
  get compactedThrough(): number {
    return this.#segments.compactedThrough;
  }

  /** Why a cursor cannot be served, or null. `head` is the newest seq that is shown. */
  judge(epoch: number, seq: number, head: number): "unknown_epoch" | "beyond_end" | "too_old" | null {
    if (epoch < 1 || epoch > this.epoch) return "unknown_epoch";
    const oldest = this.#epochs[0]?.epoch ?? 1;
    if (epoch < oldest) return "too_old";
    const end = this.#epochs[epoch + 1 - oldest]?.after ?? head;
    if (seq > end) return "beyond_end";
    return seq < this.#segments.compactedThrough ? "too_old" : null;
  }

  append(frame: EncodedFrame): void {
    if (this.#error !== null) throw this.#error;
    this.#pending.add(frame);
    this.#appendedSeq = frame.seq;
    if (this.#scheduled || this.#writing) return;
    this.#scheduled = true;
    // What one turn of the event loop produced is one write.
    setImmediate(() => {
      this.#scheduled = false;
      this.#step = this.#write();
    });
  }

  /** Resolves when the frame is on disk. @throws SessiondError storage_failed */
  durable(seq: number): Promise<void> {
    if (this.#error !== null) return Promise.reject(this.#error);
    if (seq <= this.#syncedSeq) return Promise.resolve();
    const waiting = this.#durable.wait(seq);
    this.#syncIfAsked();
    return waiting;
  }

  /** Resolves when the backlog of unwritten frames is within its limit, or the journal has failed; null when it is so now. */
  drained(): Promise<void> | null {
    return this.#pending.drained();
  }

  /** Written frames after `after`; fewer than asked for where a segment ends. @throws SessiondError storage_failed, or what the disk throws */
  read(after: number, size: PageSize): Promise<EncodedFrame[]> {
    return this.#segments.read(after, size);
  }

  /** Written frames before `before`, ascending. @throws as `read` */
  readBefore(before: number, size: PageSize): Promise<EncodedFrame[]> {
    return this.#segments.readBefore(before, size);
  }

  /** Whether there are frames before this one. @throws as `read` */
  anyBefore(seq: number): Promise<boolean> {
    return this.#segments.anyBefore(seq);
  }

  /** All that is left of the frames up to `through`, from the first on. @throws what the disk throws */
  frames(through: number): AsyncIterable<Frame> {
    return this.#segments.frames(through);
  }

  /** Compact what is old enough, now and after each segment to come. */
  compactBehind(gate: ReaderGate): void {
    this.#gate = gate;
    this.#compactor.kick(gate);
  }

  /** Resolves when nothing is under way: no write, no new segment, no compaction. */
  async idle(): Promise<void> {
    await this.#step;
    await this.#compactor.settled();
  }

  /** Resolves when this journal touches its files no more: a write that outlives its failure must not land in the next one's lines. */
  async settled(): Promise<void> {
    await Promise.all([this.#step, this.#compactor.stop()]);
  }

  /** Make everything appended durable, then let go of the files. @throws SessiondError storage_failed */
  async close(): Promise<void> {
    this.#closing = true;
    const compacted = this.#compactor.stop();
    try {
      if (this.#error === null) await this.durable(this.#appendedSeq);
    } finally {
      await this.#step;
      await compacted;
      await this.#segments.close();
    }
  }

  get #file(): SegmentFile {
    return this.#segments.active;
  }

  async #write(): Promise<void> {
    this.#writing = true;
    while (this.#error === null && !this.#pending.empty) {
      await this.#writePending();
      if (this.#error === null && !this.#closing && this.#file.end - this.#file.index.start >= this.#rollAt) await this.#roll();
    }
    this.#writing = false;
  }

  async #writePending(): Promise<void> {
    const frames = this.#pending.take();
    const bytes = Buffer.from(`${frames.map((frame) => frame.text).join("\n")}\n`);
    try {
      await this.#file.file.write(this.#file.end, bytes);
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (this.#error !== null) return;
    this.#indexBatch(frames);
    this.#file.end += bytes.length;
    this.#writtenSeq = frames.at(-1)?.seq ?? this.#writtenSeq;
    this.counts.writes += 1;
    this.counts.bytes += bytes.length;
    // First, so that the disk is at work while the frames are shown; nobody is answered in this step.
    this.#syncIfAsked();
    this.#events.written(frames);
    this.#pending.written();
  }

  #indexBatch(frames: readonly EncodedFrame[]): void {
    let offset = this.#file.end;
    for (const frame of frames) {
      this.#file.index.note(frame.seq, offset);
      offset += Buffer.byteLength(frame.text) + 1;
    }
  }

  /** Seal the full segment and go on in the next: the one is on disk, then the other, then it is written to. */
  async #roll(): Promise<void> {
    const after = this.#writtenSeq;
    const { limits } = this.#options;
    const header = headerLine({ after, at: this.#options.now(), epochs: this.#epochs, snapshot: this.#events.snapshot(after) });
    if (Buffer.byteLength(header) > limits.snapshot_bytes_max) {
      this.#rollAt += limits.segment_bytes_max;
      return;
    }
    this.#rolling = true;
    try {
      while (this.#syncing !== null) await this.#syncing;
      if (this.#error === null) await this.#sync();
      if (this.#error !== null) return;
      const file = await makeSegment(this.#options, after, header);
      // Cut short meanwhile: nobody would let go of it.
      if (this.#error !== null) return await file.file.close();
      this.#segments.roll(after, file);
      this.#syncedEnd = file.end;
      this.#rollAt = limits.segment_bytes_max;
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#rolling = false;
    }
    this.#syncIfAsked();
    if (this.#gate !== null) this.#compactor.kick(this.#gate);
  }

  #syncIfAsked(): void {
    if (this.#syncing !== null || this.#rolling || this.#error !== null) return;
    if (this.#durable.any(this.#writtenSeq)) void this.#sync().then(() => this.#syncIfAsked());
  }

  /** Never rejects: it fails the journal. */
  #sync(): Promise<void> {
    const covered = { seq: this.#writtenSeq, end: this.#file.end };
    const synced = this.#file.file.datasync().then(
      () => {
        this.#syncing = null;
        if (this.#error !== null) return;
        this.counts.syncs += 1;
        this.#syncedSeq = covered.seq;
        this.#syncedEnd = covered.end;
        this.#durable.reached(covered.seq);
      },
      (error: unknown) => {
        this.#syncing = null;
        this.#fail(error);
      },
    );
    this.#syncing = synced;
    return synced;
  }

  #fail(cause: unknown): void {
    if (this.#error !== null) return;
    this.#error = new SessiondError("storage_failed", { reason: diskReason(cause) }, { cause });
    this.#pending.clear();
    void this.#compactor.stop();
    this.#durable.fail(this.#error);
    this.#events.failed(this.#error);
  }
}

async function typed<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof SessiondError) throw cause;
    throw new SessiondError("storage_failed", { reason: diskReason(cause) }, { cause });
  }
}
