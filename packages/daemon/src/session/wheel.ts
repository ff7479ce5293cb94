import { SessiondError, type DriverRequest, type EventOf, type Limits, type Seat, type SessionEvent, type SessionState } from "@sessiond/shared";
import type { Clock } from "../clock.ts";

/**
 * Who drives, and who asks to.
 *
 * The wheel comes to a seat in one way only, `hand`, and one after another: the keys of the seat that is to
 * drive are on disk before anyone can see that it does, beside those of the seat that drives until then, so
 * that the grace of either survives a crash in between. To leave it free needs no keys, and never waits.
 */
export interface DriverKeys {
  readonly seat_id: string;
  readonly secret_hash: string;
  readonly token_id: string;
}

/** What the wheel needs of its session. */
export interface WheelHost {
  readonly clock: Clock;
  readonly limits: Limits;
  apply(event: SessionEvent): number;
  /** Decided. */
  state(): SessionState;
  writable(): boolean;
  /** @throws SessiondError session_stopped, shutting_down, session_faulted */
  mustWrite(): void;
  /** Resolves when all that is decided is on disk. @throws SessiondError storage_failed */
  settled(): Promise<unknown>;
  /** The next start takes the one whose seat drives by the journal. */
  storeDrivers(keys: readonly DriverKeys[]): Promise<void>;
  /** Those of a seat that somebody may hold. */
  keys(seatId: string): DriverKeys | undefined;
  /** A bug. */
  report(error: unknown): void;
}

export interface HandOver<T> {
  readonly keys: DriverKeys;
  readonly label: string;
  /** Whether it may still happen; looked at before the keys are stored, and again in the step that gives. */
  due(): boolean;
  give(): T;
}

export interface Taking {
  readonly how: "if_free" | "ask" | "force";
  /** By force: the driver that is to be replaced, and no other. */
  readonly from?: string | undefined;
}

export interface TakenWheel {
  readonly seq: number;
  readonly became: "driver" | "asked" | "unchanged";
  readonly lapses_at?: number;
}

export class Wheel {
  readonly #host: WheelHost;
  /** Seats to which the wheel is on its way: it is as good as taken. */
  readonly #coming: { readonly seatId: string; readonly label: string }[] = [];
  #last: Promise<void> = Promise.resolve();
  /** Seq of each request's frame, so that a repeat gets the same answer. */
  readonly #asked = new Map<string, number>();
  /** When each request's time is up: `lapses_at` tells people, and their machine's clock may be set meanwhile. */
  readonly #due = new Map<string, { readonly lapses_at: number; readonly due: number }>();
  #cancelTimer: (() => void) | null = null;

  constructor(host: WheelHost) {
    this.#host = host;
  }

  driver(): Seat | undefined {
    return this.#host.state().seats.find((seat) => seat.role === "driver");
  }

  /** Who has the wheel, or is about to: for everyone but `seatId` it is taken. */
  holder(seatId?: string): { readonly label: string } | undefined {
    return this.#coming.find((coming) => coming.seatId !== seatId) ?? this.driver();
  }

  /**
   * Give the wheel to a seat, when those before have got it.
   *
   * @returns what `give` returned; null, and nothing has happened, when it was not due any more
   * @throws SessiondError session_stopped, shutting_down, session_faulted, storage_failed
   */
  hand<T>({ keys, label, due, give }: HandOver<T>): Promise<T | null> {
    const coming = { seatId: keys.seat_id, label };
    this.#coming.push(coming);
    const handed = this.#last.then(async () => {
      this.#host.mustWrite();
      if (!due()) return null;
      const driver = this.driver();
      const before = driver === undefined ? undefined : this.#host.keys(driver.seat_id);
      // What a fault undoes from here on leaves this driver in place, or none.
      await this.#host.settled();
      await this.#host.storeDrivers([before, keys].flatMap((each) => (each === undefined ? [] : [keysOnly(each)])));
      this.#host.mustWrite();
      return due() ? give() : null;
    });
    const arrived = (): void => void this.#coming.splice(this.#coming.indexOf(coming), 1);
    this.#last = handed
      .then(
        () => {
          arrived();
          this.tend();
        },
        () => {
          arrived();
          // The same disk would fail again at once.
          this.#tendIn(this.#host.limits.reopen_ms);
        },
      )
      .catch((error: unknown) => this.#host.report(error));
    return handed;
  }

  /** @throws SessiondError bad_request, not_attached (without a connection, too), driver_taken; what `hand` throws */
  async take(seatId: string, { how, from }: Taking): Promise<TakenWheel> {
    if (how === "force" && from === undefined)
      throw new SessiondError("bad_request", { reason: "with force, driver_seat_id must name the driver that is to be replaced" });
    for (;;) {
      this.#host.mustWrite();
      const seat = this.#host.state().seats.find((taken) => taken.seat_id === seatId);
      if (seat?.role === "driver") return { seq: this.#host.state().seq, became: "driver" };
      if (seat?.connected !== true) throw new SessiondError("not_attached");
      const holder = this.holder(seatId);
      const driver = this.driver();
      if (holder !== undefined && how === "if_free") throw new SessiondError("driver_taken", { driver: holder.label });
      if (holder !== undefined && how === "ask") return this.#ask(seatId);
      if (driver !== undefined && driver.seat_id !== from) return { seq: this.#host.state().seq, became: "unchanged" };
      const due = (): boolean => this.driver() === undefined || (how === "force" && this.driver()?.seat_id === from);
      const seq = await this.#handTo(seat, due, () => (this.driver() === undefined ? "taken" : "forced"));
      if (seq !== null) return { seq, became: "driver" };
      // Another was there first: what is true now decides.
    }
  }

  /**
   * @param to  a seat that asked; the first that did unless named, else nobody
   * @throws SessiondError not_driver, not_found; what `hand` throws
   */
  async yield(seatId: string, to?: string): Promise<number> {
    for (;;) {
      this.#host.mustWrite();
      const driver = this.driver();
      if (driver?.seat_id !== seatId) throw new SessiondError("not_driver", { driver: driver?.label ?? "nobody" });
      const heir = this.#asking().find((request) => to === undefined || request.seat_id === to);
      if (heir === undefined && to !== undefined) throw new SessiondError("not_found", { what: "seat that asked" });
      if (heir === undefined) return this.#host.apply({ type: "driver_changed", from: seatId, to: null, cause: "yielded" });
      const due = (): boolean => this.driver()?.seat_id === seatId && this.#asks(heir.seat_id);
      const seq = await this.#handTo(heir, due, () => "yielded");
      if (seq !== null) return seq;
    }
  }

  /**
   * What follows from how things are: a free wheel goes to the first who asked for it, and a request that
   * nobody answered in time lapses. Called after whatever may have changed that.
   */
  tend(): void {
    this.#cancelTimer?.();
    if (!this.#host.writable()) return;
    const heir = this.#asking()[0];
    if (heir !== undefined && this.holder() === undefined) this.#grant(heir);
    const now = this.#host.clock.steady();
    const open = this.#timed().filter(({ seat_id }) => !this.#coming.some((coming) => coming.seatId === seat_id));
    // Who is away answers nobody: then a request waits for the grace's end, or for the driver.
    const away = this.driver()?.connected === false;
    for (const { seat_id, due } of open) if (due <= now && !away) this.#host.apply({ type: "driver_request_lapsed", seat_id });
    const next = Math.min(...open.map(({ due }) => due).filter((due) => due > now));
    if (next !== Number.POSITIVE_INFINITY) this.#tendIn(next - now);
  }

  /** The life is over. */
  clear(): void {
    this.#cancelTimer?.();
  }

  /** The requests that stand, each with when its time is up: counted from when it was first looked at. */
  #timed(): { seat_id: string; due: number }[] {
    const { clock, limits } = this.#host;
    const requests = this.#host.state().driver_requests;
    const stands = (seatId: string, at: number): boolean => requests.some((request) => request.seat_id === seatId && request.lapses_at === at);
    for (const [seatId, { lapses_at }] of this.#due) if (!stands(seatId, lapses_at)) this.#due.delete(seatId);
    return requests.map(({ seat_id, lapses_at }) => {
      const left = Math.min(Math.max(0, lapses_at - clock.now()), limits.driver_request_ms);
      const timed = this.#due.get(seat_id) ?? { lapses_at, due: clock.steady() + left };
      this.#due.set(seat_id, timed);
      return { seat_id, due: timed.due };
    });
  }

  #tendIn(ms: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#host.clock.after(ms, () => this.tend());
  }

  /** The same answer while the request stands. */
  #ask(seatId: string): TakenWheel {
    const requests = this.#host.state().driver_requests;
    for (const asked of [...this.#asked.keys()]) if (!requests.some((request) => request.seat_id === asked)) this.#asked.delete(asked);
    const standing = requests.find((request) => request.seat_id === seatId);
    if (standing !== undefined) return { seq: this.#asked.get(seatId) ?? this.#host.state().seq, became: "asked", lapses_at: standing.lapses_at };
    const lapses_at = this.#host.clock.now() + this.#host.limits.driver_request_ms;
    const seq = this.#host.apply({ type: "driver_requested", seat_id: seatId, lapses_at });
    this.#asked.set(seatId, seq);
    this.tend();
    return { seq, became: "asked", lapses_at };
  }

  #grant(heir: DriverRequest): void {
    const due = (): boolean => this.driver() === undefined && this.#asks(heir.seat_id);
    this.#handTo(heir, due, () => "granted").catch((error: unknown) => {
      if (!(error instanceof SessiondError)) this.#host.report(error);
    });
  }

  async #handTo(
    { seat_id, label }: { seat_id: string; label: string },
    due: () => boolean,
    cause: () => EventOf<"driver_changed">["cause"],
  ): Promise<number | null> {
    const keys = this.#host.keys(seat_id);
    if (keys === undefined) throw new SessiondError("not_attached");
    return this.hand({
      keys,
      label,
      due: () => this.#isThere(seat_id) && due(),
      give: () => this.#host.apply({ type: "driver_changed", from: this.driver()?.seat_id ?? null, to: seat_id, cause: cause() }),
    });
  }

  /** Requests of those who are there, the oldest first. */
  #asking(): DriverRequest[] {
    return this.#host.state().driver_requests.filter((request) => this.#isThere(request.seat_id));
  }

  #asks(seatId: string): boolean {
    return this.#asking().some((request) => request.seat_id === seatId);
  }

  #isThere(seatId: string): boolean {
    return this.#host.keys(seatId) !== undefined && this.#host.state().seats.some((seat) => seat.seat_id === seatId && seat.connected);
  }
}

const keysOnly = ({ seat_id, secret_hash, token_id }: DriverKeys): DriverKeys => ({ seat_id, secret_hash, token_id });
