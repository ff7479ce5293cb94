import { limits } from "@sessiond/shared";
import type { Auth, Fault, Role, SessionState } from "@sessiond/shared";
import type { SessiondError } from "@sessiond/shared";
import type { Connection } from "./connection.ts";
import { SeatEvents, type SeatEvent } from "./seat-events.ts";
import type { SeatConnection, SeatStream } from "./seat-stream.ts";

/** What a seat is made of; the library's own business. */
export interface SeatParts {
  readonly stream: SeatStream;
  readonly calls: Connection;
  readonly auth: Auth;
  readonly sessionId: string;
}

/**
 * A place in a session that may look. It survives lost links and restarts of the daemon by
 * itself; `connection` says how it is, `ended` when and why it is over.
 */
export class ViewerSeat {
  /**
   * The session from here on: a snapshot, then every frame after it exactly once, across
   * reconnects and restarts. One reader at a time; nothing is queued while nobody reads, and
   * each new reader begins with the state as it is then. A reader more than
   * `client_events_max` events behind stops the seat's socket until it has caught up.
   * Ends after `detach` and after `session_stopped`; throws the SessiondError that ended the
   * seat otherwise.
   */
  readonly events: AsyncIterable<SeatEvent>;
  /** Resolves when the seat is over: null after `detach`, else the reason. Never rejects. */
  readonly ended: Promise<SessiondError | null>;
  protected readonly parts: SeatParts;

  constructor(parts: SeatParts) {
    this.parts = parts;
    this.events = new SeatEvents(parts.stream);
    this.ended = new Promise((resolve) => {
      if (parts.stream.end !== undefined) resolve(parts.stream.end);
      else parts.stream.watch({ ended: resolve });
    });
  }

  get sessionId(): string {
    return this.parts.sessionId;
  }

  /** The public id; null where no seat was taken: a viewer of a session that is stopped or cannot write. */
  get seatId(): string | null {
    return this.parts.stream.seat?.seat_id ?? null;
  }

  /** As the daemon sees it now. A driver whose seat was forgotten while away may come back as viewer, if `fallback` allowed it. */
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
    if (this.connection === "ended") return Promise.resolve();
    return new Promise((resolve) => {
      const leave = this.onChange(() => {
        leave();
        resolve();
      });
    });
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
