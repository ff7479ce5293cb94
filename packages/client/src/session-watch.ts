import { limits, type Auth, type SessiondError } from "@sessiond/shared";
import type { Connection } from "./connection.ts";
import type { StreamConnection } from "./kept-stream.ts";
import { OneReader } from "./one-reader.ts";
import { WatchQueue, type WatchEvent } from "./watch-queue.ts";
import type { WatchedSessions } from "./watched-session.ts";
import { WatchStream } from "./watch-stream.ts";

export interface WatchFilter {
  /** Only these; at most 64. */
  readonly sessionIds?: readonly string[] | undefined;
  /** Only those of this directory, however it is written. */
  readonly workdir?: string | undefined;
}

/** What a watch is made of; the library's own business. */
export interface WatchParts {
  readonly calls: Connection;
  readonly auth: Auth;
  /** For tests: what a reader may leave untaken. */
  readonly queueMax?: number;
}

/**
 * All sessions, or those of a filter, as they change: that something happened and where, never
 * what was said. It takes no seat and wakes nothing, and survives lost links and restarts of
 * the daemon by itself. It has begun when it is given; `sessions` is empty until the list is there.
 */
export class SessionWatch {
  /**
   * The list, then every event after it; another list where events could not be had one by
   * one: from another boot of the daemon, or because this reader left more than
   * `client_events_max` of them untaken. One reader at a time; each begins with the list as it
   * is then. Ends after `close`; throws the SessiondError that ended the watch otherwise.
   */
  readonly events: AsyncIterable<WatchEvent>;
  /** Resolves when the watch is over: null after `close`, else the reason. Never rejects. */
  readonly ended: Promise<SessiondError | null>;
  readonly #stream: WatchStream;

  constructor({ calls, auth, queueMax = limits.client_events_max }: WatchParts, { sessionIds, workdir }: WatchFilter = {}) {
    const filter = { ...(sessionIds && { session_ids: [...sessionIds] }), ...(workdir !== undefined && { workdir }) };
    const stream = (this.#stream = new WatchStream(calls.door, auth, sessionIds === undefined && workdir === undefined ? undefined : filter));
    this.ended = stream.over;
    this.events = new OneReader(() => {
      const queue = new WatchQueue(stream, queueMax);
      const leave = stream.watch(queue);
      return {
        ready: () => queue.ready(),
        take: () => queue.take(),
        close: () => {
          leave();
          queue.close();
        },
      };
    });
    const close = (): void => stream.close();
    calls.closed.addEventListener("abort", close, { once: true });
    stream.watch({ ended: () => calls.closed.removeEventListener("abort", close) });
    if (calls.closed.aborted) stream.close();
    else stream.start();
  }

  /** By id. Folded from the list and the events; never mutated, so a reference stays what it was. */
  get sessions(): WatchedSessions {
    return this.#stream.sessions;
  }

  /** False until the first list has come. */
  get listed(): boolean {
    return this.#stream.cursor !== undefined;
  }

  get connection(): StreamConnection {
    return this.#stream.connection;
  }

  /** Calls back after each change of `sessions` or `connection`, once a batch. @returns what ends it */
  onChange(listener: () => void): () => void {
    return this.#stream.watch({ changed: listener });
  }

  /** Resolves at the next such change; at once when the watch is over. */
  changed(): Promise<void> {
    return this.#stream.changed();
  }

  /** Never fails. */
  close(): void {
    this.#stream.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}
