import type { SessionEvent, SessionState } from "@sessiond/client";
import { expect, test } from "vitest";
import { Orphan } from "../../packages/acp/src/orphan.ts";

const seat = (seat_id: string, role: "driver" | "viewer", connected = true) => ({ seat_id, role, connected, label: seat_id, since: 0 });
const state = (...seats: ReturnType<typeof seat>[]) => ({ turn: { turn_id: "trn_1" }, seats }) as unknown as SessionState;
const own = "seat_own";

test("B26 a turn is found without a driver where nobody drives, or his link is lost; that is told apart", () => {
  expect(Orphan.in(state(seat(own, "viewer"), seat("seat_bo", "driver")))).toBeNull();
  expect(Orphan.in({ ...state(seat(own, "viewer")), turn: null })).toBeNull();
  expect(Orphan.in(state(seat(own, "viewer")))?.nobodys).toBe(true);
  expect(Orphan.in(state(seat(own, "viewer"), seat("seat_bo", "driver", false)))?.nobodys).toBe(false);
});

test("B26 it is taken by whoever drives beside the editor, and by the driver who comes back", () => {
  const orphan = Orphan.in(state(seat(own, "viewer"), seat("seat_bo", "driver", false)));
  const taken = (event: object) => orphan?.takenBy(event as SessionEvent, own);
  expect(taken({ type: "seat_resumed", seat_id: "seat_bo" })).toBe(true);
  expect(taken({ type: "seat_resumed", seat_id: "seat_al" })).toBe(false);
  expect(taken({ type: "seat_taken", seat_id: "seat_al", role: "driver" })).toBe(true);
  expect(taken({ type: "seat_taken", seat_id: "seat_al", role: "viewer" })).toBe(false);
  expect(taken({ type: "driver_changed", from: null, to: "seat_al" })).toBe(true);
  expect(taken({ type: "driver_changed", from: null, to: own })).toBe(false);
  expect(taken({ type: "driver_changed", from: own, to: null })).toBe(false);
  // The same, where the events between were not seen.
  const takenIn = (...seats: ReturnType<typeof seat>[]) => orphan?.takenIn(state(...seats), own);
  expect(takenIn(seat(own, "viewer"), seat("seat_bo", "driver", false))).toBe(false);
  expect(takenIn(seat(own, "driver"))).toBe(false);
  expect(takenIn(seat("seat_bo", "driver"))).toBe(true);
  expect(takenIn(seat("seat_al", "driver", false))).toBe(true);
});
