import { crc32 } from "node:zlib";
import type { EventOf, Frame } from "@sessiond/shared";
import type { Disk, DiskFile } from "../disk.ts";
import { kindOf, linesFrom, SparseIndex } from "./journal-file.ts";
import { seqOf, type Lines } from "./segment-file.ts";
import { compactedHeaderLine, readHeader, segmentPath, temporaryPath } from "./segment.ts";

/**
 * What compaction leaves of a sealed segment: the conversation, in fewer frames. Who came and
 * went is dropped; neighbouring chunks of one text become one frame under the seq of the last;
 * chunks of a tool's output go where its result, which stands for them, is in the same segment.
 * What is kept unchanged is kept byte for byte.
 */
const presence: ReadonlySet<string> = new Set([
  "seat_taken",
  "seat_lost",
  "seat_resumed",
  "seat_left",
  "driver_requested",
  "driver_request_lapsed",
  "driver_changed",
]);

type Chunk = EventOf<"agent_message_chunk" | "agent_thought_chunk" | "tool_call_chunk">;
const isChunk = (frame: Frame): frame is Frame & { readonly event: Chunk } =>
  (frame.event.type === "agent_message_chunk" || frame.event.type === "agent_thought_chunk" || frame.event.type === "tool_call_chunk") &&
  frame.event.content.type === "text";
const callOf = (event: { turn_id: string; tool_call_id: string }): string => `${event.turn_id} ${event.tool_call_id}`;
const textOf = (event: Chunk): string => `${event.type} ${event.turn_id} ${event.type === "tool_call_chunk" ? event.tool_call_id : event.message_id}`;

/** The call that has its final result with this frame, or null. */
export const resultOf = ({ event }: Frame): string | null => (event.type === "tool_call_update" && event.result !== undefined ? callOf(event) : null);

export class Compaction {
  readonly #finished: ReadonlySet<string>;
  readonly #charsMax: number;
  /** Neighbours that become one frame: the last of them, and the text of all. */
  #merging: { last: Frame & { readonly event: Chunk }; line: string; texts: string[]; chars: number } | null = null;

  /** @param finished  calls whose result is in this segment, by `resultOf` */
  constructor(finished: ReadonlySet<string>, charsMax: number) {
    this.#finished = finished;
    this.#charsMax = charsMax;
  }

  /** @returns the lines that are complete with this frame */
  take(frame: Frame, line: string): string[] {
    if (presence.has(frame.event.type)) return [];
    if (!isChunk(frame)) return [...this.end(), line];
    const { event } = frame;
    if (event.type === "tool_call_chunk" && this.#finished.has(callOf(event))) return [];
    const { text } = event.content;
    const open = this.#merging;
    if (open !== null && textOf(open.last.event) === textOf(event) && open.chars + text.length <= this.#charsMax) {
      open.last = frame;
      open.texts.push(text);
      open.chars += text.length;
      return [];
    }
    const before = this.end();
    this.#merging = { last: frame, line, texts: [text], chars: text.length };
    return before;
  }

  /** @returns what was still being merged */
  end(): string[] {
    const merged = this.#merging;
    this.#merging = null;
    if (merged === null) return [];
    if (merged.texts.length === 1) return [merged.line];
    const { last } = merged;
    return [JSON.stringify({ ...last, event: { ...last.event, content: { ...last.event.content, text: merged.texts.join("") } } })];
  }
}

/** Bytes parsed in one turn of the event loop: compaction holds up nobody. */
const step = 65_536;
const writeBytes = 262_144;

export interface Rewriting {
  readonly disk: Disk;
  readonly directory: string;
  readonly now: number;
  readonly charsMax: number;
  readonly signal: AbortSignal;
}

/**
 * Write what is left of a segment beside it, synced.
 *
 * @returns `damaged` when it has a line that cannot be read: such a segment stays as it is
 * @throws what the disk throws; the signal's reason
 * Cost: two passes over the segment; memory for one merged frame and the ids of its calls.
 */
export async function rewriteCompacted(after: number, { disk, directory, now, charsMax, signal }: Rewriting): Promise<Lines | "damaged"> {
  const source = await disk.open(segmentPath(directory, after), "read");
  let target: DiskFile | null = null;
  try {
    const header = await headOf(source, after);
    if (header === null) return "damaged";
    let { epoch } = header;
    let through = after;
    const finished = new Set<string>();
    for await (const line of linesFrom(source, header.end, await source.size(), { step })) {
      signal.throwIfAborted();
      const kind = kindOf(line);
      if (kind === null) return "damaged";
      if ("epoch" in kind) epoch = kind.epoch.epoch;
      if ("frame" in kind) through = kind.frame.seq;
      const result = "frame" in kind ? resultOf(kind.frame) : null;
      if (result !== null) finished.add(result);
    }
    target = await disk.open(temporaryPath(directory, after), "write");
    const head = (crc: number): Buffer => Buffer.from(compactedHeaderLine({ after, at: now, epoch, through, crc }));
    const lines = new LineWriter(target, head(0).length);
    await target.truncate(0);
    const compaction = new Compaction(finished, charsMax);
    for await (const line of linesFrom(source, header.end, await source.size(), { step })) {
      signal.throwIfAborted();
      const kind = kindOf(line);
      if (kind === null) return "damaged";
      if ("frame" in kind) await lines.add(compaction.take(kind.frame, line.text));
    }
    await lines.add(compaction.end());
    await lines.flush();
    await target.write(0, head(lines.crc));
    await target.datasync();
    return { index: lines.index, end: lines.end, bad: new Set() };
  } finally {
    await target?.close();
    await source.close();
  }
}

/** What is needed of a head: its snapshot, and the lines that were read with it, would be held as long as the segment is gone through. */
async function headOf(source: DiskFile, after: number): Promise<{ epoch: number; end: number } | null> {
  const header = await readHeader(source, after);
  return typeof header === "string" ? null : { epoch: header.epochs.at(-1)?.epoch ?? 0, end: header.end };
}

class LineWriter {
  /** Of what was flushed. */
  crc = 0;
  readonly index: SparseIndex;
  /** Where the next line will be. */
  end: number;
  readonly #file: DiskFile;
  #text = "";
  #flushed: number;

  constructor(file: DiskFile, start: number) {
    this.#file = file;
    this.#flushed = this.end = start;
    this.index = new SparseIndex(start);
  }

  async add(lines: readonly string[]): Promise<void> {
    for (const line of lines) {
      this.#text += `${line}\n`;
      this.index.note(seqOf(line), this.end);
      this.end += Buffer.byteLength(line) + 1;
    }
    if (this.#text.length >= writeBytes) await this.flush();
  }

  async flush(): Promise<void> {
    const bytes = Buffer.from(this.#text);
    this.#text = "";
    if (bytes.length > 0) await this.#file.write(this.#flushed, bytes);
    this.#flushed += bytes.length;
    this.crc = crc32(bytes, this.crc);
  }
}
