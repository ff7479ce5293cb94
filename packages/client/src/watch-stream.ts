import type { Auth, HostFrame, SessiondError, VerbInput, WatchItem } from "@sessiond/shared";
import type { Door } from "./door.ts";
import { isWorthRepeating } from "./host-key.ts";
import { KeptStream, type StreamWatcher } from "./kept-stream.ts";
import type { Call } from "./link.ts";
import { foldHostFrames, listed, type WatchedSessions } from "./watched-session.ts";

/**
 * The stream of `watch_sessions`. Owns the folded list. Its numbers are those of one boot of
 * the daemon: another one knows nothing of our cursor and gives its list instead.
 */
export interface WatchWatcher extends StreamWatcher {
  /** `sessions` has it, and perhaps more: a batch is folded whole. */
  frame?(frame: HostFrame): void;
  /** The list was replaced, not reached by frames. */
  list?(): void;
}

export type WatchStreamFilter = NonNullable<VerbInput<"watch_sessions">["filter"]>;

export class WatchStream extends KeptStream<"watch_sessions", WatchWatcher> {
  sessions: WatchedSessions = new Map();
  /** Of the newest event in `sessions`; another boot begins anew. */
  seq = 0;
  readonly #filter: WatchStreamFilter | undefined;
  readonly #auth: Auth;
  /** What was shown on this connection. */
  #shown: string | undefined;

  constructor(door: Door, auth: Auth, filter: WatchStreamFilter | undefined) {
    super(door, "watch_sessions");
    this.#auth = auth;
    this.#filter = filter;
  }

  protected override input(): Call<"watch_sessions"> {
    this.#shown = this.#auth.host_key;
    return { filter: this.#filter, cursor: this.cursor, auth: this.#auth };
  }

  protected override isFinal(error: SessiondError): boolean {
    return super.isFinal(error) && !isWorthRepeating(error, this.#auth, this.#shown);
  }

  protected override take(item: WatchItem): void {
    if (item.type === "resumed") return;
    if (item.type === "list") {
      this.sessions = listed(item.sessions);
      this.seq = Number(item.cursor.slice(item.cursor.lastIndexOf(":") + 1));
      this.tell((watcher) => watcher.list?.());
      return;
    }
    const frames = item.frames.filter(({ seq }) => seq > this.seq);
    const last = frames.at(-1);
    if (last === undefined) return;
    this.sessions = foldHostFrames(this.sessions, frames);
    this.seq = last.seq;
    for (const frame of frames) this.tell((watcher) => watcher.frame?.(frame));
  }
}
