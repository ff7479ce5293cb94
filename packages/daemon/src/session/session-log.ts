import { frameSchema, limits, SessiondError, type Frame, type SessionEvent, type SessionInfo } from "@sessiond/shared";
import { Transcript } from "../agents/transcript.ts";
import type { Clock } from "../clock.ts";
import type { Disk } from "../disk.ts";
import type { EncodedFrame } from "../room/journal-file.ts";
import { Journal } from "../room/journal.ts";
import { Room } from "../room/room.ts";
import { decide, nothingDecided, type Decided } from "./decided.ts";

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
}

export class SessionLog {
  readonly room: Room;
  decided: Decided;
  transcript: Transcript;
  /** Told once a fault, after `decided` has gone back to what is shown. */
  onFault: (error: SessiondError) => void = () => undefined;
  #shown: Decided;
  /** Decided and not yet written. */
  #unshown: { seq: number; decided: Decided }[] = [];
  #journal: Journal;
  readonly #options: LogOptions;
  readonly #writable: boolean;

  private constructor(options: LogOptions, opened: Opened, writable: boolean) {
    this.#options = options;
    this.#journal = opened.journal;
    this.#writable = writable;
    this.decided = this.#shown = opened.decided;
    this.transcript = opened.transcript;
    this.room = new Room(opened.journal, opened.decided.state.seq);
    opened.listeners.written = (frames) => this.#written(frames);
    opened.listeners.failed = (error) => this.#failed(error);
  }

  /** Open for writing, under a new epoch. @throws SessiondError storage_failed */
  static async open(options: LogOptions): Promise<{ log: SessionLog; damage: string }> {
    const { opened, damage } = await openJournal(options);
    return { log: new SessionLog(options, opened, true), damage };
  }

  /** The log of a stopped session: read, never written. */
  static async openForReading(options: LogOptions): Promise<SessionLog> {
    const fold = new Fold(options.sessionId);
    const journal = await Journal.openForReading(options.disk, options.directory, (frame) => fold.take(frame));
    return new SessionLog(options, { journal, decided: fold.decided, transcript: fold.transcript, listeners: silent() }, false);
  }

  /** What clients may see. */
  get shown(): Decided {
    return this.#shown;
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
    this.transcript.fold(frame.event);
    this.#unshown.push({ seq: frame.seq, decided: this.decided });
    return frame.seq;
  }

  /** Resolves when the frame is on disk and shown. @throws SessiondError storage_failed */
  durable(seq: number): Promise<void> {
    return this.#journal.durable(seq);
  }

  drained(): Promise<void> {
    return this.#journal.drained();
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
    opened.listeners.written = (frames) => this.#written(frames);
    opened.listeners.failed = (error) => this.#failed(error);
    this.#journal = this.room.journal = opened.journal;
    this.decided = this.#shown = opened.decided;
    this.transcript = opened.transcript;
    this.room.fault = undefined;
    void failed.close().catch(() => undefined);
  }

  /** @throws SessiondError storage_failed */
  close(): Promise<void> {
    return this.#journal.close();
  }

  #written(frames: readonly EncodedFrame[]): void {
    const last = frames.at(-1)?.seq ?? 0;
    let count = 0;
    for (let next = this.#unshown[count]; next !== undefined && next.seq <= last; next = this.#unshown[++count]) this.#shown = next.decided;
    this.#unshown = this.#unshown.slice(count);
    this.room.publish(frames);
  }

  #failed(error: SessiondError): void {
    this.#unshown = [];
    this.decided = this.#shown;
    this.room.fault = { code: "storage_failed", reason: String(error.detail["reason"]), since: this.#options.clock.now() };
    this.room.failWaiters(error);
    this.onFault(error);
  }
}

/** Facts of a session as they are shown. */
export function infoOf(log: SessionLog, createdAt: number): SessionInfo {
  const { messages: _messages, messages_chars: _chars, older_before: _older, tools_in_progress: _tools, ...state } = log.shown.state;
  const fault = log.room.fault;
  return { ...state, cursor: log.room.cursor(state.seq), created_at: createdAt, ...(fault && { fault }) };
}

interface Listeners {
  written: (frames: readonly EncodedFrame[]) => void;
  failed: (error: SessiondError) => void;
}

interface Opened {
  readonly journal: Journal;
  readonly decided: Decided;
  readonly transcript: Transcript;
  /** Filled in by the log: nothing is appended before. */
  readonly listeners: Listeners;
}

const silent = (): Listeners => ({ written: () => undefined, failed: () => undefined });

class Fold {
  decided: Decided;
  readonly transcript = new Transcript();

  constructor(sessionId: string) {
    this.decided = nothingDecided(sessionId);
  }

  take(frame: Frame): void {
    this.decided = decide(this.decided, frame);
    this.transcript.fold(frame.event);
  }
}

async function openJournal(options: LogOptions, cut?: Journal["cutPoint"]): Promise<{ opened: Opened; damage: string }> {
  const fold = new Fold(options.sessionId);
  const listeners = silent();
  const { journal, damage } = await Journal.open(options.disk, options.directory, {
    visit: (frame) => fold.take(frame),
    events: { written: (frames) => listeners.written(frames), failed: (error) => listeners.failed(error) },
    now: options.clock.now(),
    setAside: options.setAside,
    ...(cut && { cut }),
  });
  return { opened: { journal, decided: fold.decided, transcript: fold.transcript, listeners }, damage };
}
