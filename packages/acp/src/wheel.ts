import type { DriverSeat, ViewerSeat } from "@sessiond/client";
import { aborted } from "./own-prompt.ts";

/**
 * The driver's seat, held only as long as somebody here needs it: an editor that is open and idle is in nobody's way.
 * Taken if it is free, never by force; given back when the last holder is done.
 */
export class Wheel {
  readonly #seat: ViewerSeat;
  readonly #waitMs: number;
  #holders = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** @param waitMs  how long a goodbye is waited for */
  constructor(seat: ViewerSeat, waitMs: number) {
    this.#seat = seat;
    this.#waitMs = waitMs;
  }

  get drives(): boolean {
    return this.#seat.role === "driver";
  }

  /** Nobody drives, not even somebody whose link is lost for a moment. */
  get free(): boolean {
    return this.#seat.state.seats.every(({ role }) => role !== "driver");
  }

  /** A driver whose link is lost is often this editor itself, before it was killed: the daemon waits a while for him, and so is waited here. */
  async #lostIsBackOrGone(signal: AbortSignal | undefined): Promise<void> {
    const lost = (): boolean => this.#seat.state.seats.some(({ seat_id, role, connected }) => role === "driver" && !connected && seat_id !== this.#seat.seatId);
    const given = signal === undefined ? [] : [aborted(signal)];
    while (lost() && this.#seat.connection !== "ended" && signal?.aborted !== true) await Promise.race([this.#seat.changed(), ...given]);
  }

  /** To be followed by one `release`, unless it fails. @throws SessiondError `driver_taken` with who drives, `role_too_small`, `cancelled`, … */
  async hold(signal?: AbortSignal): Promise<DriverSeat> {
    this.#holders += 1;
    try {
      // Each by itself: one that is given up, and the wheel that is given back, wait behind nobody.
      await this.#lostIsBackOrGone(signal);
      return await this.#inTurn(() => this.#seat.takeDriver({ signal }));
    } catch (error) {
      // Given up before the answer, it may be ours all the same.
      void this.release();
      throw error;
    }
  }

  /** Resolves when others can have it. Never fails. */
  release(): Promise<void> {
    this.#holders -= 1;
    return this.settle();
  }

  /** Gives back what nobody here holds. Never fails. */
  settle(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#holders > 0 || !this.drives) return;
      const seat = await this.#seat.takeDriver(); // the same seat, as one that drives: at once
      await seat.yieldDriver({ timeoutMs: this.#waitMs });
    }).catch(() => undefined);
  }

  /** One after the other: who takes it while it is given back gets it again. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }
}
