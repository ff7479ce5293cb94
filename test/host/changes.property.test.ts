import fc from "fast-check";
import { expect, test } from "vitest";
import { emptyState, reduce, type HostEvent, type SessionListing, type SessionState } from "@sessiond/shared";
import { changes } from "../../packages/daemon/src/host/changes.ts";
import { legalFrames } from "../support/legal-frames.ts";
import { fold } from "../support/watcher.ts";

/** Of what a list shows, that which frames change. */
function listed(state: SessionState): SessionListing {
  const { session_id, workdir, life_state, status, status_since, title, starred, model } = state;
  if (life_state === "stopped") return { session_id, workdir, stable: true, created_at: 0, life_state };
  const driver = state.seats.find((seat) => seat.role === "driver")?.label;
  const approvals = state.approvals.map(({ approval_id, tool, asked_at }) => ({ approval_id, tool, asked_at }));
  return {
    session_id,
    workdir,
    stable: true,
    created_at: 0,
    life_state,
    status,
    status_since,
    title,
    starred,
    model,
    approvals,
    ...(driver !== undefined && { driver }),
  };
}

test("B31 whatever a session does and however its frames are batched, a list and the changes since give the list there is then", () => {
  fc.assert(
    fc.property(legalFrames(120), fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (frames, sizes) => {
      let state = emptyState("ses_0000000000000000000000");
      const shown = new Map<string, SessionListing>();
      const touched = new Map<string, string>();
      for (let from = 0, batch = 0; from < frames.length; batch++) {
        const begins = frames[from]?.event.type === "session_started";
        const next = frames.findIndex(({ event }, at) => at > from && event.type === "session_started");
        const size = begins ? 1 : Math.min(sizes[batch % sizes.length] ?? 1, (next === -1 ? frames.length : next) - from);
        const before = state;
        for (const frame of frames.slice(from, from + size)) state = reduce(state, frame);
        from += size;
        // A life that begins is told by the host itself, with its listing.
        if (begins) shown.set(state.session_id, listed(state));
        else for (const event of changes({ state: before, fault: undefined }, { state, fault: undefined })) take(event);
        expect([...shown.values()]).toEqual([listed(state)]);
      }
      for (const { path, tool_call_id } of state.files) expect([path, touched.get(path)]).toEqual([path, tool_call_id]);

      function take(event: HostEvent): void {
        if (event.type === "file_touched") touched.set(event.path, event.tool_call_id);
        else fold(shown, event);
      }
    }),
    { numRuns: 150 },
  );
});

test("B2 a state that only says more is no change to those who watch", () => {
  const state = emptyState("ses_0000000000000000000000");
  expect(changes({ state, fault: undefined }, { state: { ...state, seq: 9, messages_chars: 5, older_before: 3 }, fault: undefined })).toEqual([]);
});
