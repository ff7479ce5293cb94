import {
  emptyState,
  reduceRun,
  SessiondError,
  type AttachItem,
  type Auth,
  type Fault,
  type Frame,
  type Role,
  type Seat as SeatFacts,
  type SessionState,
} from "@sessiond/shared";
import type { Door } from "./door.ts";
import { KeptStream, type StreamConnection, type StreamWatcher } from "./kept-stream.ts";
import type { Call } from "./link.ts";
import { stateOf } from "./older-daemon.ts";
import type { ResetCause } from "./seat-events.ts";

/**
 * One seat's stream. Owns the folded state and the cursor. Each frame reaches the watchers
 * once, in order, with `state` already including it, and perhaps further chunks of the same
 * message: what the daemon sends again after a reconnect is recognised by its seq. Ends for good when detached, when the session's life
 * ends, or with an error that the table says never to retry.
 */
export interface SeatWatcher extends StreamWatcher {
  frame?(frame: Frame): void;
  /** The state was replaced, not reached by frames. */
  snapshot?(state: SessionState, reset: ResetCause | undefined): void;
}

export interface SeatRequest {
  readonly sessionId: string;
  readonly role: Role;
  readonly label: string;
  readonly fallback?: "viewer" | undefined;
  readonly force?: true | undefined;
  /** Token and seat secret: the same on every connection, so that the seat is resumed. */
  readonly auth: Auth;
}

export type SeatConnection = StreamConnection;

export class SeatStream extends KeptStream<"attach", SeatWatcher> {
  state: SessionState;
  /** Newest seq that the daemon shows, whether it has reached us or not. */
  head = 0;
  /** Null where no seat is taken: a viewer of a session that is stopped or cannot write. */
  seat: SeatFacts | null = null;
  fault: Fault | undefined;
  readonly #request: SeatRequest;

  constructor(door: Door, request: SeatRequest) {
    super(door, "attach");
    this.#request = request;
    this.state = emptyState(request.sessionId);
  }

  protected override input(): Call<"attach"> {
    const { sessionId, role, label, fallback, force, auth } = this.#request;
    const { cursor } = this;
    // By force only while it was never seated: a seat that came back must not throw out who drives now.
    return { session_id: sessionId, role, label, fallback, force: cursor === undefined ? force : undefined, cursor, auth };
  }

  protected override completed(): SessiondError | null {
    return this.state.life_state === "stopped" ? new SessiondError("session_stopped") : null;
  }

  /** Before the seat was taken every refusal is the caller's; after that only what the table calls hopeless. */
  protected override isFinal(error: SessiondError): boolean {
    return this.cursor === undefined || super.isFinal(error);
  }

  protected override take(item: AttachItem): void {
    this.head = item.head;
    this.fault = item.fault;
    if (item.type === "batch") {
      const frames = item.frames.filter(({ seq }) => seq > this.state.seq);
      for (let at = 0; at < frames.length;) at = this.#fold(frames, at);
      return;
    }
    this.seat = item.seat;
    if (item.type === "resumed") return;
    this.state = stateOf(item.snapshot);
    this.tell((watcher) => watcher.snapshot?.(this.state, item.reset));
  }

  /** @returns the place of the next frame */
  #fold(frames: readonly Frame[], at: number): number {
    const { seats } = this.state;
    const { state, next } = reduceRun(this.state, frames, at);
    this.state = state;
    // The wheel comes and goes by frames; a life's end empties the seats, which says nothing of ours.
    if (state.seats !== seats) this.seat = state.seats.find(({ seat_id }) => seat_id === this.seat?.seat_id) ?? this.seat;
    for (const frame of frames.slice(at, next)) this.tell((watcher) => watcher.frame?.(frame));
    return next;
  }
}
