import type { Fault, HostEvent, SessionState } from "@sessiond/shared";
import type { SessionLog } from "../session/session-log.ts";

/**
 * What a watcher of all sessions is told of one: the difference between two states that were
 * shown. It names what happened and where, never what was put in or came out.
 */
export interface Seen {
  readonly state: SessionState;
  readonly fault: Fault | undefined;
}

export const seenOf = (log: SessionLog): Seen => ({ state: log.shown.state, fault: log.room.fault });

/**
 * Pure. What began and ended between the two is not told.
 *
 * Cost: a few comparisons for a state that only grew in its messages.
 */
export function changes(before: Seen, after: Seen): HostEvent[] {
  return [...faultChanges(before, after), ...stateChanges(before.state, after.state)];
}

function faultChanges(before: Seen, after: Seen): HostEvent[] {
  if (before.fault === after.fault) return [];
  return [{ type: "session_faulted", session_id: after.state.session_id, fault: after.fault ?? null }];
}

function stateChanges(before: SessionState, after: SessionState): HostEvent[] {
  if (before === after) return [];
  const { session_id, title, starred, model } = after;
  const events: HostEvent[] = [];
  if (before.title !== title || before.starred !== starred || before.model !== model)
    events.push({ type: "session_configured", session_id, title, starred, model });
  if (before.seats !== after.seats && driverOf(before)?.seat_id !== driverOf(after)?.seat_id)
    events.push({ type: "driver_changed", session_id, driver: driverOf(after)?.label ?? null });
  if (before.approvals !== after.approvals) events.push(...approvalChanges(before, after));
  if (before.files !== after.files) events.push(...filesTouched(before, after));
  if (before.status !== after.status || before.status_since !== after.status_since)
    events.push({ type: "status_changed", session_id, status: after.status, since: after.status_since });
  if (before.life_state !== after.life_state && after.life_state === "stopped") events.push({ type: "session_stopped", session_id });
  return events;
}

function approvalChanges(before: SessionState, after: SessionState): HostEvent[] {
  const { session_id } = after;
  const lacks = (state: SessionState, id: string) => !state.approvals.some((approval) => approval.approval_id === id);
  const closed = before.approvals.filter(({ approval_id }) => lacks(after, approval_id));
  const opened = after.approvals.filter(({ approval_id }) => lacks(before, approval_id));
  return [
    ...closed.map(({ approval_id }): HostEvent => ({ type: "approval_closed", session_id, approval_id })),
    ...opened.map(({ approval_id, tool, asked_at }): HostEvent => ({ type: "approval_pending", session_id, approval_id, tool, asked_at })),
  ];
}

function filesTouched(before: SessionState, after: SessionState): HostEvent[] {
  const { session_id } = after;
  // An entry is made anew by each call that touches its file.
  const known = new Set(before.files);
  return after.files
    .filter((file) => !known.has(file))
    .map(({ path, kind, tool_call_id }): HostEvent => ({ type: "file_touched", session_id, path, kind, tool_call_id }));
}

const driverOf = (state: SessionState) => state.seats.find((seat) => seat.role === "driver");
