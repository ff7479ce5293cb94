import { isSessiondError, SessiondError, type Seat as SeatFacts, type VerbOutput } from "@sessiond/shared";
import { Backoff } from "./backoff.ts";
import { callLimit, orAborted, type CallOptions } from "./call-limit.ts";
import type { SeatParts } from "./seat.ts";

/** How a seat gets the wheel: by one call where the answer is known at once, else by what its stream then says. */
export interface TakeRequest extends CallOptions {
  readonly how?: "if_free" | "ask" | "force" | undefined;
}

type Outcome = "driver" | "taken" | "again";
type Taken = VerbOutput<"take_driver">;

/** @throws SessiondError `driver_taken`, the daemon's refusals, `timeout`, `cancelled`, the seat's end */
export async function takeWheel(parts: SeatParts, { how = "if_free", timeoutMs, signal }: TakeRequest): Promise<void> {
  const limit = callLimit(timeoutMs, signal);
  const wheel = new Wheel(parts, limit.signal);
  try {
    while (!wheel.drives) {
      const outcome = how === "force" ? await wheel.force() : how === "ask" ? await wheel.ask() : await wheel.take();
      if (outcome === "driver") return;
      if (outcome === "taken") throw new SessiondError("driver_taken", { driver: wheel.driver?.label, ...(how === "ask" && { outcome: "lapsed" }) });
    }
  } finally {
    limit.release();
  }
}

class Wheel {
  readonly #parts: SeatParts;
  readonly #signal: AbortSignal;
  /** Who drives by the newest answer; undefined: nobody answered yet, and the state says it. */
  #told: SeatFacts | null | undefined;
  readonly #backoff = new Backoff();

  constructor(parts: SeatParts, signal: AbortSignal) {
    this.#parts = parts;
    this.#signal = signal;
  }

  get driver(): SeatFacts | undefined {
    return this.#parts.stream.state.seats.find(({ role }) => role === "driver");
  }

  get drives(): boolean {
    const { stream } = this.#parts;
    return stream.seat?.role === "driver" && this.driver?.seat_id === stream.seat.seat_id;
  }

  async take(): Promise<Outcome> {
    const reply = await this.#call({ how: "if_free" });
    return (await this.#settled(reply)) ? "driver" : "taken";
  }

  /** Names who is thrown out; where that was somebody else by then, the next try names who it is now. */
  async force(): Promise<Outcome> {
    const driver = this.#told === undefined ? this.driver : this.#told;
    try {
      const reply = await this.#call(driver == null ? { how: "if_free" } : { how: "force", driver_seat_id: driver.seat_id });
      if (await this.#settled(reply)) return "driver";
      this.#told = reply.driver;
    } catch (error) {
      // It was free, and no longer is; who took it comes with the frames.
      if (driver != null || !isSessiondError(error, "driver_taken")) throw error;
      this.#told = undefined;
    }
    await this.#backoff.wait(this.#signal);
    return "again";
  }

  async ask(): Promise<Outcome> {
    const reply = await this.#call({ how: "ask" });
    if (await this.#settled(reply)) return "driver";
    const asked = this.#parts.stream.seat?.seat_id;
    await this.#until(() => this.drives || !this.#asks(asked));
    if (this.drives) return "driver";
    // A seat that was given anew, after a restart, took no question with it.
    return this.#parts.stream.seat?.seat_id === asked ? "taken" : "again";
  }

  #asks(seatId: string | undefined): boolean {
    const { stream } = this.#parts;
    return stream.seat?.seat_id === seatId && stream.state.driver_requests.some((request) => request.seat_id === seatId);
  }

  /** A call that overtakes the stream after a lost link finds the seat empty: it is made again when the seat is back. */
  async #call(input: { how: "if_free" | "ask" | "force"; driver_seat_id?: string }): Promise<Taken> {
    const { stream, calls, auth, sessionId } = this.#parts;
    for (;;) {
      const connects = stream.connection === "live" ? stream.connects : -1;
      try {
        return await calls.call("take_driver", { session_id: sessionId, ...input }, auth, { signal: this.#signal });
      } catch (error) {
        const overtaken = stream.connection !== "live" || stream.connects !== connects;
        if (!isSessiondError(error, "not_attached") || !overtaken) throw error;
      }
      await this.#until(() => stream.connection === "live");
    }
  }

  /** Waits until the seat's state has the answer's frame, so that what is looked at is not older. @returns whether we were made the driver */
  async #settled(reply: Taken): Promise<boolean> {
    await this.#until(() => this.#parts.stream.state.seq >= reply.seq);
    // "unchanged" of a repeated call: the first one had thrown the other out, and we drive.
    return reply.became === "driver" || (reply.driver !== null && reply.driver.seat_id === this.#parts.stream.seat?.seat_id);
  }

  async #until(holds: () => boolean): Promise<void> {
    const { stream } = this.#parts;
    while (!holds()) {
      if (stream.end !== undefined) throw stream.end ?? new SessiondError("cancelled", { reason: "the seat was left" });
      await orAborted(stream.changed(), this.#signal);
    }
  }
}
