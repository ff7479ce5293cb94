import { SessiondError } from "@sessiond/shared";
import type { DiskFile } from "../disk.ts";
import { kindOf, linesFrom, partBytes, SparseIndex, type EncodedFrame } from "./journal-file.ts";
import type { UnreadLines } from "./unread-lines.ts";

/**
 * Reading one segment, forwards and backwards, by its index. A line that cannot be read is an
 * error to whoever needs it, never a hole that nobody notices.
 */
export interface SegmentFile extends Lines {
  readonly file: DiskFile;
  /** Where its index is not whole. */
  readonly unread?: UnreadLines;
}

/** Where the lines of a segment lie. */
export interface Lines {
  readonly index: SparseIndex;
  /** Where written lines end. */
  end: number;
  /** Offsets of lines that cannot be read; `end` among them: lines are missing there. */
  readonly bad: Set<number>;
}

/** How much of a segment one answer may be: `count` frames, about `bytes` bytes, at least one frame. */
export interface PageSize {
  readonly count: number;
  readonly bytes: number;
}

/** One pass over a sealed segment. @param last  seq of its last frame, where it is dense */
export async function indexSealed(
  file: DiskFile,
  start: number,
  { after, last, ahead }: { after: number; last: number | null; ahead: Buffer | undefined },
): Promise<Lines> {
  const end = await file.size();
  const index = new SparseIndex(start);
  const bad = new Set<number>();
  let seq = after;
  for await (const line of linesFrom(file, start, end, { ...(ahead && { ahead }) })) {
    const kind = kindOf(line);
    if (kind !== null && "epoch" in kind) continue;
    if (kind === null || kind.frame.seq <= seq || (last !== null && bad.size === 0 && kind.frame.seq !== seq + 1)) bad.add(line.offset);
    if (kind === null || kind.frame.seq <= seq) continue;
    seq = kind.frame.seq;
    index.note(seq, line.offset);
  }
  if (last !== null && seq !== last) bad.add(end);
  return { index, end, bad };
}

const unreadable = (): SessiondError => new SessiondError("storage_failed", { reason: "a line of the journal cannot be read" });

/** `{"seq":` begins a frame; an epoch record does not. */
export const seqOf = (text: string): number => (text.startsWith('{"seq":') ? Number.parseInt(text.slice(7), 10) : 0);

/**
 * Frames after `after`; none when they are in a later segment. Where a page can end at a mark it does: the next one
 * begins there, and who reads on reads no byte twice. @throws SessiondError storage_failed
 */
export async function readAfter({ file, index, end, bad, unread: lines }: SegmentFile, after: number, { count, bytes }: PageSize): Promise<EncodedFrame[]> {
  while (lines !== undefined && !index.reaches(after + 1)) await lines.all();
  const frames: EncodedFrame[] = [];
  let taken = 0;
  let unread = false;
  for (let from = index.before(after + 1); from < end;) {
    const mark = index.behind(from);
    const to = mark?.offset ?? end;
    // The next part would be given in part only.
    if (frames.length > 0 && (taken + to - from > bytes || (mark !== undefined && mark.seq - after > count + 1))) return frames;
    for await (const { text, offset } of linesFrom(file, from, to)) {
      const seq = bad.has(offset) ? 0 : seqOf(text);
      if (bad.has(offset) && frames.length > 0) return frames;
      if (bad.has(offset)) unread = true;
      // What could not be read lies before what the reader has.
      if (seq > 0 && seq <= after) unread = false;
      if (seq <= after) continue;
      if (unread && seq !== after + 1) throw unreadable();
      unread = false;
      if (frames.length > 0 && taken + text.length > bytes) return frames;
      frames.push({ seq, text });
      taken += text.length;
      if (frames.length >= count) return frames;
    }
    from = to;
  }
  if (frames.length === 0 && (unread || bad.has(end))) throw unreadable();
  return frames;
}

/** The last frames before `before`, ascending, likewise; none when they are in an earlier segment. @throws SessiondError storage_failed */
export async function readBefore({ file, index, end, bad, unread: lines }: SegmentFile, before: number, { count, bytes }: PageSize): Promise<EncodedFrame[]> {
  const frames: EncodedFrame[] = [];
  let taken = 0;
  while (lines !== undefined && !index.reaches(before - 1)) await lines.back();
  // From mark to mark: the part that holds the frame before `before`, then the ones in front of it.
  let to = index.atLeast(before)?.offset ?? end;
  for (let from = index.back(to); ; to = from.offset, from = index.back(to)) {
    if (lines !== undefined && to === index.known && !index.whole) {
      // As much as that is looked at: it would be too much for this page.
      if (frames.length > 0 && taken + partBytes > bytes) return frames.toReversed();
      await lines.back();
      from = index.back(to);
    }
    const lowest = frames.at(-1)?.seq ?? before;
    if (frames.length > 0 && (taken + to - from.offset > bytes || frames.length + lowest - from.seq > count)) return frames.toReversed();
    const part: EncodedFrame[] = [];
    let unread = false;
    let reached = to < end;
    for await (const { text, offset } of linesFrom(lines ?? file, from.offset, to)) {
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
    if (unread || from.offset <= index.start) return frames.toReversed();
  }
}

/** Whether it has frames before this one. @throws what the disk throws */
export async function anyBefore({ index, unread: lines }: SegmentFile, seq: number): Promise<boolean> {
  while (lines !== undefined && !index.reaches(seq - 1)) await lines.back();
  return index.first !== undefined && index.first < seq;
}
