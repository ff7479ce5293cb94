import type { HostFrame, WatchedSession } from "@sessiond/client";

import { foreignLine } from "./screen.ts";
import { homeShort, shortId } from "./which-session.ts";

/** Events of the whole daemon, a line each: when, which session, what. */
export class HostWords {
  readonly #places = new Map<string, string>();

  list(sessions: readonly WatchedSession[]): string[] {
    for (const session of sessions) this.#place(session);
    if (sessions.length === 0) return ["— no sessions yet"];
    return sessions.map((session) => {
      const { session_id, life_state, status = "idle", driver, approvals = [] } = session;
      const state = life_state === "live" ? words(status) : life_state;
      const asks = approvals.length === 0 ? "" : `, asks: ${approvals.map(({ tool }) => foreignLine(tool)).join(", ")}`;
      return `— ${shortId(session_id)}  ${state}${driver === undefined ? "" : `, driver ${foreignLine(driver)}`}${asks}  ${this.#place(session)}`;
    });
  }

  event({ at, event }: HostFrame): string[] {
    const line = (what: string): string[] => [`${clock(at)}  ${shortId(event.session_id)}  ${what}${this.#where(event.session_id)}`];
    switch (event.type) {
      case "session_started":
        this.#place(event.session);
        return line("started");
      case "status_changed":
        return line(words(event.status));
      case "driver_changed":
        return line(event.driver === null ? "nobody drives" : `driver ${foreignLine(event.driver)}`);
      case "approval_pending":
        return line(`${foreignLine(event.tool)} asks (${event.approval_id})`);
      case "approval_closed":
        return line(`question closed (${event.approval_id.slice(0, 12)})`);
      case "file_touched":
        return line(`${event.kind} ${foreignLine(event.path)}`);
      case "session_configured": {
        const title = event.title === null ? "no title" : `“${foreignLine(event.title)}”`;
        return line(`${event.starred ? "★ " : ""}${title}, model ${foreignLine(event.model) || "not set"}`);
      }
      case "session_faulted":
        return line(event.fault === null ? "writes its journal again" : `cannot write its journal: ${foreignLine(event.fault.reason)}`);
      case "session_resting":
        return line("at rest");
      case "session_stopped":
        return line("stopped");
      case "session_deleted":
        return line("deleted");
      default:
        // A newer daemon's event.
        return [];
    }
  }

  #place({ session_id, workdir }: WatchedSession): string {
    const place = homeShort(foreignLine(workdir));
    this.#places.set(session_id, place);
    return place;
  }

  #where(sessionId: string): string {
    const place = this.#places.get(sessionId);
    return place === undefined ? "" : `  ${place}`;
  }
}

const words = (status: string): string => status.replaceAll("_", " ");
const clock = (at: number): string => new Date(at).toTimeString().slice(0, 8);
