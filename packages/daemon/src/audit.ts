import { appendFile, lstat, open, rename, stat } from "node:fs/promises";
import type { Limits } from "@sessiond/shared";
import type { Clock } from "./clock.ts";

/**
 * One line a call that matters: mutations, refusals, attaches, transcripts read by token. Of one token or key
 * so many of a verb a minute are written singly, failed ones beside those that did something; the owner's always.
 * Never a secret: ids only. A failed write never fails the call; it is counted, and shown in the status.
 * A file that is full becomes `.1`, what was that `.2`, and so on; recovery/audit-reading.ts reads them.
 */
export interface AuditEntry {
  readonly verb: string;
  readonly session?: string;
  readonly seat?: string;
  readonly token?: string;
  /** Id of the API key. */
  readonly key?: string;
  /** The address that it came from, where that was not the unix socket. */
  readonly peer?: string;
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

/**
 * All but the owner's come in floods: beyond a limit they are counted, so that they never overwrite what others did.
 * `act`: the owner's, always written once it is known to be his; `call`: what any other did, or who was not looked at, and pieces of an agent's answer; `read`: a transcript read by token.
 */
export type AuditKind = "act" | "call" | "refusal" | "read";
/** Counted by token or key, by verb, and what did something apart from what failed: a flood of one hides nothing of the others. */
type Counted = "call" | "read";

const minute = 60_000;
const newline = 0x0a;
/** Stands for the tokens and keys beyond those that are told apart. */
const others = "others";
const outcomes = { call: "calls_counted", read: "reads_counted" } as const satisfies Record<Counted, string>;

type AuditLimits = Pick<
  Limits,
  | "audit_bytes_max"
  | "audit_files_kept"
  | "audit_pending_lines_max"
  | "refusals_written_per_minute_max"
  | "calls_written_per_minute_max"
  | "reads_written_per_minute_max"
  | "counted_holders_max"
>;

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
  /** Of this minute: calls by verb and whether they failed, and of each by token or key. */
  readonly #counted = new Map<string, { readonly verb: string; readonly kind: Counted; readonly by: Map<string, number> }>();
  /** Who is told apart. */
  readonly #holders = new Set<string>();
  /** The last write failed, perhaps in the middle of a line: the next one begins a line of its own. Null: another daemon's, not looked at yet. */
  #torn: boolean | null = null;

  constructor(path: string, clock: Clock, limits: AuditLimits) {
    this.#path = path;
    this.#clock = clock;
    this.#limits = limits;
  }

  record(entry: AuditEntry, kind: AuditKind): void {
    if (this.#clock.steady() - this.#minute >= minute) this.#nextMinute();
    if ((kind === "call" || kind === "read") && !this.#isWritten(entry, kind)) return;
    if (kind === "refusal" && ++this.#refusals > this.#limits.refusals_written_per_minute_max) {
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

  /** Counts it, and says whether it has a line of its own. */
  #isWritten({ verb, outcome, token, key }: AuditEntry, kind: Counted): boolean {
    const holder = token ?? key ?? others;
    const who = this.#holders.size < this.#limits.counted_holders_max || this.#holders.has(holder) ? holder : others;
    if (who !== others) this.#holders.add(who);
    const what = outcome === "ok" ? verb : `${verb} failed`;
    const counted = this.#counted.get(what) ?? { verb, kind, by: new Map<string, number>() };
    this.#counted.set(what, counted);
    const count = (counted.by.get(who) ?? 0) + 1;
    counted.by.set(who, count);
    return count <= this.#most(kind);
  }

  #most(kind: Counted): number {
    return kind === "read" ? this.#limits.reads_written_per_minute_max : this.#limits.calls_written_per_minute_max;
  }

  #now(): string {
    return new Date(this.#clock.now()).toISOString();
  }

  #nextMinute(): void {
    if (this.#unwritten > 0) this.#write({ at: this.#now(), verb: "*", outcome: "refusals_counted", count: this.#unwritten });
    for (const { verb, kind, by } of this.#counted.values()) {
      const most = this.#most(kind);
      const beyond = [...by].flatMap(([who, count]) => (count > most ? [[who, count - most] as const] : []));
      const count = beyond.reduce((sum, [, each]) => sum + each, 0);
      if (count > 0) this.#write({ at: this.#now(), verb, outcome: outcomes[kind], count, by: Object.fromEntries(beyond) });
    }
    this.#counted.clear();
    this.#holders.clear();
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
        await this.#makeRoom();
        this.#torn ??= await endsTorn(this.#path);
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

  /** Where the older files cannot be moved on, this one grows to twice its size before a line is lost for it. */
  async #makeRoom(): Promise<void> {
    const { audit_bytes_max: full, audit_files_kept: kept } = this.#limits;
    const size = await stat(this.#path).then(
      (found) => found.size,
      () => 0,
    );
    if (size <= full) return;
    try {
      await moveOn(this.#path, kept);
      this.#torn = false;
    } catch (error) {
      if (size > 2 * full) throw error;
    }
  }
}

/**
 * Renames begin at the first number that is free: one that a crash cut short leaves a gap, which the
 * next one fills, and nothing is ever moved over another file but over the oldest.
 */
async function moveOn(path: string, kept: number): Promise<void> {
  let free = 1;
  while (free < kept && (await lstat(`${path}.${free}`).catch(() => null)) !== null) free += 1;
  for (let number = free; number > 1; number--) await rename(`${path}.${number - 1}`, `${path}.${number}`);
  await rename(path, `${path}.1`);
}

/** A daemon that was killed, or found the disk full, may have left the beginning of a line. */
async function endsTorn(path: string): Promise<boolean> {
  const file = await open(path, "r").catch(() => null);
  if (file === null) return false;
  try {
    const { size } = await file.stat();
    if (size === 0) return false;
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
    return buffer[0] !== newline;
  } catch {
    return false;
  } finally {
    await file.close();
  }
}
