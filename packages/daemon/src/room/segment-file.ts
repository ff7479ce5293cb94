import { SessiondError } from "@sessiond/shared";
import type { DiskFile } from "../disk.ts";
import { kindOf, linesFrom, SparseIndex, type EncodedFrame } from "./journal-file.ts";

/**
 * Reading one segment, forwards and backwards, by its index. A line that cannot be read is an
 * error to whoever needs it, never a hole that nobody notices.
 */
export interface SegmentFile {
  readonly file: DiskFile;
  readonly index: SparseIndex;
  /** Where written lines end. */
  end: number;
  /** Offsets of lines that cannot be read; `end` among them: lines are missing there. */
  readonly bad: ReadonlySet<number>;
}

/** How much of a segment one answer may be: `count` frames, about `bytes` bytes, at least one frame. */
export interface PageSize {
  readonly count: number;
  readonly bytes: number;
}

/** One pass over a sealed segment. @param last  seq of its last frame, where it is dense */
export async function indexSealed(file: DiskFile, start: number, { after, last }: { after: number; last: number | null }): Promise<SegmentFile> {
  const end = await file.size();
  const index = new SparseIndex(start);
  const bad = new Set<number>();
  let seq = after;
  for await (const line of linesFrom(file, start, end)) {
    const kind = kindOf(line);
    if (kind !== null && "epoch" in kind) continue;
    if (kind === null || kind.frame.seq <= seq || (last !== null && bad.size === 0 && kind.frame.seq !== seq + 1)) bad.add(line.offset);
    if (kind === null || kind.frame.seq <= seq) continue;
    seq = kind.frame.seq;
    index.note(seq, line.offset);
  }
  if (last !== null && seq !== last) bad.add(end);
  return { file, index, end, bad };
}

const unreadable = (): SessiondError => new SessiondError("storage_failed", { reason: "a line of the journal cannot be read" });

/** `{"seq":` begins a frame; an epoch record does not. */
const seqOf = (text: string): number => (text.startsWith('{"seq":') ? Number.parseInt(text.slice(7), 10) : 0);

/** Frames after `after`; none when they are in a later segment. @throws SessiondError storage_failed */
export async function readAfter({ file, index, end, bad }: SegmentFile, after: number, { count, bytes }: PageSize): Promise<EncodedFrame[]> {
  const frames: EncodedFrame[] = [];
  let taken = 0;
  let unread = false;
  for await (const { text, offset } of linesFrom(file, index.before(after + 1), end)) {
    const seq = bad.has(offset) ? 0 : seqOf(text);
    if (bad.has(offset) && frames.length > 0) break;
    if (bad.has(offset)) unread = true;
    // What could not be read lies before what the reader has.
    if (seq > 0 && seq <= after) unread = false;
    if (seq <= after) continue;
    if (unread && seq !== after + 1) throw unreadable();
    unread = false;
    if (frames.length > 0 && taken + text.length > bytes) break;
    frames.push({ seq, text });
    taken += text.length;
    if (frames.length >= count) break;
  }
  if (frames.length === 0 && (unread || bad.has(end))) throw unreadable();
  return frames;
}

/** The last frames before `before`, ascending; none when they are in an earlier segment. @throws SessiondError storage_failed */
export async function readBefore({ file, index, end, bad }: SegmentFile, before: number, { count, bytes }: PageSize): Promise<EncodedFrame[]> {
  const frames: EncodedFrame[] = [];
  let taken = 0;
  // From mark to mark: the part that holds `before`, then the ones in front of it.
  let from = index.before(before);
  for (let to = end; ; to = from, from = index.back(from)) {
    const part: EncodedFrame[] = [];
    let unread = false;
    let reached = to < end;
    for await (const { text, offset } of linesFrom(file, from, to)) {
      const seq = seqOf(text);
      // Behind the frame that comes just before `before`, whatever it is.
      if (seq >= before || part.at(-1)?.seq === before - 1) {
        reached = true;
        break;
      }
      if (bad.has(offset)) unread = true;
      if (bad.has(offset)) part.length = 0;
      else if (seq > 0) part.push({ seq, text });
    }
    if (!reached && bad.has(end)) throw unreadable();
    for (const frame of part.toReversed()) {
      if (frames.length >= count || (frames.length > 0 && taken + frame.text.length > bytes)) return frames.toReversed();
      frames.push(frame);
      taken += frame.text.length;
    }
    if (unread && frames.length === 0) throw unreadable();
    if (unread || from <= index.start) return frames.toReversed();
  }
}
