import { SessiondError, type Frame, type Limits } from "@sessiond/shared";
import type { Disk } from "../disk.ts";
import { SparseIndex, type EncodedFrame } from "./journal-file.ts";
import { framesIn, isCompacted, segmentPath } from "./segment.ts";
import { anyBefore, readAfter, readBefore, type Lines, type PageSize, type SegmentFile } from "./segment-file.ts";
import { UnreadLines } from "./unread-lines.ts";

/**
 * The row of a journal's segments, as readers see it: finds the one that holds a seq, keeps a few
 * sealed ones open, and lets go of one only when nobody reads in it any more. Handle and index
 * belong together: a segment that is replaced under its name goes on being what it was for who has it.
 */
export interface Segment {
  /** Seq of the last frame before it. */
  readonly after: number;
  compacted: boolean;
}

/** A file that is let go when its last reader has done. */
class Shared {
  readonly #ready: Promise<SegmentFile>;
  #uses = 0;
  #gone = false;

  constructor(ready: Promise<SegmentFile>) {
    this.#ready = ready;
  }

  async use<T>(work: (file: SegmentFile) => Promise<T>): Promise<T> {
    this.#uses += 1;
    try {
      return await work(await this.#ready);
    } finally {
      this.#uses -= 1;
      if (this.#gone && this.#uses === 0) void this.#close();
    }
  }

  async letGo(): Promise<void> {
    this.#gone = true;
    if (this.#uses === 0) await this.#close();
  }

  async #close(): Promise<void> {
    await this.#ready.then(({ file }) => file.close()).catch(() => undefined);
  }
}

export class Segments {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #limits: Limits;
  /** Ascending; the last one is the active one, which alone is written to. */
  readonly #row: Segment[];
  #active: { file: SegmentFile; shared: Shared };
  /** Sealed and open; the one used last is at the end. */
  readonly #open = new Map<number, Shared>();
  /** What is known of sealed ones, open or not: to find it again would be to read them. */
  readonly #known = new Map<number, Lines & { readonly compacted: boolean }>();
  #compactedThrough = 0;
  #closed = false;

  constructor(place: { disk: Disk; directory: string; limits: Limits }, row: Segment[], active: SegmentFile) {
    this.#disk = place.disk;
    this.#directory = place.directory;
    this.#limits = place.limits;
    this.#row = row;
    this.#active = { file: active, shared: new Shared(Promise.resolve(active)) };
    this.#compactedThrough = this.sealed().findLast((segment) => segment.compacted)?.end ?? 0;
  }

  get active(): SegmentFile {
    return this.#active.file;
  }

  /** Seq after which the active segment begins. */
  get after(): number {
    return this.#row.at(-1)?.after ?? 0;
  }

  /** Up to this seq not every frame is there, or will not be in a moment. */
  get compactedThrough(): number {
    return this.#compactedThrough;
  }

  /** Oldest first. `end`: seq of its last frame, also where that was dropped. */
  sealed(): { after: number; end: number; compacted: boolean }[] {
    return this.#row.slice(0, -1).map(({ after, compacted }, place) => ({ after, compacted, end: this.#row[place + 1]?.after ?? after }));
  }

  /** Frames after `after`, of one segment. None only at the end. @throws SessiondError storage_failed, or what the disk throws */
  async read(after: number, size: PageSize): Promise<EncodedFrame[]> {
    for (let from = after; ;) {
      const place = this.#holding(from);
      const next = this.#row[place + 1];
      const frames = await this.#use(place, (file) => readAfter(file, after, size));
      if (frames.length > 0 || next === undefined) return frames;
      from = next.after;
    }
  }

  /** The frames before `before`, ascending, of one segment. None only at the beginning. @throws as `read` */
  async readBefore(before: number, size: PageSize): Promise<EncodedFrame[]> {
    for (let place = this.#holding(before - 1); ; place--) {
      const frames = await this.#use(place, (file) => readBefore(file, before, size));
      if (frames.length > 0 || place <= 0) return frames;
    }
  }

  /** Whether there are frames before this one. The segment that holds them tells by its index. @throws as `read` */
  async anyBefore(seq: number): Promise<boolean> {
    for (let place = this.#holding(seq - 1); place >= 0; place--) {
      if (await this.#use(place, (file) => anyBefore(file, seq))) return true;
    }
    return false;
  }

  /** Every frame that can be read, up to `through`, past what cannot be. Each segment is as it was when it was come to. @throws what the disk throws */
  async *frames(through: number): AsyncGenerator<Frame> {
    for (const { after } of [...this.#row]) {
      if (after >= through) return;
      for await (const frame of framesIn(this.#disk, segmentPath(this.#directory, after), after)) {
        if (frame.seq > through) return;
        yield frame;
      }
    }
  }

  /** The active segment is full: what was written to it is sealed, and `file` goes on behind `after`. */
  roll(after: number, file: SegmentFile): void {
    const { index, end, bad } = this.#active.file;
    this.#known.set(this.after, { compacted: false, index, end, bad });
    this.#keepOpen(this.after, this.#active.shared);
    this.#active = { file, shared: new Shared(Promise.resolve(file)) };
    this.#row.push({ after, compacted: false });
  }

  /** A segment is about to be replaced by what compaction leaves of it: no cursor into it is good from here on. */
  compacting(end: number): void {
    this.#compactedThrough = Math.max(this.#compactedThrough, end);
  }

  /** @param lines  where what is left of it lies */
  compacted(after: number, lines: Lines): void {
    const segment = this.#row.find((one) => one.after === after);
    if (segment !== undefined) segment.compacted = true;
    this.#known.set(after, { ...lines, compacted: true });
    const open = this.#open.get(after);
    this.#open.delete(after);
    void open?.letGo();
  }

  async close(): Promise<void> {
    this.#closed = true;
    const open = [...this.#open.values(), this.#active.shared];
    this.#open.clear();
    await Promise.all(open.map((shared) => shared.letGo()));
  }

  /** Place of the segment with the frame after `seq`. */
  #holding(seq: number): number {
    return Math.max(
      0,
      this.#row.findLastIndex((segment) => segment.after <= seq),
    );
  }

  #use<T>(place: number, work: (file: SegmentFile) => Promise<T>): Promise<T> {
    const segment = this.#row[place];
    const next = this.#row[place + 1];
    if (this.#closed) return Promise.reject(new SessiondError("storage_failed", { reason: "the journal is closed" }));
    if (segment === undefined || next === undefined) return this.#active.shared.use(work);
    const shared = this.#open.get(segment.after) ?? new Shared(this.#index(segment.after, next.after));
    this.#keepOpen(segment.after, shared);
    return shared.use(work).catch((error: unknown) => {
      // The next reader tries it from the beginning.
      if (this.#open.get(segment.after) === shared) this.#open.delete(segment.after);
      void shared.letGo();
      throw error;
    });
  }

  #keepOpen(after: number, shared: Shared): void {
    this.#open.delete(after);
    this.#open.set(after, shared);
    for (const [oldest, idle] of this.#open) {
      if (this.#open.size <= this.#limits.segments_open_max) break;
      this.#open.delete(oldest);
      void idle.letGo();
    }
  }

  async #index(after: number, end: number): Promise<SegmentFile> {
    const file = await this.#disk.open(segmentPath(this.#directory, after), "read");
    try {
      const compacted = await isCompacted(file);
      // Somebody who writes to this journal compacted it, while this one only reads: it has no right to what it counted on.
      if (compacted && end > this.#compactedThrough) throw new SessiondError("storage_failed", { reason: "the journal was compacted meanwhile" });
      // A compacted one may be under this name by now.
      const there = this.#known.get(after);
      const size = await file.size();
      const known = there?.compacted === compacted ? there : { compacted, index: SparseIndex.unread(size), end: size, bad: new Set<number>() };
      if (this.#row.find((one) => one.after === after)?.compacted === compacted) this.#known.set(after, known);
      return { file, ...known, ...(!known.index.whole && { unread: new UnreadLines(file, known, { after, last: compacted ? null : end }) }) };
    } catch (error) {
      await file.close();
      throw error;
    }
  }
}

/** The row as the directory has it; asks the files, newest first, only until one is compacted: older ones are too. */
export async function rowOf(disk: Disk, directory: string, afters: readonly number[]): Promise<Segment[]> {
  const row: Segment[] = afters.map((after) => ({ after, compacted: true }));
  for (const segment of row.slice(0, -1).toReversed()) {
    const file = await disk.open(segmentPath(directory, segment.after), "read");
    try {
      segment.compacted = await isCompacted(file);
    } finally {
      await file.close();
    }
    if (segment.compacted) break;
  }
  const active = row.at(-1);
  if (active !== undefined) active.compacted = false;
  return row;
}
