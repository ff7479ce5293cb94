import { join } from "node:path";
import { SessiondError, type Frame, type Limits } from "@sessiond/shared";
import type { Disk, DiskFile } from "../disk.ts";
import { highestEpoch, scan, type Epoch, type Scan } from "./journal-file.ts";
import { keepAside, rewriteUnsynced, type CutPoint } from "./journal-mending.ts";
import { afterOf, framesIn, headerLine, isTemporary, makeSegment, readHeader, segmentPath, type Header } from "./segment.ts";
import { rowOf, Segments, type Segment } from "./segments.ts";

/**
 * How a journal is opened: the newest segment whose header is whole is the one that goes on, and
 * all that is read. One whose making was cut short is removed; one with a header that cannot be
 * read is kept aside, like the part of a file behind a bad line, and the one before it goes on.
 */
export interface OpenOptions {
  readonly limits: Limits;
  now(): number;
  /** Begin with what a header has; false when it cannot be used: then older frames are visited. */
  restore(snapshot: unknown, after: number): boolean;
  /** Gets every frame behind the snapshot. */
  visit(frame: Frame): void;
  /** What the frames visited come to, as of frame `after`: those between are lost or were dropped. */
  snapshot(after: number): unknown;
  setAside(path: string, reason: string): void;
  /** The directory was made just now: nothing is looked for in it the first time. */
  readonly isNew?: boolean;
  /** After a failure in this process. */
  readonly cut?: CutPoint;
}

export interface OpenedJournal {
  readonly segments: Segments;
  readonly epochs: readonly Epoch[];
  readonly lastSeq: number;
  readonly damage: Scan["damage"];
}

interface Place {
  readonly disk: Disk;
  readonly directory: string;
}

interface Found {
  readonly header: Header;
  readonly row: Segment[];
  /** Newer ones whose header is not there. */
  readonly torn: readonly number[];
  readonly malformed: readonly number[];
  /** What compactions that were cut short left behind. */
  readonly temporary: readonly string[];
}

/** @throws SessiondError storage_failed, or what the disk throws */
export async function openToWrite(place: Place, options: OpenOptions): Promise<OpenedJournal> {
  const { disk, directory } = place;
  const found = options.isNew === true && options.cut === undefined ? nothing() : await find(place, options.cut?.after);
  const after = found.header.after;
  const lost = await clear(place, found, options);
  const path = segmentPath(directory, after);
  const file = await disk.open(path, "write");
  try {
    if (options.cut !== undefined) await rewriteUnsynced(file, options.cut);
    await foldOlder(place, found, options);
    // After a cut lines are others than those that were read ahead.
    const { ahead: _ahead, ...rewritten } = found.header;
    const result = await scan(file, scanFrom(options.cut === undefined ? found.header : rewritten), options.visit);
    // Numbers that were shown must not be given again. A start from this file is another epoch, and every reader is told.
    if (options.cut !== undefined && result.end !== options.cut.shown) throw lostLines();
    let lastEpoch = Math.max(lost, result.epochs.at(-1)?.epoch ?? 0);
    if (result.damage === "malformed") {
      lastEpoch = await highestEpoch(file, result.end, lastEpoch);
      const kept = `${path}.damaged-${options.now()}`;
      await keepAside(disk, file, kept);
      options.setAside(kept, "a line in the middle of the journal cannot be read; what came before it was kept in use");
    }
    if (result.damage !== "none") await file.truncate(result.end);
    const damage = found.malformed.length > 0 ? "malformed" : result.damage;
    // Nothing is written behind what was compacted.
    if (!found.header.compacted) return await beginEpoch(place, { found, result, file, lastEpoch, damage }, options);
    await file.close();
    return await beginSegment(place, { found, result, lastEpoch }, options);
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
}

/** Nothing is changed; damage is left as it is, and not read. @throws what the disk throws */
export async function openToRead(place: Place, options: Pick<OpenOptions, "limits" | "restore" | "visit">): Promise<OpenedJournal> {
  const found = await find(place);
  const file = await place.disk.open(segmentPath(place.directory, found.header.after), "read");
  try {
    await foldOlder(place, found, options);
    const result = await scan(file, scanFrom(found.header), options.visit);
    const segments = new Segments({ ...place, limits: options.limits }, found.row, { file, index: result.index, end: result.end, bad: new Set() });
    return { segments, epochs: result.epochs, lastSeq: result.lastSeq, damage: result.damage };
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
}

const scanFrom = ({ end, after, epochs, compacted, ahead }: Header) => ({ start: end, after, epochs, dense: !compacted, ...(ahead && { ahead }) });
const lostLines = (): SessiondError =>
  new SessiondError("storage_failed", { reason: "the journal has lost lines that were shown; restart the daemon to go on with what is left" });

async function find({ disk, directory }: Place, only?: number): Promise<Found> {
  const names = await disk.list(directory);
  const temporary = names.filter(isTemporary);
  const found = names.map(afterOf).filter((after) => after !== null);
  const afters = found.toSorted((a, b) => a - b);
  const torn: number[] = [];
  const malformed: number[] = [];
  for (let after = afters.pop(); after !== undefined; after = afters.pop()) {
    const header = only !== undefined && after > only ? "torn" : await headerAt(disk, directory, after);
    if (typeof header !== "string") return { header, row: await rowOf(disk, directory, [...afters, after]), torn, malformed, temporary };
    if (after === only) throw lostLines();
    (header === "torn" ? torn : malformed).push(after);
  }
  if (only !== undefined && only > 0) throw lostLines();
  return { ...nothing(), torn, malformed, temporary };
}

const nothing = (): Found => ({
  header: { after: 0, epochs: [], compacted: false, end: 0 },
  row: [{ after: 0, compacted: false }],
  torn: [],
  malformed: [],
  temporary: [],
});

async function headerAt(disk: Disk, directory: string, after: number): Promise<Header | "torn" | "malformed"> {
  const file = await disk.open(segmentPath(directory, after), "read");
  try {
    return await readHeader(file, after);
  } finally {
    await file.close();
  }
}

/** Put away what lies in the way. @returns the highest epoch that is lost with it */
async function clear({ disk, directory }: Place, found: Found, options: OpenOptions): Promise<number> {
  let epoch = 0;
  for (const after of found.malformed) {
    const path = segmentPath(directory, after);
    const file = await disk.open(path, "read");
    try {
      epoch = await highestEpoch(file, 0, Math.max(epoch, found.header.epochs.at(-1)?.epoch ?? 0));
    } finally {
      await file.close();
    }
    const kept = `${path}.damaged-${options.now()}`;
    await disk.rename(path, kept);
    options.setAside(kept, "the head of a journal's segment cannot be read; what came before it was kept in use");
  }
  for (const after of found.torn) await disk.remove(segmentPath(directory, after));
  for (const name of found.temporary) await disk.remove(join(directory, name));
  // A name that came back after a loss of power would make the segment before it an old one, with whatever was written to it by then.
  if (found.torn.length > 0 || found.malformed.length > 0) await disk.syncDirectory(directory);
  return epoch;
}

/** Where the newest snapshot cannot be used (another build wrote it): an older one, or all frames from the beginning. */
async function foldOlder({ disk, directory }: Place, { header, row }: Found, options: Pick<OpenOptions, "restore" | "visit">): Promise<void> {
  if (header.after === 0 || options.restore(header.snapshot, header.after)) return;
  const older = row.slice(0, -1);
  let from = older.length - 1;
  for (; from > 0; from--) {
    const each = await headerAt(disk, directory, older[from]?.after ?? 0);
    if (typeof each !== "string" && options.restore(each.snapshot, each.after)) break;
  }
  for (const { after } of older.slice(Math.max(0, from))) for await (const frame of framesIn(disk, segmentPath(directory, after), after)) options.visit(frame);
}

/** Epochs that were lost with a damaged part are ended here, so that no cursor of theirs becomes good again. */
function nextEpochs(known: readonly Epoch[], lastEpoch: number, after: number): Epoch[] {
  const added: Epoch[] = [];
  for (let epoch = (known.at(-1)?.epoch ?? 0) + 1; epoch <= lastEpoch + 1; epoch++) added.push({ epoch, after });
  return added;
}

async function beginEpoch(
  { disk, directory }: Place,
  { found, result, file, lastEpoch, damage }: { found: Found; result: Scan; file: DiskFile; lastEpoch: number; damage: Scan["damage"] },
  { limits, now }: OpenOptions,
): Promise<OpenedJournal> {
  const added = nextEpochs(result.epochs, lastEpoch, result.lastSeq);
  const lines = Buffer.from(added.map((epoch) => `${JSON.stringify({ ...epoch, at: now() })}\n`).join(""));
  await file.write(result.end, lines);
  await file.datasync();
  await disk.syncDirectory(directory);
  const active = { file, index: result.index, end: result.end + lines.length, bad: new Set<number>() };
  return { segments: new Segments({ disk, directory, limits }, found.row, active), epochs: [...result.epochs, ...added], lastSeq: result.lastSeq, damage };
}

/** All segments behind a compacted one are gone: go on in a new one. */
async function beginSegment(
  { disk, directory }: Place,
  { found, result, lastEpoch }: { found: Found; result: Scan; lastEpoch: number },
  { limits, now, snapshot }: OpenOptions,
): Promise<OpenedJournal> {
  // Its last frames may have been dropped; the names of those behind it tell where it ended.
  const after = Math.max(result.lastSeq, ...found.malformed);
  const epochs = [...result.epochs, ...nextEpochs(result.epochs, lastEpoch, after)];
  const made = await makeSegment({ disk, directory }, after, headerLine({ after, at: now(), epochs, snapshot: snapshot(after) }));
  for (const segment of found.row) segment.compacted = true;
  const row = [...found.row, { after, compacted: false }];
  return { segments: new Segments({ disk, directory, limits }, row, made), epochs, lastSeq: after, damage: "malformed" };
}
