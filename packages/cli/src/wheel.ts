import { SessiondError, type DriverSeat, type SessionState, type ViewerSeat } from "@sessiond/client";
import { Failure } from "./exit-codes.ts";
import { foreignLine } from "./screen.ts";

/**
 * The seat of a command, and whether it drives: the wheel comes and goes while the seat and its
 * events stay. Who drives is what the session says, never what was last asked for.
 */
export type How = "if_free" | "ask" | "force";

export class Wheel {
  /** The seat, whoever drives; its events are read here alone. */
  readonly seat: ViewerSeat;
  #handle: DriverSeat | null;

  constructor(seat: ViewerSeat, handle: DriverSeat | null) {
    this.seat = seat;
    this.#handle = handle;
  }

  static of(seat: DriverSeat): Wheel {
    return new Wheel(seat, seat);
  }

  get drives(): boolean {
    return this.#handle !== null && driverOf(this.seat.state)?.seat_id === this.seat.seatId;
  }

  /** What a driver may do. @throws SessiondError not_driver, with who is */
  get driver(): DriverSeat {
    if (this.#handle === null || !this.drives) throw this.lost();
    return this.#handle;
  }

  lost(): SessiondError {
    const holder = driverOf(this.seat.state);
    return new SessiondError("not_driver", holder === undefined ? {} : { driver: holder.label });
  }

  /** @throws SessiondError driver_taken where it is not given */
  async take(how: How, signal?: AbortSignal): Promise<void> {
    this.#handle = await this.seat.takeDriver({ how, ...(signal && { signal }) });
    await this.#settled();
  }

  /** To a seat that asked: the first, or the one of that name. @returns who has it now */
  async yield(to?: string): Promise<string | null> {
    const seatId = to === undefined ? undefined : askerNamed(this.seat.state, to).seat_id;
    await this.driver.yieldDriver(seatId === undefined ? {} : { to: seatId });
    this.#handle = null;
    return driverOf(this.seat.state)?.label ?? null;
  }

  /** The answer may come before the frame that says so. */
  async #settled(): Promise<void> {
    while (!this.drives && this.seat.connection !== "ended") await this.seat.changed();
  }
}

export const driverOf = ({ seats }: Pick<SessionState, "seats">): SessionState["seats"][number] | undefined => seats.find(({ role }) => role === "driver");

/** Who asks for the wheel, by the seat's id or label, or a unique beginning of one. @throws Failure usage */
export function askerNamed({ driver_requests }: Pick<SessionState, "driver_requests">, name: string): SessionState["driver_requests"][number] {
  const exact = driver_requests.filter(({ label, seat_id }) => label === name || seat_id === name);
  const matching = exact.length > 0 ? exact : driver_requests.filter(({ label, seat_id }) => label.startsWith(name) || seat_id.startsWith(name));
  const [only, second] = matching;
  if (only === undefined) {
    const asking = driver_requests.map(({ label }) => foreignLine(label)).join(", ");
    throw new Failure("usage", `${foreignLine(name)} does not ask for the wheel. ${asking === "" ? "Nobody does." : `Those who do: ${asking}.`}`);
  }
  if (second !== undefined) throw new Failure("usage", `${matching.length} of those who ask are called ${foreignLine(name)}; name one by the seat's id.`);
  return only;
}
