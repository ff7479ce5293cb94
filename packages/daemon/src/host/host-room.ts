import {
  hostEventSchema,
  SessiondError,
  type HostEvent,
  type HostFrame,
  type Limits,
  type SessionId,
  type SessionListing,
  type WatchItem,
} from "@sessiond/shared";
import type { Clock } from "../clock.ts";
import { Bell } from "../room/bell.ts";
import { EncodedFrames } from "../room/encoded-frames.ts";
import type { Reader } from "../session/attach.ts";
import type { Reach } from "./reach.ts";
import type { RegistryEntry } from "./registry-file.ts";

/**
 * Room `host`: what happens to all sessions, for those who watch them. Numbered from 1 for one
 * boot of the daemon, and kept in memory alone, a window of it.
 *
 * A reader is a cursor, as in a session's room: it begins with the list, taken in the same step
 * as its cursor, and goes on at its own pace; one that the window has passed by gets the list again.
 */
export interface HostRoomOptions {
  /** The boot id: a cursor of another boot is worth nothing. */
  readonly epoch: string;
  readonly clock: Clock;
  readonly limits: Limits;
  /** Those within reach, as they are now. */
  list(reach: Reach): SessionListing[];
}

/** Of the sessions that fulfil all of it. */
export interface WatchFilter {
  readonly reach: Reach;
  readonly sessionIds?: ReadonlySet<SessionId>;
  readonly workdir?: string;
}

export type WatchOutput =
  | Exclude<WatchItem, { type: "batch" }>
  | { readonly type: "batch"; readonly cursor: string; readonly head: number; readonly frames: EncodedFrames };

/** What decides who may see a session; it does not change while the session exists. */
type Place = Pick<RegistryEntry, "workdir" | "key_id">;

interface Kept {
  readonly sessionId: SessionId;
  readonly place: Place;
  /** Encoded once, for all readers. */
  readonly text: string;
}

interface Taken {
  readonly last: number;
  readonly frames: EncodedFrames;
}

export class HostRoom {
  readonly #options: HostRoomOptions;
  /** The newest events; the last one's seq is `#head`. */
  #window: Kept[] = [];
  #head = 0;
  #end: SessiondError | null = null;
  readonly #bell = new Bell();
  /** Readers without a filter who stand at the same place share one batch. */
  #latest: (Taken & { readonly after: number }) | null = null;

  constructor(options: HostRoomOptions) {
    this.#options = options;
  }

  publish({ workdir, key_id }: Place, event: HostEvent): void {
    this.#head += 1;
    // Parsed, so that nothing leaves that the table does not name.
    const frame: HostFrame = { seq: this.#head, at: this.#options.clock.now(), event: hostEventSchema.parse(event) };
    this.#window.push({ sessionId: event.session_id, place: { workdir, ...(key_id !== undefined && { key_id }) }, text: JSON.stringify(frame) });
    if (this.#window.length > this.#options.limits.host_window_events_max) this.#window.shift();
    this.#bell.ring();
  }

  /** Nothing comes any more: readers get what is there, then the error. */
  end(error: SessiondError): void {
    this.#end ??= error;
    this.#bell.ring();
  }

  /**
   * The list or `resumed`, then what changes, until `reader.signal` aborts.
   *
   * @throws  what the room ended with, or the signal's reason when it is a SessiondError
   * Cost: a number a reader; memory does not grow with readers, fast or slow.
   */
  async *watch(filter: WatchFilter, cursor: string | undefined, { signal, ready }: Reader): AsyncGenerator<WatchOutput> {
    // Its credential may have ended on the way here: then there is no list for it either.
    if (signal.reason instanceof SessiondError) throw signal.reason;
    const refused = cursor === undefined ? null : this.#judge(cursor);
    let after = this.#head;
    if (cursor !== undefined && refused === null) {
      after = seqOf(cursor);
      yield { type: "resumed", cursor, head: this.#head };
    } else {
      yield this.#listed(filter, refused);
    }
    for (;;) {
      await ready();
      if (signal.aborted) break;
      if (after < this.#passed) {
        after = this.#head;
        yield this.#listed(filter, "too_old");
      } else if (after < this.#head) {
        const { last, frames } = this.#take(after, filter);
        after = last;
        if (frames.texts.length > 0) yield { type: "batch", cursor: this.#cursor(after), head: this.#head, frames };
      } else if (this.#end !== null) {
        throw this.#end;
      } else {
        await this.#bell.rung(signal);
      }
    }
    if (signal.reason instanceof SessiondError) throw signal.reason;
  }

  /** Seq of the newest event that is not kept any more. */
  get #passed(): number {
    return this.#head - this.#window.length;
  }

  #cursor(seq: number): string {
    return `${this.#options.epoch}:${seq}`;
  }

  #judge(cursor: string): "unknown_epoch" | "beyond_end" | "too_old" | null {
    if (!cursor.startsWith(`${this.#options.epoch}:`)) return "unknown_epoch";
    if (seqOf(cursor) > this.#head) return "beyond_end";
    return seqOf(cursor) < this.#passed ? "too_old" : null;
  }

  #listed(filter: WatchFilter, reset: "unknown_epoch" | "beyond_end" | "too_old" | null): WatchOutput {
    const sessions = this.#options.list(filter.reach).filter((session) => chosen(filter, session.session_id, session.workdir));
    return { type: "list", cursor: this.#cursor(this.#head), head: this.#head, sessions, ...(reset !== null && { reset }) };
  }

  #take(after: number, filter: WatchFilter): Taken {
    const all = filter.sessionIds === undefined && filter.workdir === undefined && filter.reach.roots === null;
    if (all && this.#latest?.after === after && this.#latest.last === this.#head) return this.#latest;
    const from = after - this.#passed;
    const { batch_frames_max, batch_bytes_max } = this.#options.limits;
    let chars = 0;
    let to = from;
    for (; to < this.#window.length && to < from + batch_frames_max && (to === from || chars < batch_bytes_max); to++)
      chars += this.#window[to]?.text.length ?? 0;
    const kept = this.#window.slice(from, to);
    const visible = kept.filter(({ sessionId, place }) => filter.reach.sees(place) && chosen(filter, sessionId, place.workdir));
    const texts = visible.map(({ text }) => text);
    const taken = { after, last: after + kept.length, frames: new EncodedFrames(texts) };
    if (all) this.#latest = taken;
    return taken;
  }
}

const seqOf = (cursor: string): number => Number(cursor.slice(cursor.lastIndexOf(":") + 1));

const chosen = ({ sessionIds, workdir }: WatchFilter, id: SessionId, of: string): boolean =>
  (sessionIds === undefined || sessionIds.has(id)) && (workdir === undefined || workdir === of);
