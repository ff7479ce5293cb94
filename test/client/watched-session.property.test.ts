import fc from "fast-check";
import { expect, test } from "vitest";
import { emptyState, reduce, type HostEvent, type HostFrame, type SessionListing, type SessionState } from "@sessiond/shared";
import { foldHostFrames, listed, type WatchedSessions } from "../../packages/client/src/watched-session.ts";
import { changes } from "../../packages/daemon/src/host/changes.ts";
import { legalFrames } from "../support/legal-frames.ts";

/** The law of a watch: its list with the daemon's events folded in is the list that the daemon would give now. */
const base = { workdir: "/w", stable: true, created_at: 0 };

function listingOf(state: SessionState): SessionListing {
  const { session_id, life_state, status, status_since, title, starred, model, approvals, seats } = state;
  if (life_state === "stopped") return { ...base, session_id, life_state };
  const driver = seats.find(({ role }) => role === "driver")?.label;
  const open = approvals.map(({ approval_id, tool, asked_at }) => ({ approval_id, tool, asked_at }));
  return {
    ...base,
    session_id,
    life_state,
    status,
    status_since,
    title,
    starred,
    model,
    approvals: open,
    seats: seats.length,
    ...(driver !== undefined && { driver }),
  };
}

/** Two lives' worth of frames of several sessions, and where their batches are cut. */
const sessions = fc.array(legalFrames(60), { minLength: 1, maxLength: 3 });

test("B31 a watch's list and the events since, however batched, fold to the list there is then, and what was given stays", () => {
  fc.assert(
    fc.property(sessions, fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }), (all, sizes) => {
      const states = new Map<string, SessionState>();
      const events: HostEvent[] = [];
      // What the daemon tells of each, frame by frame.
      for (const [index, frames] of all.entries()) {
        const session_id = `ses_${String(index).repeat(22)}`;
        let state = emptyState(session_id);
        for (const frame of frames) {
          const before = state;
          state = reduce(state, frame);
          if (frame.event.type === "session_started") events.push({ type: "session_started", session_id, session: listingOf(state) });
          else events.push(...changes({ state: before, fault: undefined }, { state, fault: undefined }));
        }
        states.set(session_id, state);
      }
      let folded: WatchedSessions = new Map();
      const given: { before: WatchedSessions; copy: string }[] = [];
      for (let from = 0, batch = 0; from < events.length; batch++) {
        const size = sizes[batch % sizes.length] ?? 1;
        const frames = events.slice(from, from + size).map((event, at): HostFrame => ({ seq: from + at + 1, at: 0, event }));
        given.push({ before: folded, copy: JSON.stringify([...folded]) });
        folded = foldHostFrames(folded, frames);
        from += size;
      }
      const now = listed([...states.values()].filter(({ seq }) => seq > 0).map(listingOf));
      expect(Object.fromEntries(folded)).toEqual(Object.fromEntries(now));
      for (const { before, copy } of given) expect(JSON.stringify([...before])).toBe(copy);
    }),
    { numRuns: 60 },
  );
});

test("B31 a rest, a fault and its end, and a deletion are folded; of a session that is not in the list nothing is made up", () => {
  const state: SessionState = { ...emptyState(`ses_${"0".repeat(22)}`), life: 1, life_state: "live", workdir: "/w" };
  const { session_id } = state;
  const live = listed([listingOf(state)]);
  const fold = (from: WatchedSessions, ...events: HostEvent[]) =>
    foldHostFrames(
      from,
      events.map((event, at) => ({ seq: at + 1, at: 0, event })),
    );
  const fault = { code: "storage_failed" as const, reason: "EIO", since: 1 };
  const faulted = fold(live, { type: "session_faulted", session_id, fault });
  expect(faulted.get(session_id)).toEqual({ ...live.get(session_id), fault });
  expect(fold(faulted, { type: "session_faulted", session_id, fault: null })).toEqual(live);
  expect(fold(live, { type: "session_resting", session_id }).get(session_id)).toEqual({ ...base, session_id, life_state: "resting" });
  expect(fold(live, { type: "session_deleted", session_id }).size).toBe(0);
  const unknown = `ses_${"9".repeat(22)}`;
  expect(fold(live, { type: "status_changed", session_id: unknown, status: "thinking", since: 1 })).toEqual(live);
  expect("seats" in (live.get(session_id) ?? {})).toBe(false);
});
