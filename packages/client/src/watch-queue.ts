import type { HostFrame, SessiondError } from "@sessiond/shared";
import type { Reading } from "./one-reader.ts";
import type { WatchedSession } from "./watched-session.ts";
import type { WatchStream, WatchWatcher } from "./watch-stream.ts";

/** First the list, then what happens. A further `list` stands for events that this reader did not get one by one. */
export type WatchEvent = { readonly type: "list"; readonly sessions: readonly WatchedSession[] } | { readonly type: "event"; readonly frame: HostFrame };

/**
 * What one reader of a watch has not taken yet. It holds up nobody: of events that are
 * numbered in the daemon's memory alone there are no pages to read later, so a reader with
 * `max` of them waiting loses these and gets the list, as it is when it comes for it.
 */
export class WatchQueue implements WatchWatcher, Reading<WatchEvent> {
  readonly #stream: WatchStream;
  readonly #max: number;
  #events: WatchEvent[] = [];
  /** The next to be taken is the list; nothing is queued before that. */
  #listDue = false;
  /** The newest event that the reader's list has. */
  #seq: number;
  #end: SessiondError | null | undefined;
  #wake: () => void = () => undefined;

  constructor(stream: WatchStream, max: number) {
    this.#stream = stream;
    this.#max = max;
    this.#seq = stream.seq;
    this.#end = stream.end;
    if (stream.cursor !== undefined) this.#listDue = true;
  }

  frame(frame: HostFrame): void {
    if (this.#listDue || frame.seq <= this.#seq) return;
    if (this.#events.length < this.#max) this.#push({ type: "event", frame });
    else this.#fall();
  }

  list(): void {
    this.#seq = this.#stream.seq;
    if (this.#listDue) return;
    if (this.#events.at(-1)?.type === "list") this.#events.pop();
    if (this.#events.length < this.#max) this.#push(this.#listNow());
    else this.#fall();
  }

  ended(error: SessiondError | null): void {
    this.#end ??= error;
    this.#wake();
  }

  close(): void {
    this.#events = [];
    this.#listDue = false;
    this.#end = null;
    this.#wake();
  }

  ready(): WatchEvent | null {
    return this.#events.shift() ?? null;
  }

  async take(): Promise<WatchEvent | null> {
    for (;;) {
      const event = this.ready();
      if (event !== null) return event;
      if (this.#listDue) {
        this.#listDue = false;
        return this.#listNow();
      }
      if (this.#end === null) return null;
      if (this.#end !== undefined) throw this.#end;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #listNow(): WatchEvent {
    this.#seq = this.#stream.seq;
    return { type: "list", sessions: [...this.#stream.sessions.values()] };
  }

  #fall(): void {
    this.#events = [];
    this.#listDue = true;
    this.#wake();
  }

  #push(event: WatchEvent): void {
    this.#events.push(event);
    this.#wake();
  }
}
