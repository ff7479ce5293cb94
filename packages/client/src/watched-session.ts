import type { HostEvent, HostFrame, SessionListing } from "@sessiond/shared";

/** A session as a watcher knows it. How many seats it has is not told by events, so a watch does not say it. */
export type WatchedSession = Omit<SessionListing, "seats">;
export type WatchedSessions = ReadonlyMap<string, WatchedSession>;

export const listed = (sessions: readonly SessionListing[]): WatchedSessions => new Map(sessions.map((each) => [each.session_id, watched(each)]));

/**
 * What a list becomes by events; what was given stays as it was.
 * Law: the list at n with the events (n, m] folded in equals the list at m.
 *
 * Cost: one copy of the map a call, however many frames.
 */
export function foldHostFrames(sessions: WatchedSessions, frames: readonly HostFrame[]): WatchedSessions {
  const next = new Map(sessions);
  for (const { event } of frames) {
    const folded = fold(next.get(event.session_id), event);
    if (folded === undefined) next.delete(event.session_id);
    else next.set(event.session_id, folded);
  }
  return next;
}

/** @returns undefined: there is no such session (any more) */
function fold(session: WatchedSession | undefined, event: HostEvent): WatchedSession | undefined {
  if (event.type === "session_started") return watched(event.session);
  // Of a session that this list does not have there is nothing to change.
  if (session === undefined) return undefined;
  switch (event.type) {
    case "status_changed":
      return { ...session, status: event.status, status_since: event.since };
    case "driver_changed": {
      const { driver: _before, ...rest } = session;
      return event.driver === null ? rest : { ...rest, driver: event.driver };
    }
    case "approval_pending": {
      const { approval_id, tool, asked_at } = event;
      return { ...session, approvals: [...without(session, approval_id), { approval_id, tool, asked_at }] };
    }
    case "approval_closed":
      return { ...session, approvals: without(session, event.approval_id) };
    case "session_configured":
      return { ...session, title: event.title, starred: event.starred, model: event.model };
    case "session_faulted": {
      const { fault: _before, ...rest } = session;
      return event.fault === null ? rest : { ...rest, fault: event.fault };
    }
    case "session_resting":
      return outOfMemory(session, "resting");
    case "session_stopped":
      return outOfMemory(session, "stopped");
    case "session_deleted":
      return undefined;
    default:
      // A touched file changes no listing; nor does an event of a newer daemon.
      return session;
  }
}

const watched = ({ seats: _seats, ...session }: SessionListing): WatchedSession => session;

const without = ({ approvals = [] }: WatchedSession, approvalId: string) => approvals.filter(({ approval_id }) => approval_id !== approvalId);

/** Of one that is not in memory only this is known. */
const outOfMemory = ({ session_id, workdir, stable, created_at }: WatchedSession, life_state: "resting" | "stopped"): WatchedSession => ({
  session_id,
  workdir,
  stable,
  life_state,
  created_at,
});
