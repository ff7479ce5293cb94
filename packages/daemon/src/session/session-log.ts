import { frameSchema, limits, SessiondError, type Frame, type Limits, type SessionEvent, type SessionInfo, type SessionState } from "@sessiond/shared";
import type { Transcript } from "../agents/transcript.ts";
import type { Clock } from "../clock.ts";
import type { Counters } from "../counters.ts";
import type { Disk } from "../disk.ts";
import type { EncodedFrame } from "../room/journal-file.ts";
import { Journal, type JournalOptions } from "../room/journal.ts";
import { Room } from "../room/room.ts";
import { decide, nothingDecided, type Decided } from "./decided.ts";
import { fromSnapshot, snapshotOf } from "./decided-snapshot.ts";
import { KeptTranscript } from "./kept-transcript.ts";

/**
 * The one writer of a session. `apply` numbers an event, folds it into what is decided and hands
 * its line to the journal, without waiting; when the journal has written it, it is shown. After
 * a fault what was decided and not shown never happened.
 */
export interface LogOptions {
  readonly sessionId: string;
  readonly directory: string;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly setAside: (path: string, reason: string) => void;
  /** The directory was made just now: nothing is looked for in it the first time. */
  readonly isNew?: boolean;
  readonly counters: Counters;
  readonly limits: Limits;
  /** A compaction that failed. */
  readonly report: (error: unknown) => void;
}

export class SessionLog {
  readonly room: Room;
  decided: Decided;
  /** Told once a fault, after `decided` has gone back to what is shown. */
  onFault: (error: SessiondError) => void = () => undefined;
  /** Told each time that `shown`, or the room's fault, has changed. */
  onShown: () => void = () => undefined;
  #shown: Decided;
  #newestAt: number;
  /** Decided and not yet written. */
  #unshown: { seq: number; event: SessionEvent; decided: Decided }[] = [];
  #journal: Journal;
  readonly #options: LogOptions;
  readonly #writable: boolean;
  readonly #transcript: KeptTranscript;
  #summary: Summary | null = null;

  private constructor(options: LogOptions, opened: Opened, writable: boolean) {
    this.#options = options;
    this.#journal = opened.journal;
    this.#writable = writable;
    this.decided = this.#shown = opened.decided;
    this.#newestAt = opened.newestAt;
    this.room = new Room(opened.journal, opened.decided.state.seq, options.limits);
    this.#transcript = new KeptTranscript({
      begin: () => this.#beginTranscript(),
      charsMax: options.limits.transcript_kept_chars_max,
      counters: options.counters,
    });
    this.#listen(opened);
  }

  #listen({ journal, listeners }: Opened): void {
    listeners.written = (frames) => this.#written(frames);
    listeners.failed = (error) => this.#failed(error);
    listeners.snapshot = () => snapshotOf(this.#shown, this.#newestAt);
    if (this.#writable) journal.compactBehind(this.room);
  }

  /** Open for writing, under a new epoch. @throws SessiondError storage_failed */
  static async open(options: LogOptions): Promise<{ log: SessionLog; damage: string }> {
    const { opened, damage } = await openJournal(options);
    return { log: new SessionLog(options, opened, true), damage };
  }

  /** The log of a stopped session: read, never written. */
  static async openForReading(options: LogOptions): Promise<SessionLog> {
    const fold = new Fold(options);
    const journal = await Journal.openForReading(journalOptions(options), fold);
    return new SessionLog(options, { journal, decided: fold.decided, newestAt: fold.newestAt, listeners: silent(fold) }, false);
  }

  /** What clients may see. */
  get shown(): Decided {
    return this.#shown;
  }

  /** What is shown, without the conversation. Kept until more is shown: to copy an object but for a few of its fields is slow. */
  get summary(): Summary {
    if (this.#summary !== null) return this.#summary;
    const { messages: _messages, messages_chars: _chars, older_before: _older, ...summary } = this.#shown.state;
    return (this.#summary = summary);
  }

  /** True when lines at its end could not be read; of one that is open for writing they are cut off. */
  get damaged(): boolean {
    return this.#journal.damage !== "none";
  }

  /** When the newest frame was made. */
  get newestAt(): number {
    return this.#newestAt;
  }

  /** Everything said and done so far, for the agent, until the turn has ended. @throws SessiondError storage_failed */
  transcript(): Promise<Transcript> {
    return this.#transcript.get();
  }

  get counts(): Journal["counts"] {
    return this.#journal.counts;
  }

  /**
   * @returns the event's seq; nothing is durable or shown yet
   * @throws SessiondError session_faulted; session_stopped when the log is read only; limit_reached for a frame longer than a line may be
   */
  apply(event: SessionEvent): number {
    if (!this.#writable) throw new SessiondError("session_stopped");
    if (this.room.fault !== undefined) throw new SessiondError("session_faulted", { reason: this.room.fault.reason });
    const frame: Frame = frameSchema.parse({ seq: this.decided.state.seq + 1, at: this.#options.clock.now(), event });
    const text = JSON.stringify(frame);
    // A longer line is damage to whoever reads the journal, and would take with it all that follows.
    if (text.length * 3 > limits.journal_line_bytes_max && Buffer.byteLength(text) > limits.journal_line_bytes_max)
      throw new SessiondError("limit_reached", { limit: "journal_line_bytes_max", value: limits.journal_line_bytes_max, unit: "bytes" });
    this.#journal.append({ seq: frame.seq, text });
    this.decided = decide(this.decided, frame);
    this.#newestAt = frame.at;
    this.#transcript.fold(frame.event);
    this.#options.counters.framesEncoded += 1;
    this.#unshown.push({ seq: frame.seq, event: frame.event, decided: this.decided });
    return frame.seq;
  }

  /** Resolves when the frame is on disk and shown. @throws SessiondError storage_failed */
  durable(seq: number): Promise<void> {
    return this.#journal.durable(seq);
  }

  /** Resolves when the journal has nothing under way. */
  idle(): Promise<void> {
    return this.#journal.idle();
  }

  /** @see Journal.drained */
  drained(): Promise<void> | null {
    return this.#journal.drained();
  }

  /** Resolves when nothing of this log touches its files any more, a compaction either; they can still be read. */
  settled(): Promise<void> {
    return this.#journal.settled();
  }

  /**
   * Take the journal up again after a fault; on success nothing is decided that is not shown.
   *
   * @throws SessiondError storage_failed  and nothing has changed
   */
  async reopen(): Promise<void> {
    const failed = this.#journal;
    await failed.settled();
    const { opened } = await openJournal(this.#options, failed.cutPoint);
    this.#journal = this.room.journal = opened.journal;
    this.decided = this.#shown = opened.decided;
    this.#summary = null;
    this.#transcript.forget();
    this.#listen(opened);
    this.room.fault = undefined;
    this.onShown();
    void failed.close().catch(() => undefined);
  }

  /** @throws SessiondError storage_failed */
  close(): Promise<void> {
    return this.#journal.close();
  }

  #beginTranscript() {
    const { seq } = this.#shown.state;
    const standing = this.room.stand(seq, false);
    return { frames: this.#journal.frames(seq), unwritten: this.#unshown.map(({ event }) => event), done: () => this.room.leave(standing) };
  }

  #written(frames: readonly EncodedFrame[]): void {
    this.#summary = null;
    const last = frames.at(-1)?.seq ?? 0;
    let count = 0;
    for (let next = this.#unshown[count]; next !== undefined && next.seq <= last; next = this.#unshown[++count]) {
      this.#shown = next.decided;
      if (next.event.type === "turn_ended") this.#options.counters.turnEnded(next.event.stop_reason, next.event.usage);
    }
    this.#options.counters.framesShown += count;
    this.#unshown = this.#unshown.slice(count);
    this.room.publish(frames);
    this.onShown();
  }

  #failed(error: SessiondError): void {
    this.#unshown = [];
    this.decided = this.#shown;
    this.#transcript.forget();
    this.room.fault = { code: "storage_failed", reason: String(error.detail["reason"]), since: this.#options.clock.now() };
    this.room.failWaiters(error);
    this.onFault(error);
    this.onShown();
  }
}

type Summary = Omit<SessionState, "messages" | "messages_chars" | "older_before">;

/** Facts of a session as they are shown. */
export function infoOf(log: SessionLog, facts: SessionFacts): SessionInfo {
  const state = log.summary;
  const fault = log.room.fault;
  const active_tool = state.calls.find((call) => call.status === "in_progress") ?? null;
  return {
    ...state,
    ...facts,
    rules: [...state.rules, ...facts.rules],
    active_tool,
    mode: state.agent_facts.mode,
    cursor: log.room.cursor(state.seq),
    ...(fault && { fault }),
  };
}

/** What `session_info` tells that is not in the journal. `rules`: those of the workdir. */
export type SessionFacts = Pick<SessionInfo, "created_at" | "stable" | "env_names" | "rules">;

interface Listeners {
  written: (frames: readonly EncodedFrame[]) => void;
  failed: (error: SessiondError) => void;
  snapshot: (after: number) => unknown;
}

interface Opened {
  readonly journal: Journal;
  readonly decided: Decided;
  readonly newestAt: number;
  /** Filled in by the log: nothing is appended before. */
  readonly listeners: Listeners;
}

const silent = (fold: Fold): Listeners => ({ written: () => undefined, failed: () => undefined, snapshot: (after) => fold.snapshot(after) });

class Fold {
  decided: Decided;
  newestAt = 0;
  readonly #options: LogOptions;

  constructor(options: LogOptions) {
    this.decided = nothingDecided(options.sessionId);
    this.#options = options;
  }

  restore(snapshot: unknown, seq: number): boolean {
    const restored = fromSnapshot(snapshot, { sessionId: this.#options.sessionId, seq });
    if (restored === null) return false;
    this.decided = restored.decided;
    this.newestAt = restored.at;
    return true;
  }

  visit(frame: Frame): void {
    this.#options.counters.framesDecoded += 1;
    this.newestAt = frame.at;
    this.decided = decide(this.decided, frame);
  }

  snapshot(seq: number): unknown {
    this.decided = { ...this.decided, state: { ...this.decided.state, seq } };
    return snapshotOf(this.decided, this.newestAt);
  }
}

const journalOptions = ({ disk, directory, limits, clock, report }: LogOptions): JournalOptions => ({
  disk,
  directory,
  limits,
  report,
  now: () => clock.now(),
});

async function openJournal(options: LogOptions, cut?: Journal["cutPoint"]): Promise<{ opened: Opened; damage: string }> {
  const fold = new Fold(options);
  const listeners = silent(fold);
  const { journal, damage } = await Journal.open(journalOptions(options), {
    fold,
    events: {
      written: (frames) => listeners.written(frames),
      failed: (error) => listeners.failed(error),
      snapshot: (after) => listeners.snapshot(after),
    },
    setAside: options.setAside,
    ...(options.isNew && { isNew: true }),
    ...(cut && { cut }),
  });
  return { opened: { journal, decided: fold.decided, newestAt: fold.newestAt, listeners }, damage };
}
