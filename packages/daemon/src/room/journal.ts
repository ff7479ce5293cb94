import { limits, SessiondError, type Frame } from "@sessiond/shared";
import { diskReason, type Disk, type DiskFile } from "../disk.ts";
import { highestEpoch, readFrames, scan, type EncodedFrame, type Epoch, type Scan } from "./journal-file.ts";

/**
 * The journal of one room: what was decided, on disk, in order.
 *
 * At most one write and one sync are under way. What is appended meanwhile travels with the
 * next write; whoever waits for durability shares the next sync that covers it (group commit).
 * A failed write or sync ends this journal for good: what was not written is dropped, whoever
 * waits is told, and the same descriptor is never synced again, because a kernel that has
 * reported a failed sync may have thrown the pages away.
 */
export interface JournalEvents {
  /** A write has returned: these frames may be shown. */
  written(frames: readonly EncodedFrame[]): void;
  failed(error: SessiondError): void;
}

/** Counted, not timed: benches and tests read these. */
export interface JournalCounts {
  writes: number;
  syncs: number;
  bytes: number;
}

interface Waiter {
  readonly seq: number;
  readonly resolve: () => void;
  readonly reject: (error: SessiondError) => void;
}

/** Where a journal that failed must be taken up again. */
export interface CutPoint {
  /** End of the last shown line. */
  readonly shown: number;
  /** End of what a sync has covered. */
  readonly synced: number;
}

export class Journal {
  readonly counts: JournalCounts = { writes: 0, syncs: 0, bytes: 0 };
  readonly #file: DiskFile;
  readonly #scan: Scan;
  readonly #epochs: readonly Epoch[];
  readonly #events: JournalEvents;
  #pending: EncodedFrame[] = [];
  #pendingBytes = 0;
  #scheduled = false;
  #writing = false;
  #step: Promise<void> = Promise.resolve();
  #syncing = false;
  #end: number;
  #syncedEnd: number;
  #appendedSeq: number;
  #writtenSeq: number;
  #syncedSeq: number;
  #error: SessiondError | null = null;
  #durableWaiters: Waiter[] = [];
  #drainWaiters: (() => void)[] = [];

  private constructor(file: DiskFile, found: Scan, epochs: readonly Epoch[], end: number, events: JournalEvents) {
    this.#file = file;
    this.#scan = found;
    this.#epochs = epochs;
    this.#events = events;
    this.#end = this.#syncedEnd = end;
    this.#appendedSeq = this.#writtenSeq = this.#syncedSeq = found.lastSeq;
  }

  /**
   * Open for writing: cut damage off, then begin the next epoch, on disk before this resolves.
   *
   * @param visit  gets every frame that is there
   * @param cut    after a failure in this process: cut back to `shown`, and write what was shown
   *               but never synced once more, since a failed sync may have dropped it
   * @throws SessiondError storage_failed
   */
  static async open(
    disk: Disk,
    directory: string,
    options: {
      visit: (frame: Frame, text: string) => void;
      events: JournalEvents;
      now: number;
      cut?: CutPoint;
      setAside: (path: string, reason: string) => void;
    },
  ): Promise<{ journal: Journal; damage: Scan["damage"] }> {
    const path = `${directory}/journal`;
    let file: DiskFile | null = null;
    try {
      file = await disk.open(path, "write");
      if (options.cut !== undefined) await rewriteUnsynced(file, options.cut);
      let found = await scan(file, options.visit);
      // Numbers that were shown must not be given again. A start from this file is another epoch, and every reader is told.
      if (options.cut !== undefined && found.end !== options.cut.shown)
        throw new SessiondError("storage_failed", { reason: "the journal has lost lines that were shown; restart the daemon to go on with what is left" });
      let lastEpoch = found.epochs.length;
      if (found.damage === "malformed") {
        lastEpoch = await highestEpoch(file, found.end, lastEpoch);
        await file.close();
        file = null;
        file = await keepGoodPart(disk, path, found.end, options);
        found = { ...found, end: await file.size() };
      } else if (found.damage === "torn") {
        await file.truncate(found.end);
      }
      // Epochs that were lost with a damaged part are ended here, so that no cursor of theirs becomes good again.
      const epochs = [...found.epochs];
      while (epochs.length <= lastEpoch) epochs.push({ epoch: epochs.length + 1, after: found.lastSeq });
      const records = epochs.slice(found.epochs.length).map((epoch) => `${JSON.stringify({ ...epoch, at: options.now })}\n`);
      const lines = Buffer.from(records.join(""));
      await file.write(found.end, lines);
      await file.datasync();
      await disk.syncDirectory(directory);
      return { journal: new Journal(file, found, epochs, found.end + lines.length, options.events), damage: found.damage };
    } catch (error) {
      await file?.close().catch(() => undefined);
      if (error instanceof SessiondError) throw error;
      throw new SessiondError("storage_failed", { reason: diskReason(error) }, { cause: error });
    }
  }

  /** Open a journal that nobody will write to again. Damage is left as it is and not read. @throws SessiondError storage_failed */
  static async openForReading(disk: Disk, directory: string, visit: (frame: Frame, text: string) => void): Promise<Journal> {
    let file: DiskFile | null = null;
    try {
      file = await disk.open(`${directory}/journal`, "read");
      const found = await scan(file, visit);
      return new Journal(file, found, found.epochs, found.end, { written: () => undefined, failed: () => undefined });
    } catch (error) {
      await file?.close().catch(() => undefined);
      throw new SessiondError("storage_failed", { reason: diskReason(error) }, { cause: error });
    }
  }

  get epoch(): number {
    return this.#epochs.length;
  }

  get cutPoint(): CutPoint {
    return { shown: this.#end, synced: this.#syncedEnd };
  }

  /** Why a cursor cannot be served, or null. `head` is the newest seq that is shown. */
  judge(epoch: number, seq: number, head: number): "unknown_epoch" | "beyond_end" | null {
    if (epoch < 1 || epoch > this.#epochs.length) return "unknown_epoch";
    const end = this.#epochs[epoch]?.after ?? head;
    return seq > end ? "beyond_end" : null;
  }

  append(frame: EncodedFrame): void {
    if (this.#error !== null) throw this.#error;
    this.#pending.push(frame);
    this.#appendedSeq = frame.seq;
    this.#pendingBytes += frame.text.length;
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
    const waiting = new Promise<void>((resolve, reject) => this.#durableWaiters.push({ seq, resolve, reject }));
    this.#syncIfAsked();
    return waiting;
  }

  /** Resolves when the backlog of unwritten frames is within its limit, or the journal has failed. */
  drained(): Promise<void> {
    if (this.#pendingBytes <= limits.journal_pending_bytes_max || this.#error !== null) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  /** Written frames after `after`. @throws what the disk throws */
  read(after: number, count: number, bytes: number): Promise<EncodedFrame[]> {
    return readFrames(this.#file, this.#scan.index, this.#end, after, count, bytes);
  }

  /** Resolves when no write is under way: one that outlives its journal's failure must not land in the next one's lines. */
  settled(): Promise<void> {
    return this.#step;
  }

  /** Make everything appended durable, then let go of the file. @throws SessiondError storage_failed */
  async close(): Promise<void> {
    try {
      if (this.#error === null) await this.durable(this.#appendedSeq);
    } finally {
      await this.#file.close().catch(() => undefined);
    }
  }

  async #write(): Promise<void> {
    this.#writing = true;
    while (this.#error === null && this.#pending.length > 0) await this.#writePending();
    this.#writing = false;
  }

  async #writePending(): Promise<void> {
    const frames = this.#pending;
    this.#pending = [];
    const bytes = Buffer.from(`${frames.map((frame) => frame.text).join("\n")}\n`);
    try {
      await this.#file.write(this.#end, bytes);
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (this.#error !== null) return;
    this.#indexBatch(frames);
    this.#end += bytes.length;
    this.#writtenSeq = frames.at(-1)?.seq ?? this.#writtenSeq;
    this.#pendingBytes = this.#pending.reduce((sum, frame) => sum + frame.text.length, 0);
    this.counts.writes += 1;
    this.counts.bytes += bytes.length;
    this.#events.written(frames);
    if (this.#pendingBytes <= limits.journal_pending_bytes_max) for (const wake of this.#drainWaiters.splice(0)) wake();
    this.#syncIfAsked();
  }

  #indexBatch(frames: readonly EncodedFrame[]): void {
    let offset = this.#end;
    for (const frame of frames) {
      this.#scan.index.note(frame.seq, offset);
      offset += Buffer.byteLength(frame.text) + 1;
    }
  }

  #syncIfAsked(): void {
    if (this.#syncing || this.#error !== null) return;
    if (!this.#durableWaiters.some((waiter) => waiter.seq <= this.#writtenSeq)) return;
    this.#syncing = true;
    const covered = { seq: this.#writtenSeq, end: this.#end };
    this.#file.datasync().then(
      () => {
        this.#syncing = false;
        if (this.#error !== null) return;
        this.counts.syncs += 1;
        this.#syncedSeq = covered.seq;
        this.#syncedEnd = covered.end;
        const ready = this.#durableWaiters.filter((waiter) => waiter.seq <= covered.seq);
        this.#durableWaiters = this.#durableWaiters.filter((waiter) => waiter.seq > covered.seq);
        for (const waiter of ready) waiter.resolve();
        this.#syncIfAsked();
      },
      (error: unknown) => {
        this.#syncing = false;
        this.#fail(error);
      },
    );
  }

  #fail(cause: unknown): void {
    if (this.#error !== null) return;
    this.#error = new SessiondError("storage_failed", { reason: diskReason(cause) }, { cause });
    this.#pending = [];
    this.#pendingBytes = 0;
    for (const waiter of this.#durableWaiters.splice(0)) waiter.reject(this.#error);
    for (const wake of this.#drainWaiters.splice(0)) wake();
    this.#events.failed(this.#error);
  }
}

async function rewriteUnsynced(file: DiskFile, cut: CutPoint): Promise<void> {
  if ((await file.size()) < cut.shown) throw new SessiondError("storage_failed", { reason: "the journal is shorter than what was shown" });
  await file.truncate(cut.shown);
  if (cut.shown > cut.synced) await file.write(cut.synced, await file.read(cut.synced, cut.shown - cut.synced));
}

/** A bad line in the middle: the whole file is kept under another name, the good part goes on. */
async function keepGoodPart(
  disk: Disk,
  path: string,
  end: number,
  options: { now: number; setAside: (path: string, reason: string) => void },
): Promise<DiskFile> {
  const kept = `${path}.damaged-${options.now}`;
  await disk.rename(path, kept);
  options.setAside(kept, "a line in the middle of the journal cannot be read; what came before it was kept in use");
  const source = await disk.open(kept, "read");
  const target = await disk.open(path, "write");
  const step = 1_048_576;
  try {
    for (let position = 0; position < end; position += step) await target.write(position, await source.read(position, Math.min(step, end - position)));
    await target.datasync();
  } finally {
    await source.close();
  }
  return target;
}
