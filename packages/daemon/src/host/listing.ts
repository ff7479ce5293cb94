import type { SessionListing } from "@sessiond/shared";
import type { Session } from "../session/session.ts";
import type { RegistryEntry } from "./registry-file.ts";

/** One session as a list shows it; of one that is not in memory only what the registry knows. */
export function listingOf(entry: RegistryEntry, session: Session | undefined): SessionListing {
  const base = { session_id: entry.id, workdir: entry.workdir, stable: entry.stable, created_at: entry.created_at };
  if (session === undefined) return { ...base, life_state: entry.stopped ? "stopped" : "resting" };
  if (session.atRest) return { ...base, life_state: "resting" };
  const state = session.log.shown.state;
  const driver = state.seats.find((seat) => seat.role === "driver")?.label;
  const fault = session.log.room.fault;
  return {
    ...base,
    life_state: state.life_state,
    status: state.status,
    seats: state.seats.length,
    approvals: state.approvals.map(({ approval_id, tool, asked_at }) => ({ approval_id, tool, asked_at })),
    title: state.title,
    starred: state.starred,
    model: state.model,
    status_since: state.status_since,
    ...(driver !== undefined && { driver }),
    ...(fault && { fault }),
  };
}
