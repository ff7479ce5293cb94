import { DriverSeat } from "./driver-seat.ts";
import { ViewerSeat, type SeatParts } from "./seat.ts";

/**
 * The handles of one seat. There are two at most, however often the wheel comes and goes,
 * each with events of its own; state, connection and end are the seat's.
 */
export class SeatHandles {
  readonly #parts: SeatParts;
  #viewer: ViewerSeat | null = null;
  #driver: DriverSeat | null = null;

  constructor(parts: Omit<SeatParts, "handles">) {
    this.#parts = { ...parts, handles: this };
  }

  get viewer(): ViewerSeat {
    return (this.#viewer ??= new ViewerSeat(this.#parts));
  }

  get driver(): DriverSeat {
    return (this.#driver ??= new DriverSeat(this.#parts));
  }
}
