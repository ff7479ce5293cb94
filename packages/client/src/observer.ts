import type { SessionInfo } from "@sessiond/shared";
import type { CallOptions } from "./call-limit.ts";
import type { SessionFilter, SessionList } from "./host.ts";
import { SessionWatch, type WatchFilter, type WatchParts } from "./session-watch.ts";

/** The daemon for whoever may only look: an extension can be given this and cannot do more with it. */
export class HostObserver {
  readonly #parts: WatchParts;

  constructor(parts: WatchParts) {
    this.#parts = parts;
  }

  /** Live and stored sessions, newest first, a page at a time. */
  list({ workdir, lifeState, after, limit }: SessionFilter = {}, options: CallOptions = {}): Promise<SessionList> {
    return this.#parts.calls.call("list_sessions", { workdir, life_state: lifeState, after, limit }, this.#parts.auth, options);
  }

  /** Status and facts of one session; wakes a resting one. @throws SessiondError `not_found` */
  info(sessionId: string, options: CallOptions = {}): Promise<SessionInfo> {
    return this.#parts.calls.call("session_info", { session_id: sessionId }, this.#parts.auth, options);
  }

  /** Begins to watch all sessions, or those of the filter; close it when it is not needed any more. */
  watch(filter: WatchFilter = {}): SessionWatch {
    return new SessionWatch(this.#parts, filter);
  }
}
