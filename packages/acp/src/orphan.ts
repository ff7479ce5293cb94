import type { SessionEvent, SessionState } from "@sessiond/client";

/**
 * The turn that an editor found running when it came back to a session, without its driver. Where nobody drove it is the
 * editor's, questions and all. While the daemon still waits for a driver whose link was lost it is his, and the editor's only
 * when that one is gone and the editor drives for a prompt of its own. Once somebody else drives, it is his for good.
 */
export class Orphan {
  readonly turnId: string;
  /** The seat of the driver whose link was lost. */
  readonly #lost: string | null;

  private constructor(turnId: string, lost: string | null) {
    this.turnId = turnId;
    this.#lost = lost;
  }

  static in({ turn, seats }: SessionState): Orphan | null {
    const driver = seats.find(({ role }) => role === "driver");
    return turn === null || driver?.connected === true ? null : new Orphan(turn.turn_id, driver?.seat_id ?? null);
  }

  /** There was no driver at all, not even one that may come back. */
  get nobodys(): boolean {
    return this.#lost === null;
  }

  /** @param own  the editor's seat */
  takenBy(event: SessionEvent, own: string | null): boolean {
    switch (event.type) {
      case "seat_taken":
        return event.role === "driver" && event.seat_id !== own;
      case "driver_changed":
        return event.to !== null && event.to !== own;
      case "seat_resumed":
        return event.seat_id === this.#lost;
      default:
        return false;
    }
  }

  /** As `takenBy`, where the events were not seen. */
  takenIn({ seats }: SessionState, own: string | null): boolean {
    return seats.some(({ role, seat_id, connected }) => role === "driver" && seat_id !== own && (connected || seat_id !== this.#lost));
  }
}
