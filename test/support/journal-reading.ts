import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { emptyState, reduce, type Frame, type SessionState } from "@sessiond/shared";
import { expect } from "vitest";
import { briefOf } from "./brief.ts";

/**
 * A journal as it lies on disk, read on each time from where the last reading ended, and judged line by line:
 * seqs and epochs follow each other, and what ends, ends once. Its words are this file's own, not the daemon's.
 */
interface Line {
  readonly brief: string;
  readonly type: string;
}

const presence = /^(seat_|driver_)/;
const chunk = /_chunk$/;
const newline = 10;

export class JournalReading {
  /** What the frames read so far fold to. */
  state: SessionState;
  /** The state with which the newest epoch began: that of the last death. */
  diedAt: SessionState;
  epoch = 0;
  readonly lines = new Map<number, Line>();
  /** Where a prompt was accepted, a question closed, a note written, by its id or text. */
  readonly accepted = new Map<string, number>();
  readonly resolved = new Map<string, number>();
  /** How often it was cut off where a line was torn. */
  cuts = 0;
  callsBegun = 0;
  readonly #directory: string;
  readonly #ends = new Map<string, string>();
  /** The segment that is read, held open: what compaction puts in its place has other lines at these offsets. */
  #at: { readonly after: number; offset: number; readonly file: number | null } = { after: 0, offset: 0, file: null };

  constructor(directory: string, sessionId: string) {
    this.#directory = directory;
    this.state = this.diedAt = emptyState(sessionId);
  }

  /** Prompts that were accepted and have not ended. */
  get openPrompts(): string[] {
    return [...this.accepted.keys()].filter((id) => !this.#ends.has(`prompt ${id}`));
  }

  read(): this {
    for (const after of this.#segments()) {
      if (after < this.#at.after) continue;
      // One whose head was never finished is removed by the next start, and the one before it goes on.
      if (after > this.#at.after && !this.#begins(after)) break;
      if (after > this.#at.after || this.#at.file === null) this.#open(after);
      this.#readOn();
    }
    return this;
  }

  /** The last one goes with the test's process. */
  #open(after: number): void {
    if (this.#at.file !== null) closeSync(this.#at.file);
    this.#at = { after, offset: 0, file: openSync(this.#path(after), "r") };
  }

  #begins(after: number): boolean {
    return readFileSync(this.#path(after)).includes(newline);
  }

  /** What compaction has left is what was there: kept lines byte for byte, nothing but presence and pieces of texts gone. */
  checkCompacted(): number {
    let compacted = 0;
    const segments = this.#segments();
    for (const [place, after] of segments.entries()) {
      const text = readFileSync(this.#path(after), "utf8");
      if (!/^\{"after":\d+,"compacted":true/.test(text)) continue;
      compacted += 1;
      const end = segments[place + 1] ?? this.state.seq;
      const kept = new Map(
        text
          .split("\n")
          .slice(1, -1)
          .map((line) => [(JSON.parse(line) as Frame).seq, line]),
      );
      for (let seq = after + 1; seq <= end; seq++) {
        const [line, now] = [this.lines.get(seq), kept.get(seq)];
        if (line === undefined || presence.test(line.type)) continue;
        if (!chunk.test(line.type)) expect(now === undefined ? "(gone)" : briefOf(now)).toBe(line.brief);
      }
      for (const seq of kept.keys()) expect(seq > after && seq <= end).toBe(true);
    }
    return compacted;
  }

  #readOn(): void {
    if (this.#at.file === null) return;
    const { text, offset } = linesOf(this.#at.file, this.#at.offset);
    if (this.#at.offset === 0 && text.startsWith(`{"after":${this.#at.after},"compacted"`)) throw new Error("a segment was compacted before it was read");
    this.#at.offset = offset;
    for (const line of text.split("\n").slice(0, -1)) this.#line(line);
  }

  #line(text: string): void {
    // The head of a segment: what it says was read in the one before.
    if (text.startsWith('{"after":')) {
      expect((JSON.parse(text.slice(0, text.indexOf(",")) + "}") as { after: number }).after).toBe(this.state.seq);
      return;
    }
    const value = JSON.parse(text) as Partial<Frame> & { epoch?: number };
    if (value.epoch !== undefined) {
      expect(value).toMatchObject({ epoch: this.epoch + 1, after: this.state.seq });
      this.epoch = value.epoch;
      this.diedAt = this.state;
      return;
    }
    expect(value.seq).toBe(this.state.seq + 1);
    const frame = value as Frame;
    this.state = reduce(this.state, frame);
    this.lines.set(frame.seq, { brief: briefOf(text), type: frame.event.type });
    this.#note(frame);
  }

  #note({ seq, event }: Frame): void {
    switch (event.type) {
      case "prompt_accepted":
        // Sent again by the library after a kill, it is still accepted once.
        expect(this.accepted.has(event.prompt_id)).toBe(false);
        this.accepted.set(event.prompt_id, seq);
        return;
      case "prompt_delivered":
      case "prompt_withdrawn":
      case "prompt_discarded":
        return this.#ended(`prompt ${event.prompt_id}`, event.type);
      case "approval_resolved":
        this.resolved.set(event.approval_id, seq);
        return this.#ended(`question ${event.approval_id}`, event.cause);
      case "tool_call_update":
        if (event.status === "in_progress") this.callsBegun += 1;
        return this.#ended(`call ${event.turn_id} ${event.tool_call_id} ${event.status === "in_progress" ? "begins" : "ends"}`, event.status);
      case "turn_ended":
        return this.#ended(`turn ${event.turn_id}`, event.stop_reason);
      case "notice":
        this.cuts += 1;
        return;
      default:
    }
  }

  #ended(what: string, how: string): void {
    expect([what, this.#ends.get(what) ?? "not yet", how]).toEqual([what, "not yet", how]);
    this.#ends.set(what, how);
  }

  #segments(): number[] {
    const names = readdirSync(this.#directory).filter((name) => /^journal(-\d+)?$/.test(name));
    return names.map((name) => Number(name.slice(8) || 0)).toSorted((a, b) => a - b);
  }

  #path(after: number): string {
    return join(this.#directory, after === 0 ? "journal" : `journal-${after}`);
  }
}

/** Whole lines behind an offset. */
function linesOf(file: number, from: number): { text: string; offset: number } {
  const bytes = Buffer.alloc(Math.max(0, fstatSync(file).size - from));
  const read = readSync(file, bytes, 0, bytes.length, from);
  const end = bytes.subarray(0, read).lastIndexOf(newline) + 1;
  return { text: bytes.toString("utf8", 0, end), offset: from + end };
}
