import {
  emptyState,
  limits,
  reduce,
  SessiondError,
  type AttachItem,
  type Auth,
  type Fault,
  type Frame,
  type Role,
  type Seat as SeatFacts,
  type SessionState,
} from "@sessiond/shared";
import { Backoff } from "./backoff.ts";
import { callLimit, orAborted, type CallOptions } from "./call-limit.ts";
import type { Door } from "./door.ts";
import { isLinkLost } from "./exchange.ts";
import type { Link } from "./link.ts";
import type { ResetCause } from "./seat-events.ts";

/**
 * One seat's stream, on a connection of its own, taken up again as often as it breaks.
 *
 * Owns the folded state and the cursor. Each frame reaches the watchers once, in order,
 * with `state` already including it: what the daemon sends again after a reconnect is
 * recognised by its seq. No watcher holds it up. Ends for good when detached, when the
 * session's life ends, or with an error that the table says never to retry.
 */
export interface StreamWatcher {
  frame?(frame: Frame): void;
  /** The state was replaced, not reached by frames. */
  snapshot?(state: SessionState, reset: ResetCause | undefined): void;
  /** After each batch, and when the connection or the fault changes. */
  changed?(): void;
  /** Once: null when detached. */
  ended?(error: SessiondError | null): void;
}

export interface SeatRequest {
  readonly sessionId: string;
  readonly role: Role;
  readonly label: string;
  readonly fallback?: "viewer" | undefined;
  /** Token and seat secret: the same on every connection, so that the seat is resumed. */
  readonly auth: Auth;
}

export type SeatConnection = "live" | "reconnecting" | "ended";

export class SeatStream {
  state: SessionState;
  cursor: string | undefined;
  /** Newest seq that the daemon shows, whether it has reached us or not. */
  head = 0;
  /** Null where no seat is taken: a viewer of a session that is stopped or cannot write. */
  seat: SeatFacts | null = null;
  fault: Fault | undefined;
  connection: SeatConnection = "reconnecting";
  /** Undefined until it has ended. */
  end: SessiondError | null | undefined;

  readonly #door: Door;
  readonly #request: SeatRequest;
  readonly #watchers = new Set<StreamWatcher>();
  readonly #closing = new AbortController();
  #link: Link | null = null;
  #leaving = false;
  #seated: (() => void) | null = null;

  constructor(door: Door, request: SeatRequest) {
    this.#door = door;
    this.#request = request;
    this.state = emptyState(request.sessionId);
  }

  /** Resolves with the first snapshot. @throws SessiondError: the daemon's refusal, `timeout`, `cancelled`; the stream has then ended */
  async open({ timeoutMs, signal }: CallOptions): Promise<void> {
    const limit = callLimit(timeoutMs ?? limits.call_timeout_ms, signal);
    try {
      const seated = new Promise<void>((resolve, reject) => {
        this.#seated = resolve;
        this.watch({ ended: (error) => reject(error ?? new SessiondError("cancelled")) });
      });
      void this.#run();
      await orAborted(seated, limit.signal);
    } catch (error) {
      this.close();
      throw error;
    } finally {
      limit.release();
    }
  }

  /** @returns what ends the watching */
  watch(watcher: StreamWatcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** The daemon is about to be told goodbye: however the stream ends now, it is not taken up again. */
  leave(): void {
    this.#leaving = true;
  }

  close(): void {
    this.#finish(null);
  }

  async #run(): Promise<void> {
    const backoff = new Backoff();
    while (this.end === undefined) {
      const before = this.cursor;
      const error = await this.#once();
      if (this.#leaving) return this.#finish(null);
      if (error === null && this.state.life_state === "stopped") return this.#finish(new SessiondError("session_stopped"));
      if (error !== null && this.#isFinal(error)) return this.#finish(error);
      if (error !== null) this.#door.heard(error);
      this.#become("reconnecting");
      if (this.cursor !== before) backoff.reset();
      await backoff.wait(this.#closing.signal).catch(() => undefined);
    }
  }

  /** Before the seat was taken every refusal is the caller's; after that only what the table calls hopeless. */
  #isFinal(error: SessiondError): boolean {
    if (isLinkLost(error)) return false;
    return this.cursor === undefined || error.retry === "never";
  }

  /** One connection's worth. @returns why it ended, null when the daemon completed the stream */
  async #once(): Promise<SessiondError | null> {
    let link: Link | null = null;
    try {
      const opened = (link = await this.#door.open({ signal: this.#closing.signal }));
      if (this.#leaving || this.#closing.signal.aborted) return null;
      this.#link = opened;
      const { sessionId, role, label, fallback, auth } = this.#request;
      return await new Promise<SessiondError | null>((resolve) => {
        opened.subscribe(
          "attach",
          { session_id: sessionId, role, label, fallback, cursor: this.cursor, auth },
          { data: (item) => this.#take(item), ended: resolve },
        );
      });
    } catch (error) {
      return error instanceof SessiondError ? error : new SessiondError("internal", {}, { cause: error });
    } finally {
      this.#link = null;
      link?.close();
    }
  }

  #take(item: AttachItem): void {
    if (this.end !== undefined) return;
    if (item.type === "batch") {
      for (const frame of item.frames) this.#fold(frame);
    } else if (item.type === "snapshot") {
      this.state = item.snapshot;
      this.#tell((watcher) => watcher.snapshot?.(item.snapshot, item.reset));
    }
    if (item.type !== "batch") this.seat = item.seat;
    this.cursor = item.cursor;
    this.head = item.head;
    this.fault = item.fault;
    this.connection = "live";
    this.#seated?.();
    this.#seated = null;
    this.#tell((watcher) => watcher.changed?.());
  }

  #fold(frame: Frame): void {
    if (frame.seq <= this.state.seq) return;
    this.state = reduce(this.state, frame);
    this.#tell((watcher) => watcher.frame?.(frame));
  }

  #become(connection: SeatConnection): void {
    if (this.end !== undefined || this.connection === connection) return;
    this.connection = connection;
    this.#tell((watcher) => watcher.changed?.());
  }

  #finish(error: SessiondError | null): void {
    if (this.end !== undefined) return;
    this.end = error;
    this.connection = "ended";
    this.#closing.abort(new SessiondError("cancelled"));
    this.#link?.close();
    this.#tell((watcher) => watcher.ended?.(error));
    this.#tell((watcher) => watcher.changed?.());
  }

  /** A watcher's own failure is reported where uncaught errors are, and stops neither the fold nor the others. */
  #tell(each: (watcher: StreamWatcher) => void): void {
    for (const watcher of this.#watchers) {
      try {
        each(watcher);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
