import { limits } from "@sessiond/shared";
import type { Auth, Fault, Role, SessionState } from "@sessiond/shared";
import type { SessiondError } from "@sessiond/shared";
import type { Connection } from "./connection.ts";
import type { DriverSeat } from "./driver-seat.ts";
import { SeatEvents, type SeatEvent } from "./seat-events.ts";
import type { SeatConnection, SeatStream } from "./seat-stream.ts";
import { takeWheel, type TakeRequest } from "./take-driver.ts";
import { Transcript } from "./transcript.ts";

/** What a seat is made of; the library's own business. */
export interface SeatParts {
  readonly stream: SeatStream;
  readonly calls: Connection;
  readonly auth: Auth;
  readonly sessionId: string;
  /** The two handles of one seat: who may look, and who may act while the seat drives. */
  readonly handles: { readonly viewer: ViewerSeat; readonly driver: DriverSeat };
}

/**
 * A place in a session that may look. It survives lost links and restarts of the daemon by
 * itself; `connection` says how it is, `ended` when and why it is over.
 */
export class ViewerSeat {
  /**
   * The session from here on: a snapshot, then every frame after it exactly once, across
   * reconnects and restarts. One reader at a time; nothing is queued while nobody reads, and
   * each new reader begins with the state as it is then. However slow, or waiting for
   * something of this very seat, a reader holds up neither `state` nor a call: what it has not
   * taken beyond `client_events_max` events is read from the transcript when it has.
   * Ends after `session_stopped`, and after `detach` with what can still be read; throws the
   * SessiondError that ended the seat otherwise, or that refuses the transcript.
   */
  readonly events: AsyncIterable<SeatEvent>;
  /** Resolves when the seat is over: null after `detach`, else the reason. Never rejects. */
  readonly ended: Promise<SessiondError | null>;
  protected readonly parts: SeatParts;
  protected readonly transcript: Transcript;

  constructor(parts: SeatParts) {
    this.parts = parts;
    const { stream, calls, auth, sessionId } = parts;
    this.transcript = new Transcript(stream, (after, options) => calls.call("session_data", { session_id: sessionId, after }, auth, options));
    this.events = new SeatEvents(stream, this.transcript);
    this.ended = stream.over;
  }

  get sessionId(): string {
    return this.parts.sessionId;
  }

  /** The public id; null where no seat was taken: a viewer of a session that is stopped or cannot write. */
  get seatId(): string | null {
    return this.parts.stream.seat?.seat_id ?? null;
  }

  /**
   * As of `state`: the wheel comes and goes by `driver_changed`. A driver whose seat was
   * forgotten while away may come back as viewer, if `fallback` allowed it.
   */
  get role(): Role {
    return this.parts.stream.seat?.role ?? "viewer";
  }

  get label(): string | null {
    return this.parts.stream.seat?.label ?? null;
  }

  /** Folded by the daemon's own reducer from every frame received; never mutated, so a reference stays what it was. */
  get state(): SessionState {
    return this.parts.stream.state;
  }

  /** `epoch:seq` of the last frame in `state`. */
  get cursor(): string {
    return this.parts.stream.cursor ?? "0:0";
  }

  /** Newest seq that the session shows; `head - state.seq` is how far behind this seat is. */
  get head(): number {
    return this.parts.stream.head;
  }

  get connection(): SeatConnection {
    return this.parts.stream.connection;
  }

  /** Set while the session cannot write its journal. */
  get fault(): Fault | undefined {
    return this.parts.stream.fault;
  }

  /** Calls back after each change of `state`, `connection` or `fault`, once a batch. @returns what ends it */
  onChange(listener: () => void): () => void {
    return this.parts.stream.watch({ changed: listener });
  }

  /** Resolves at the next such change; at once when the seat has ended. */
  changed(): Promise<void> {
    return this.parts.stream.changed();
  }

  /**
   * Takes the wheel: `if_free` (unless told otherwise), or `ask` its driver and wait for the
   * answer, or by `force` from whoever has it. `timeoutMs` bounds the whole; a question that
   * was given up stands until it lapses, and is then answered by `role` alone.
   *
   * @returns the same seat, as one that may act; at once when it drives already
   * @throws SessiondError `driver_taken` with the driver's label (after `ask`: `detail.outcome` is `lapsed`),
   *         `role_too_small` without a control token, `timeout`, `cancelled`, the seat's own end, …
   */
  async takeDriver(request: TakeRequest = {}): Promise<DriverSeat> {
    await takeWheel(this.parts, request);
    return this.parts.handles.driver;
  }

  /**
   * Leaves; the session works on. A driver's seat is free at once. Never fails: where the
   * daemon cannot be told, the seat falls free after its grace time.
   */
  async detach(): Promise<void> {
    const { stream, calls, auth, sessionId } = this.parts;
    if (stream.end !== undefined) return;
    stream.leave();
    const told = stream.seat === null ? undefined : calls.call("detach", { session_id: sessionId }, auth, { once: true, timeoutMs: limits.goodbye_ms });
    await told?.catch(() => undefined);
    stream.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.detach();
  }
}
