import { limits, type Frame } from "@sessiond/shared";
import type { DiskFile } from "../disk.ts";

/**
 * The file behind a room, as a reader sees it: JSON lines, each a frame or an epoch record
 * `{"epoch":n,"after":seq,"at":ms}`. Knows where frames lie (a sparse index) and which epochs
 * there were; never writes.
 */
export interface Epoch {
  readonly epoch: number;
  /** Seq of the last frame before it: the end of the epoch before. */
  readonly after: number;
}

/** What one pass over a journal found. */
export interface Scan {
  readonly epochs: readonly Epoch[];
  readonly index: SparseIndex;
  readonly lastSeq: number;
  /** End of the last whole line; what lies beyond is `damage`. */
  readonly end: number;
  /** `torn`: an unfinished last line. `malformed`: a bad line with others after it. */
  readonly damage: "none" | "torn" | "malformed";
}

const readBytes = 1_048_576;
const indexEveryBytes = 65_536;
const newline = 10;

/** Offsets of some frames, ascending; memory is 1/65,536 of the file's size, not of its frames. */
export class SparseIndex {
  readonly #marks: { seq: number; offset: number }[] = [];

  note(seq: number, offset: number): void {
    const last = this.#marks.at(-1);
    if (last === undefined || offset - last.offset >= indexEveryBytes) this.#marks.push({ seq, offset });
  }

  /** Offset of a line at or before frame `seq`. */
  before(seq: number): number {
    let low = 0;
    let high = this.#marks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#marks[middle]?.seq ?? 0) <= seq) low = middle + 1;
      else high = middle;
    }
    return this.#marks[low - 1]?.offset ?? 0;
  }
}

interface Line {
  readonly text: string;
  readonly offset: number;
  /** Offset behind it, its newline included. */
  readonly end: number;
  /** False for what follows the last newline. */
  readonly whole: boolean;
}

async function* linesFrom(file: DiskFile, start: number, end: number): AsyncGenerator<Line> {
  let carry: Buffer = Buffer.alloc(0);
  let offset = start;
  for (let position = start; position < end;) {
    const read = await file.read(position, Math.min(readBytes, end - position));
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
    if (carry.length > limits.journal_line_bytes_max) break;
  }
  if (carry.length > 0)
    yield { text: carry.length > limits.journal_line_bytes_max ? "" : carry.toString("utf8"), offset, end: offset + carry.length, whole: false };
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const isEpoch = (value: Record<string, unknown>): boolean => Number.isInteger(value["epoch"]) && Number.isInteger(value["after"]);
const isFrame = (value: Record<string, unknown>): boolean =>
  Number.isInteger(value["seq"]) && isRecord(value["event"]) && typeof value["event"]["type"] === "string";

function parse(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

/**
 * One pass from the beginning.
 *
 * @param visit  called with each frame, in order; frames were validated when they were written
 * Cost: the whole file, read once.
 */
export async function scan(file: DiskFile, visit: (frame: Frame, text: string) => void): Promise<Scan> {
  const size = await file.size();
  const epochs: Epoch[] = [];
  const index = new SparseIndex();
  let lastSeq = 0;
  let end = 0;
  for await (const line of linesFrom(file, 0, size)) {
    const value = line.whole ? parse(line.text) : null;
    if (value !== null && isEpoch(value) && value["epoch"] === epochs.length + 1 && value["after"] === lastSeq) {
      epochs.push({ epoch: epochs.length + 1, after: lastSeq });
    } else if (value !== null && isFrame(value) && value["seq"] === lastSeq + 1 && epochs.length > 0) {
      lastSeq += 1;
      index.note(lastSeq, line.offset);
      visit(value as unknown as Frame, line.text);
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
  for await (const line of linesFrom(file, from, await file.size())) {
    const value = line.text.startsWith('{"epoch":') ? parse(line.text) : null;
    const epoch = value !== null && isEpoch(value) ? Number(value["epoch"]) : 0;
    if (epoch <= known + lostEpochsMax) highest = Math.max(highest, epoch);
  }
  return highest;
}

/** One frame as it lies in the journal and travels to every client. */
export interface EncodedFrame {
  readonly seq: number;
  readonly text: string;
}

/**
 * Frames after `after`, at most `count` of them and about `bytes` bytes (at least one).
 *
 * @param end  where written lines end
 */
export async function readFrames(file: DiskFile, index: SparseIndex, end: number, after: number, count: number, bytes: number): Promise<EncodedFrame[]> {
  const frames: EncodedFrame[] = [];
  let taken = 0;
  for await (const line of linesFrom(file, index.before(after + 1), end)) {
    // `{"seq":` begins a frame; an epoch record does not.
    const seq = line.text.startsWith('{"seq":') ? Number.parseInt(line.text.slice(7), 10) : 0;
    if (seq <= after) continue;
    if (frames.length > 0 && taken + line.text.length > bytes) break;
    frames.push({ seq, text: line.text });
    taken += line.text.length;
    if (frames.length >= count) break;
  }
  return frames;
}
