import { appendFile, rename, stat } from "node:fs/promises";
import type { Limits } from "@sessiond/shared";
import type { Clock } from "./clock.ts";

/**
 * One line a call that matters: mutations, refusals, attaches, transcripts read by token. Never a
 * secret: ids only. A failed write never fails the call; it is counted, and shown in the status.
 */
export interface AuditEntry {
  readonly verb: string;
  readonly session?: string;
  readonly seat?: string;
  readonly token?: string;
  /** `ok`, or the code of the refusal. */
  readonly outcome: string;
  readonly ms: number;
}

export interface AuditCounts {
  written: number;
  refusals_counted: number;
  failed: number;
  last_failure?: string;
}

const minute = 60_000;

type AuditLimits = Pick<Limits, "audit_bytes_max" | "audit_pending_lines_max" | "refusals_written_per_minute_max">;

export class Audit {
  readonly counts: AuditCounts = { written: 0, refusals_counted: 0, failed: 0 };
  readonly #path: string;
  readonly #clock: Clock;
  readonly #limits: AuditLimits;
  #queue: string[] = [];
  #writing: Promise<void> | null = null;
  #minute = Number.NEGATIVE_INFINITY;
  #refusals = 0;
  #unwritten = 0;
  /** The last write failed, perhaps in the middle of a line: the next one begins a line of its own. */
  #torn = false;

  constructor(path: string, clock: Clock, limits: AuditLimits) {
    this.#path = path;
    this.#clock = clock;
    this.#limits = limits;
  }

  record(entry: AuditEntry, refusal: boolean): void {
    if (this.#clock.steady() - this.#minute >= minute) this.#nextMinute();
    if (refusal && ++this.#refusals > this.#limits.refusals_written_per_minute_max) {
      this.#unwritten += 1;
      this.counts.refusals_counted += 1;
      return;
    }
    this.#write({ at: this.#now(), ...entry });
  }

  /** Resolves when what was recorded is written, or has failed to be. */
  async flush(): Promise<void> {
    this.#nextMinute();
    await this.#writing;
  }

  #now(): string {
    return new Date(this.#clock.now()).toISOString();
  }

  #nextMinute(): void {
    if (this.#unwritten > 0) this.#write({ at: this.#now(), verb: "*", outcome: "refusals_counted", count: this.#unwritten });
    this.#minute = this.#clock.steady();
    this.#refusals = 0;
    this.#unwritten = 0;
  }

  #write(line: object): void {
    if (this.#queue.length >= this.#limits.audit_pending_lines_max) {
      this.counts.failed += 1;
      return;
    }
    this.#queue.push(`${JSON.stringify(line)}\n`);
    this.#writing ??= this.#drain().finally(() => (this.#writing = null));
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const lines = this.#queue;
      this.#queue = [];
      try {
        const size = await stat(this.#path).then(
          (found) => found.size,
          () => 0,
        );
        if (size > this.#limits.audit_bytes_max) await rename(this.#path, `${this.#path}.1`);
        await appendFile(this.#path, `${this.#torn ? "\n" : ""}${lines.join("")}`, { mode: 0o600 });
        this.#torn = false;
        this.counts.written += lines.length;
      } catch (error) {
        this.#torn = true;
        this.counts.failed += lines.length;
        this.counts.last_failure = error instanceof Error && "code" in error ? String(error.code) : "unknown";
      }
    }
  }
}
