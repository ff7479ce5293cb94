import { SessiondError, type Limits } from "@sessiond/shared";
import { diskReason, type Disk } from "../disk.ts";
import { rewriteCompacted } from "./compaction.ts";
import { segmentPath, temporaryPath } from "./segment.ts";
import type { Segments } from "./segments.ts";

/**
 * Compacts what lies behind the newest sealed segments, one at a time, oldest first, beside
 * everything else. The result is written under another name and renamed over the segment, so
 * that a crash leaves the one or the other. Who reads live has not passed a segment yet when he
 * stands before its end: it waits for him, until `segments_held_max` others wait behind that one.
 * Then he is given up: a reader slower than what is written for that long costs his place, not the disk.
 */
export interface ReaderGate {
  /** True while a reader has yet to get the frame with this seq. */
  standsBefore(seq: number): boolean;
  /** Resolves when none stands before it any more, or the signal aborts. */
  passed(seq: number, signal: AbortSignal): Promise<void>;
  /** Streams that stand before it are waited for no longer. */
  giveUp(seq: number): void;
}

export interface CompactorOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly limits: Limits;
  now(): number;
  report(error: SessiondError): void;
}

export class Compactor {
  readonly #segments: Segments;
  readonly #options: CompactorOptions;
  readonly #stopped = new AbortController();
  /** Cannot be read in full; they stay as they are. */
  readonly #damaged = new Set<number>();
  #running: Promise<void> | null = null;
  /** The frame that readers have yet to pass. */
  #awaited: number | null = null;

  constructor(segments: Segments, options: CompactorOptions) {
    this.#segments = segments;
    this.#options = options;
  }

  /** Begin, if there is anything to do; what failed before is tried again. */
  kick(gate: ReaderGate): void {
    this.#waitNoLonger(gate);
    if (this.#stopped.signal.aborted || this.#running !== null || this.#next() === undefined) return;
    this.#running = this.#run(gate).finally(() => (this.#running = null));
  }

  /** Resolves when it touches nothing any more. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }

  /** Resolves when what was begun is done. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** What is old enough, oldest first. */
  #due(): { after: number; end: number }[] {
    const { segments_kept } = this.#options.limits;
    const old = this.#segments.sealed().slice(0, -segments_kept || undefined);
    return old.filter((segment) => !segment.compacted && !this.#damaged.has(segment.after));
  }

  #next(): { after: number; end: number } | undefined {
    return this.#due()[0];
  }

  async #passed(end: number, gate: ReaderGate): Promise<void> {
    this.#awaited = end;
    this.#waitNoLonger(gate);
    await gate.passed(end, this.#stopped.signal);
    this.#awaited = null;
  }

  /** Too much waits behind the segment that readers have yet to pass. */
  #waitNoLonger(gate: ReaderGate): void {
    if (this.#awaited !== null && this.#due().length > this.#options.limits.segments_held_max) gate.giveUp(this.#awaited);
  }

  async #run(gate: ReaderGate): Promise<void> {
    for (let next = this.#next(); next !== undefined && !this.#stopped.signal.aborted; next = this.#next()) {
      try {
        await this.#compact(next, gate);
      } catch (error) {
        await this.#options.disk.remove(temporaryPath(this.#options.directory, next.after)).catch(() => undefined);
        if (!this.#stopped.signal.aborted)
          this.#options.report(
            new SessiondError("storage_failed", { reason: `compaction failed and will be tried again: ${diskReason(error)}` }, { cause: error }),
          );
        return;
      }
    }
  }

  async #compact({ after, end }: { after: number; end: number }, gate: ReaderGate): Promise<void> {
    const { disk, directory, limits } = this.#options;
    const { signal } = this.#stopped;
    const temporary = temporaryPath(directory, after);
    await this.#passed(end, gate);
    const written = await rewriteCompacted(after, { disk, directory, signal, now: this.#options.now(), charsMax: limits.merged_chunk_chars_max });
    if (written === "damaged") {
      this.#damaged.add(after);
      this.#options.report(new SessiondError("storage_failed", { reason: "a line in an old part of a journal cannot be read; that part is left as it is" }));
      await disk.remove(temporary);
      return;
    }
    // Somebody may have come meanwhile with a cursor that was still good.
    while (gate.standsBefore(end) && !signal.aborted) await this.#passed(end, gate);
    signal.throwIfAborted();
    this.#segments.compacting(end);
    await disk.rename(temporary, segmentPath(directory, after));
    this.#segments.compacted(after, written);
    await disk.syncDirectory(directory);
  }
}
