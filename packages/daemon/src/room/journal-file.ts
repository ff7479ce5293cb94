import { limits, type Frame } from "@sessiond/shared";
import type { DiskFile } from "../disk.ts";

/**
 * A journal's file as lines: JSON, each a frame or an epoch record `{"epoch":n,"after":seq,"at":ms}`;
 * a header (segment.ts) may come before them. Knows where frames lie (a sparse index) and which
 * epochs there were; never writes.
 */
export interface Epoch {
  readonly epoch: number;
  /** Seq of the last frame before it: the end of the epoch before. */
  readonly after: number;
}

/** One frame as it lies in the journal and travels to every client. */
export interface EncodedFrame {
  readonly seq: number;
  readonly text: string;
}

/** What one pass over a journal found. */
export interface Scan {
  /** Those that it was given, then those that it met. */
  readonly epochs: readonly Epoch[];
  readonly index: SparseIndex;
  readonly lastSeq: number;
  /** End of the last whole line; what lies beyond is `damage`. */
  readonly end: number;
  /** `torn`: an unfinished last line. `malformed`: a bad line with others after it. */
  readonly damage: "none" | "torn" | "malformed";
}

const readBytes = 1_048_576;
/** So far apart are marks. */
export const partBytes = 65_536;
const newline = 10;
const noBytes: Buffer = Buffer.alloc(0);

interface Mark {
  readonly seq: number;
  readonly offset: number;
}

/** Offsets of some frames, ascending; memory is 1/65,536 of the file's size, not of its frames. */
export class SparseIndex {
  #start: number;
  #known: number;
  #whole = true;
  #marks: Mark[] = [];

  constructor(start = 0) {
    this.#start = this.#known = start;
  }

  /** Nothing is known but where its lines end. */
  static unread(end: number): SparseIndex {
    const index = new SparseIndex();
    index.#known = end;
    index.#whole = false;
    return index;
  }

  /** Where lines begin: behind the header. 0 while that is not known. */
  get start(): number {
    return this.#start;
  }

  /** From here on lines are known; the marks are theirs. */
  get known(): number {
    return this.#known;
  }

  get whole(): boolean {
    return this.#whole;
  }

  note(seq: number, offset: number): void {
    const last = this.#marks.at(-1);
    if (last === undefined || offset - last.offset >= partBytes) this.#marks.push({ seq, offset });
  }

  /** In front of all others: what lies from here to them is known now. */
  precede(seq: number, offset: number): void {
    this.#marks.unshift({ seq, offset });
    this.#known = offset;
  }

  /** Here the first line begins, and all are known. */
  begin(start: number): void {
    this.#start = this.#known = start;
    this.#whole = true;
  }

  /** What a pass over all of it found instead. */
  become(index: SparseIndex): void {
    this.#marks = index.#marks;
    this.begin(index.start);
  }

  /** Seq of the first frame; undefined when there is none. */
  get first(): number | undefined {
    return this.#marks[0]?.seq;
  }

  /** Whether it tells where this frame is, or would be. */
  reaches(seq: number): boolean {
    return this.whole || (this.first !== undefined && this.first <= seq);
  }

  /** Offset of a line at or before frame `seq`. */
  before(seq: number): number {
    return this.#marks[this.#count((mark) => mark.seq <= seq) - 1]?.offset ?? this.start;
  }

  /** The first mark with this seq, or behind it: a page that ends there leaves nothing half read. */
  atLeast(seq: number): Mark | undefined {
    return this.#marks[this.#count((mark) => mark.seq < seq)];
  }

  /** The first mark behind this offset. */
  behind(offset: number): Mark | undefined {
    return this.#marks[this.#count((mark) => mark.offset <= offset)];
  }

  /** The last mark before this offset; the first line when there is none. */
  back(offset: number): Mark {
    return this.#marks[this.#count((mark) => mark.offset < offset) - 1] ?? { seq: 0, offset: this.start };
  }

  /** How many marks hold: those at the beginning. */
  #count(holds: (mark: Mark) => boolean): number {
    let low = 0;
    let high = this.#marks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const mark = this.#marks[middle];
      if (mark !== undefined && holds(mark)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export interface Line {
  readonly text: string;
  readonly offset: number;
  /** Offset behind it, its newline included. */
  readonly end: number;
  /** False for what follows the last newline. */
  readonly whole: boolean;
}

/**
 * @param step   bytes read at once: what one turn of the event loop may have to parse
 * @param ahead  the first bytes, where they have been read already
 */
export async function* linesFrom(
  file: Pick<DiskFile, "read">,
  start: number,
  end: number,
  { longest = limits.journal_line_bytes_max, step = readBytes, ahead = noBytes } = {},
): AsyncGenerator<Line> {
  let carry: Buffer = Buffer.alloc(0);
  let offset = start;
  for (let position = start; position < end;) {
    const begun = position === start ? ahead.subarray(0, end - start) : noBytes;
    const read = begun.length > 0 ? begun : await file.read(position, Math.min(step, end - position));
    if (read.length === 0) break;
    position += read.length;
    const bytes = carry.length === 0 ? read : Buffer.concat([carry, read]);
    let from = 0;
    for (let stop = bytes.indexOf(newline, from); stop !== -1; stop = bytes.indexOf(newline, from)) {
      yield { text: bytes.toString("utf8", from, stop), offset: offset + from, end: offset + stop + 1, whole: true };
      from = stop + 1;
    }
    carry = bytes.subarray(from);
    offset += from;
    // A line without an end is damage, and must not fill the memory.
    if (carry.length > longest) break;
  }
  if (carry.length > 0) yield { text: carry.length > longest ? "" : carry.toString("utf8"), offset, end: offset + carry.length, whole: false };
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const isEpoch = (value: Record<string, unknown>): boolean => Number.isInteger(value["epoch"]) && Number.isInteger(value["after"]);
const isFrame = (value: Record<string, unknown>): boolean =>
  Number.isInteger(value["seq"]) && isRecord(value["event"]) && typeof value["event"]["type"] === "string";

export function parseLine(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

/** What a whole line is. Frames were validated when they were written. */
export function kindOf(line: Line): { frame: Frame } | { epoch: Epoch } | null {
  const value = line.whole ? parseLine(line.text) : null;
  if (value === null) return null;
  if (isEpoch(value)) return { epoch: { epoch: Number(value["epoch"]), after: Number(value["after"]) } };
  return isFrame(value) ? { frame: value as unknown as Frame } : null;
}

export interface ScanFrom {
  readonly start: number;
  /** Seq of the last frame before. */
  readonly after: number;
  readonly epochs: readonly Epoch[];
  /** What was read of it with what came before. */
  readonly ahead?: Buffer;
  /** False where frames are missing on purpose. */
  readonly dense: boolean;
}

/**
 * One pass over a segment, to its end or its first bad line.
 *
 * @param visit  called with each frame, in order
 * Cost: the whole file, read once.
 */
export async function scan(file: DiskFile, from: ScanFrom, visit: (frame: Frame) => void): Promise<Scan> {
  const size = await file.size();
  const epochs = [...from.epochs];
  const index = new SparseIndex(from.start);
  let lastSeq = from.after;
  let end = from.start;
  for await (const line of linesFrom(file, from.start, size, { ...(from.ahead && { ahead: from.ahead }) })) {
    const kind = kindOf(line);
    const lastEpoch = epochs.at(-1)?.epoch ?? 0;
    if (kind !== null && "epoch" in kind && kind.epoch.epoch === lastEpoch + 1 && kind.epoch.after === lastSeq) {
      epochs.push(kind.epoch);
    } else if (kind !== null && "frame" in kind && lastEpoch > 0 && (from.dense ? kind.frame.seq === lastSeq + 1 : kind.frame.seq > lastSeq)) {
      lastSeq = kind.frame.seq;
      index.note(lastSeq, line.offset);
      visit(kind.frame);
    } else {
      return { epochs, index, lastSeq, end, damage: line.end >= size ? "torn" : "malformed" };
    }
    end = line.end;
  }
  return { epochs, index, lastSeq, end, damage: "none" };
}

/** More epochs than this lost at once are damage, not history. */
const lostEpochsMax = 10_000;

/** The highest epoch that a record behind `from` names, in a part that is not used any more; else `known`. */
export async function highestEpoch(file: DiskFile, from: number, known: number): Promise<number> {
  let highest = known;
  for await (const line of linesFrom(file, from, await file.size(), { longest: limits.snapshot_bytes_max * 2 })) {
    const value = line.text.startsWith('{"epoch":') ? parseLine(line.text) : null;
    const epoch = value !== null && isEpoch(value) ? Number(value["epoch"]) : 0;
    if (epoch <= known + lostEpochsMax) highest = Math.max(highest, epoch);
  }
  return highest;
}
