import { join } from "node:path";
import { limits, type Frame } from "@sessiond/shared";
import type { Disk, DiskFile } from "../disk.ts";
import { kindOf, linesFrom, parseLine, SparseIndex, type Epoch } from "./journal-file.ts";
import type { SegmentFile } from "./segment-file.ts";

/**
 * A journal is a row of files. The first is `journal`; each later one, `journal-<after>`, begins
 * behind frame `after` with a header: the epochs so far, and a snapshot of what the frames before
 * it fold to. So the newest is all that a start reads. Older ones are sealed: they are never
 * written to, only replaced as a whole by what compaction leaves of them.
 *
 *     {"after":41,"at":17000,"epochs":[{"epoch":1,"after":0}],"snapshot":{…}}
 *     {"after":41,"compacted":true,"at":17000,"epoch":1,"through":83,"crc":"0a1b2c3d"}
 *                                                                dense no more; nothing begins here
 *
 * A header is synced before anything behind it is written, so an unfinished one has nothing to lose.
 */
export interface Header {
  readonly after: number;
  readonly epochs: readonly Epoch[];
  /** What `JournalEvents.snapshot` gave; undefined at the very beginning, and where it was compacted. */
  readonly snapshot?: unknown;
  readonly compacted: boolean;
  /** Of a compacted one: seq of the last frame it stands for, also where that was dropped. Older versions did not write it. */
  readonly through?: number;
  /** Of a compacted one: CRC-32 of all that follows, in hex, because its seqs do not tell what is missing. Likewise. */
  readonly crc?: string;
  /** Where its lines begin. */
  readonly end: number;
  /** Of these the first ones, read with it. */
  readonly ahead?: Buffer;
}

const first = "journal";
export const segmentPath = (directory: string, after: number): string => join(directory, after === 0 ? first : `${first}-${after}`);
export const temporaryPath = (directory: string, after: number): string => `${segmentPath(directory, after)}.compact`;

/** @returns what the name of a segment says; null for any other file */
export function afterOf(name: string): number | null {
  if (name === first) return 0;
  const after = /^journal-([1-9]\d{0,14})$/.exec(name)?.[1];
  return after === undefined ? null : Number(after);
}

export const isTemporary = (name: string): boolean => name.endsWith(".compact") && afterOf(name.slice(0, -".compact".length)) !== null;

export const headerLine = (header: { after: number; at: number; epochs: readonly Epoch[]; snapshot: unknown }): string => `${JSON.stringify(header)}\n`;
/** As long for one sum as for another. */
export const compactedHeaderLine = ({ after, at, epoch, through, crc }: { after: number; at: number; epoch: number; through: number; crc: number }): string =>
  `${JSON.stringify({ after, compacted: true, at, epoch, through, crc: crcText(crc) })}\n`;
export const crcText = (crc: number): string => crc.toString(16).padStart(8, "0");

/**
 * @param after  what the file's name says
 * @returns `torn`: it was never finished. `malformed`: it is no header of this segment
 */
export async function readHeader(file: DiskFile, after: number): Promise<Header | "torn" | "malformed"> {
  const size = await file.size();
  let bytes = await file.read(0, Math.min(size, headerStep));
  if (after === 0 && bytes.toString("utf8", 0, prefix.length) !== prefix) return { after, epochs: [], compacted: false, end: 0, ahead: bytes };
  // A snapshot may be longer than any frame; its epochs come on top.
  while (!bytes.includes(newline) && bytes.length < size && bytes.length <= longestHeader) {
    const more = await file.read(bytes.length, Math.min(size - bytes.length, headerStep));
    if (more.length === 0) break;
    bytes = Buffer.concat([bytes, more]);
  }
  const stop = bytes.indexOf(newline);
  // The first segment has one only after a compaction, which puts it there whole. What a making cut short left is the
  // beginning of a head; anything else was something once, and is kept.
  if (stop === -1) return size <= longestHeader && after > 0 && isBeginning(bytes.toString("utf8")) ? "torn" : "malformed";
  const value = parseLine(bytes.toString("utf8", 0, stop));
  const header = value && headerOf(value, after, stop + 1);
  // A copy: the header's own bytes need not be kept for it.
  return header === null ? "malformed" : { ...header, ahead: Buffer.from(bytes.subarray(stop + 1)) };
}

const newline = 10;
/** Read at once. */
const headerStep = 262_144;
const prefix = '{"after":';
const isBeginning = (text: string): boolean => (text.startsWith(prefix) || prefix.startsWith(text)) && !text.includes("\0");
const longestHeader = limits.snapshot_bytes_max + 1_048_576;
const isEpoch = (value: unknown): value is Epoch =>
  typeof value === "object" && value !== null && "epoch" in value && Number.isInteger(value.epoch) && "after" in value && Number.isInteger(value.after);

function headerOf(value: Record<string, unknown>, after: number, end: number): Header | null {
  if (value["after"] !== after) return null;
  // The ends of the epochs before went with the frames; a cursor of theirs is too old.
  const { through, crc } = value;
  const sealed = { ...(typeof through === "number" && { through }), ...(typeof crc === "string" && { crc }) };
  if (value["compacted"] === true) return { after, epochs: [{ epoch: Number(value["epoch"]), after }], compacted: true, ...sealed, end };
  const epochs = value["epochs"];
  if (!Array.isArray(epochs) || !epochs.every(isEpoch) || value["snapshot"] === undefined) return null;
  return { after, epochs, snapshot: value["snapshot"], compacted: false, end };
}

/** True when the file begins with the header of a compacted segment; reads its first bytes only. */
export const isCompacted = async (file: DiskFile): Promise<boolean> => /^\{"after":\d+,"compacted":true,/.test((await file.read(0, 64)).toString("utf8"));

/** A new segment, on disk with its header and its name when this resolves. @throws what the disk throws */
export async function makeSegment({ disk, directory }: { disk: Disk; directory: string }, after: number, header: string): Promise<SegmentFile> {
  const file = await disk.open(segmentPath(directory, after), "write");
  try {
    const bytes = Buffer.from(header);
    // Of an earlier try.
    await file.truncate(0);
    await file.write(0, bytes);
    await file.datasync();
    await disk.syncDirectory(directory);
    return { file, index: new SparseIndex(bytes.length), end: bytes.length, bad: new Set() };
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
}

/** The frames of a segment that can be read, from its beginning, past those that cannot. @throws what the disk throws */
export async function* framesIn(disk: Disk, path: string, after: number): AsyncGenerator<Frame> {
  const file = await disk.open(path, "read");
  try {
    const header = await readHeader(file, after);
    if (typeof header === "string") return;
    for await (const line of linesFrom(file, header.end, await file.size(), { ...(header.ahead && { ahead: header.ahead }) })) {
      const kind = line.text.startsWith('{"seq":') ? kindOf(line) : null;
      if (kind !== null && "frame" in kind) yield kind.frame;
    }
  } finally {
    await file.close();
  }
}
