import { isSessiondError, limits, SessiondError, type VerbName, type VerbOutput, type Verbs } from "@sessiond/shared";
import { askedToWait, Backoff } from "./backoff.ts";
import { callLimit, orAborted, type CallOptions } from "./call-limit.ts";
import type { Door } from "./door.ts";
import { isLinkLost } from "./exchange.ts";
import type { Call, Link } from "./link.ts";

/**
 * One subscription on a connection of its own, taken up again as often as it breaks, from
 * the cursor that was reached. What its items mean is the subclass's business; when it is
 * live, lost or over is decided here. No watcher holds it up, and none can break it.
 */
export interface StreamWatcher {
  /** After each item, and when the connection changes. */
  changed?(): void;
  /** Once: null when it was closed on this side. */
  ended?(error: SessiondError | null): void;
}

export type StreamConnection = "live" | "reconnecting" | "ended";

export type StreamVerb = { [V in VerbName]: Verbs[V]["kind"] extends "subscription" ? V : never }[VerbName];

export abstract class KeptStream<V extends StreamVerb, W extends StreamWatcher> {
  /** Of the last item; undefined until there was one. */
  cursor: string | undefined;
  connection: StreamConnection = "reconnecting";
  /** How often it has become live. */
  connects = 0;
  /** Undefined until it has ended. */
  end: SessiondError | null | undefined;
  /** Resolves with `end`; never rejects. */
  readonly over: Promise<SessiondError | null>;

  protected readonly watchers = new Set<W | StreamWatcher>();
  readonly #door: Door;
  readonly #verb: V;
  readonly #closing = new AbortController();
  #link: Link | null = null;
  #leaving = false;
  /** Why the last connection ended. */
  #refusal: SessiondError | null = null;
  #running = false;

  constructor(door: Door, verb: V) {
    this.#door = door;
    this.#verb = verb;
    this.over = new Promise((resolve) => this.watch({ ended: resolve }));
  }

  /** What is asked for on the next connection. */
  protected abstract input(): Call<V>;
  protected abstract take(item: VerbOutput<V>): void;

  /** The daemon completed the stream: what that ends it with, or null to take it up again. */
  protected completed(): SessiondError | null {
    return null;
  }

  /** A refusal after which asking again is hopeless. */
  protected isFinal(error: SessiondError): boolean {
    return error.retry === "never";
  }

  start(): void {
    if (this.#running || this.end !== undefined) return;
    this.#running = true;
    void this.#run();
  }

  /** Starts; resolves with the first item. @throws SessiondError: the daemon's refusal, `timeout`, `cancelled`; the stream has then ended */
  async open({ timeoutMs, signal }: CallOptions): Promise<void> {
    const limit = callLimit(timeoutMs ?? limits.call_timeout_ms, signal);
    try {
      this.start();
      while (this.cursor === undefined) {
        if (this.end !== undefined) throw this.end ?? new SessiondError("cancelled");
        await orAborted(this.changed(), limit.signal);
      }
    } catch (error) {
      this.close();
      // That it was one too many says more than that the time is over.
      throw isSessiondError(error, "timeout") && askedToWait(this.#refusal) > 0 ? this.#refusal : error;
    } finally {
      limit.release();
    }
  }

  /** @returns what ends the watching */
  watch(watcher: W | StreamWatcher): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  /** Resolves at the next change; at once when the stream has ended. */
  changed(): Promise<void> {
    if (this.end !== undefined) return Promise.resolve();
    return new Promise((resolve) => {
      const leave = this.watch({
        changed: () => {
          leave();
          resolve();
        },
      });
    });
  }

  /** The daemon is about to be told goodbye: however the stream ends now, it is not taken up again. */
  leave(): void {
    this.#leaving = true;
  }

  close(): void {
    this.#finish(null);
  }

  /** A watcher's own failure is reported where uncaught errors are, and stops neither the stream nor the others. */
  protected tell(each: (watcher: Partial<W>) => void): void {
    for (const watcher of this.watchers) {
      try {
        each(watcher as Partial<W>);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  async #run(): Promise<void> {
    const backoff = new Backoff();
    while (this.end === undefined) {
      const before = this.cursor;
      const error = await this.#once();
      this.#refusal = error;
      if (this.#leaving) return this.#finish(null);
      if (error === null) {
        const end = this.completed();
        if (end !== null) return this.#finish(end);
      } else {
        if (!isLinkLost(error) && this.isFinal(error)) return this.#finish(error);
        this.#door.heard(error);
      }
      this.#become("reconnecting");
      if (this.cursor !== before) backoff.reset();
      await backoff.wait(this.#closing.signal, askedToWait(error)).catch(() => undefined);
    }
  }

  /** One connection's worth. @returns why it ended, null when the daemon completed the stream */
  async #once(): Promise<SessiondError | null> {
    let link: Link | null = null;
    try {
      const opened = (link = await this.#door.open({ signal: this.#closing.signal }));
      if (this.#leaving || this.#closing.signal.aborted) return null;
      this.#link = opened;
      return await new Promise<SessiondError | null>((resolve) => {
        // Until its first item it is a call, and a call that nobody answers is over some time; then only the link's silence says so.
        const first = callLimit(limits.call_timeout_ms);
        first.signal.addEventListener("abort", () => resolve(first.signal.reason as SessiondError));
        opened.subscribe(this.#verb, this.input(), {
          data: (item) => {
            first.release();
            this.#received(item);
          },
          ended: (error) => {
            first.release();
            resolve(error);
          },
        });
      });
    } catch (error) {
      return error instanceof SessiondError ? error : new SessiondError("internal", {}, { cause: error });
    } finally {
      this.#link = null;
      link?.close();
    }
  }

  #received(item: VerbOutput<V>): void {
    if (this.end !== undefined) return;
    this.take(item);
    this.cursor = item.cursor;
    if (this.connection !== "live") this.connects++;
    this.connection = "live";
    this.#changed();
  }

  #become(connection: StreamConnection): void {
    if (this.end !== undefined || this.connection === connection) return;
    this.connection = connection;
    this.#changed();
  }

  #finish(error: SessiondError | null): void {
    if (this.end !== undefined) return;
    this.end = error;
    this.connection = "ended";
    this.#closing.abort(new SessiondError("cancelled"));
    this.#link?.close();
    this.tell((watcher) => watcher.ended?.(error));
    this.#changed();
  }

  #changed(): void {
    this.tell((watcher) => watcher.changed?.());
  }
}
