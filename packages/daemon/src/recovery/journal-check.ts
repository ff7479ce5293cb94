import { basename, join } from "node:path";
import { crc32 } from "node:zlib";
import type { Limits, SessionState } from "@sessiond/shared";
import { diskReason, type Disk, type DiskFile } from "../disk.ts";
import { kindOf, linesFrom, type Line } from "../room/journal-file.ts";
import { afterOf, crcText, isTemporary, readHeader, segmentPath, type Header } from "../room/segment.ts";
import { backup, count, type Findings } from "./finding.ts";
import { JournalReading, type Fault } from "./journal-reading.ts";

/**
 * Reads one journal from its first byte to its last and says whether it is whole; changes nothing.
 *
 * It asks more than a start does, which believes what it wrote itself: each frame by its schema, each
 * snapshot against the frames before it. What it says of the next start is what journal-opening.ts
 * does: the newest segment with a head goes on, up to its first bad line.
 *
 * Cost: one pass; memory for one line and one folded state, whatever the journal's size.
 */
export interface JournalPlace {
  readonly disk: Disk;
  readonly directory: string;
  readonly sessionId: string;
  readonly limits: Limits;
  /** A daemon may be appending: what follows the last newline is on its way. */
  readonly live: boolean;
  /** Told of bytes that were read. */
  readonly read: (bytes: number) => void;
}

export interface JournalReport {
  readonly frames: number;
  readonly segments: number;
  readonly bytes: number;
  readonly compactedThrough: number;
  /** What the frames come to; null where that cannot be known. */
  readonly state: SessionState | null;
}

/** @throws what the disk throws for the directory itself */
export async function checkJournal(place: JournalPlace, findings: Findings): Promise<JournalReport> {
  const { disk, directory, sessionId, limits } = place;
  const names = await disk.list(directory);
  for (const name of place.live ? [] : names.filter(isTemporary))
    findings.note("leftover", {
      path: join(directory, name),
      what: "a compaction that was cut short left this file; the segment itself is in its place",
      mend: "nothing to do, or `sessiond doctor --fix`",
      next_start: "it is removed when the session is opened",
    });
  const afters = names.map(afterOf).filter((after) => after !== null);
  const row = await rowInUse(
    place,
    afters.toSorted((a, b) => a - b),
    findings,
  );
  const reading = new JournalReading(sessionId, limits.epochs_kept, findings);
  let bytes = 0;
  for (const after of row) bytes += await readSegment(place, { after, newest: after === row.at(-1) }, reading, findings);
  const { frames, compactedThrough, state } = reading;
  return { frames, segments: row.length, bytes, compactedThrough, state };
}

/** Segments that count, oldest first: newer ones whose head is not whole are put away at the next start. */
async function rowInUse(place: JournalPlace, afters: number[], findings: Findings): Promise<number[]> {
  const { disk, directory, live } = place;
  if (afters.length === 0) findings.wrong("journal_missing", { path: segmentPath(directory, 0), what: "there is no journal", mend: backup });
  for (; afters.length > 0; afters.pop()) {
    const after = afters.at(-1) ?? 0;
    const path = segmentPath(directory, after);
    const header = await using(disk, path, (file) => readHeader(file, after)).catch(() => "unreadable" as const);
    // What cannot be opened at all is told where it is read.
    if (typeof header === "object" || header === "unreadable") break;
    if (header === "malformed")
      findings.wrong("head_malformed", {
        path,
        line: 1,
        offset: 0,
        what: `its head cannot be read, so no frame behind ${after} can be used`,
        mend: `${backup}; else nothing: the session goes on without them`,
        next_start: `it is kept as ${basename(path)}.damaged-…, and the segment before it goes on`,
      });
    else if (!live)
      findings.note("head_torn", {
        path,
        what: "its making was cut short, before anything was written behind its head",
        mend: "nothing to do",
        next_start: "it is removed, and the segment before it goes on",
      });
  }
  return afters;
}

/** @returns its size */
async function readSegment(
  place: JournalPlace,
  { after, newest }: { after: number; newest: boolean },
  reading: JournalReading,
  findings: Findings,
): Promise<number> {
  const path = segmentPath(place.directory, after);
  try {
    return await using(place.disk, path, async (file) => {
      const header = await readHeader(file, after);
      const size = await file.size();
      if (typeof header === "object") {
        reading.begin(path, header, newest);
        await readLines(place, { path, file, header, size, newest }, reading, findings);
        return size;
      }
      reading.lose();
      findings.wrong("head_malformed", { path, line: 1, offset: 0, what: "its head cannot be read, so nobody gets the frames in it", mend: backup });
      return size;
    });
  } catch (error) {
    reading.lose();
    findings.wrong("unreadable", {
      path,
      what: `it cannot be read: ${diskReason(error)}`,
      mend: "mend the disk, or make it a plain file of this account again",
      next_start: newest ? "this session cannot be opened; the others can" : "the session goes on; who pages back to there gets an error",
    });
    return 0;
  }
}

interface Segment {
  readonly path: string;
  readonly file: DiskFile;
  readonly header: Header;
  readonly size: number;
  readonly newest: boolean;
}

async function readLines(place: JournalPlace, segment: Segment, reading: JournalReading, findings: Findings): Promise<void> {
  const { path, file, header, size, newest } = segment;
  let number = header.end === 0 ? 0 : 1;
  let crc = 0;
  for await (const line of linesFrom(file, header.end, size)) {
    number += 1;
    place.read(line.end - line.offset);
    if (header.crc !== undefined) crc = crc32(line.whole ? `${line.text}\n` : line.text, crc);
    const fault = await reading.take(file, line, number);
    if (fault === null) continue;
    if (newest) return stopAt(place, segment, { line, number, fault }, findings);
    reading.pass(line);
    findings.wrong(fault.kind, {
      path,
      line: number,
      offset: line.offset,
      what: fault.what,
      mend: backup,
      next_start: "nothing changes: who pages to there gets an error, and this part is never compacted",
    });
  }
  if (header.crc !== undefined && header.crc !== crcText(crc))
    findings.wrong("line_malformed", {
      path,
      what: "it is not what compaction wrote: its sum differs, so something in it was changed or is missing",
      mend: backup,
      next_start: "nothing changes",
    });
}

/** The first bad line of the segment that goes on: a start reads no further. */
async function stopAt(
  { live }: JournalPlace,
  { path, file, size }: Segment,
  { line, number, fault }: { line: Line; number: number; fault: Fault },
  findings: Findings,
): Promise<void> {
  const at = { path, line: number, offset: line.offset };
  const last = line.end >= size;
  if (last && !line.whole && live) return;
  if (last && !line.whole)
    return findings.note("line_torn", {
      ...at,
      what: `the last line is unfinished (${count(size - line.offset, "byte")}): the daemon was killed while it wrote it, before anybody saw it`,
      mend: "nothing to do",
      next_start: "it is cut off",
    });
  const behind = await framesBehind(file, line.end, size);
  const lost = behind === 0 ? "" : `; ${count(behind, "frame")} behind it cannot be used`;
  findings.wrong(fault.kind, {
    ...at,
    what: `${fault.what}${lost}`,
    mend: `${backup}; else nothing: the session goes on with what comes before it`,
    next_start: last ? "it is cut off" : `the whole file is kept as ${basename(path)}.damaged-…, and what comes before this line goes on`,
  });
}

async function framesBehind(file: DiskFile, from: number, size: number): Promise<number> {
  let frames = 0;
  for await (const line of linesFrom(file, from, size)) {
    const kind = kindOf(line);
    if (kind !== null && "frame" in kind) frames += 1;
  }
  return frames;
}

async function using<T>(disk: Disk, path: string, work: (file: DiskFile) => Promise<T>): Promise<T> {
  const file = await disk.open(path, "read");
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}
