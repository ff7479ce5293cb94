import { isSessiondError, limits, readToken, SessiondError, type Auth, type VerbOutput } from "@sessiond/shared";
import { callLimit, type CallOptions } from "./call-limit.ts";
import { Connection, handleClosed } from "./connection.ts";
import type { Door } from "./door.ts";
import type { DriverSeat } from "./driver-seat.ts";
import { newSeatSecret } from "./ids.ts";
import { isApiKey } from "./key-ring.ts";
import { SeatHandles } from "./seat-handles.ts";
import type { ViewerSeat } from "./seat.ts";
import { SeatStream } from "./seat-stream.ts";
import { SessionHandle } from "./session-handle.ts";
import { waitBySeat } from "./wait-by-seat.ts";
import { waitByWatching } from "./wait-by-watching.ts";
import type { SessionFacts, WaitGoal } from "./wait.ts";

/** A start's option that a running life may have otherwise. */
export type Differing = VerbOutput<"start_session">["differs"][number];

export interface AttachViewer extends CallOptions {
  readonly as: "viewer";
  /** How others see this seat: 1 to 64 characters; the client's name unless given. */
  readonly label?: string | undefined;
}

export interface AttachDriver extends CallOptions {
  readonly as: "driver";
  readonly label?: string | undefined;
  /** Become a viewer where the driver's seat is taken, instead of failing with `driver_taken`. */
  readonly fallback?: undefined;
  /** Take the seat from whoever drives; he stays as viewer. Once: a lost link does not force again. */
  readonly force?: boolean | undefined;
}

export interface AttachDriverOrViewer extends Omit<AttachDriver, "fallback" | "force"> {
  readonly fallback: "viewer";
}

/** What `authorize` tells: the token's id, right, label, expiry, and whether it belongs to an ended life. */
export type Authorization = VerbOutput<"authorize">;

export interface SessionParts {
  readonly calls: Connection;
  readonly token: string;
  readonly workdir: string;
  readonly clientName: string;
  readonly created?: boolean;
  readonly differs?: readonly Differing[];
  /** The token's id, when this handle got the token and so ends it. */
  readonly ownTokenId?: string;
  /** Of the host handle that made this one. */
  readonly hostAuth?: Auth | undefined;
  /** The connection is this session's alone. */
  readonly ownCalls?: boolean;
  readonly closed?: (session: Session) => void;
}

/**
 * One session, held by a token. Seats taken through it are left, and its token is revoked,
 * when it is closed; a token that came from elsewhere (`fromToken`) is left alone.
 */
export class Session extends SessionHandle {
  readonly workdir: string;
  /** A secret. Whoever has it may do what this handle may. */
  readonly token: string;
  /** The call that made this handle began a life of the session. */
  readonly created: boolean;
  /** Options that were asked for and differ from those of the running life. */
  readonly differs: readonly Differing[];
  readonly #parts: SessionParts;
  readonly #seats = new Set<ViewerSeat>();
  /**
   * Seats being taken, and what gives each up; one that is given after the end is left at once. A signal for each: of one
   * signal that many listen to Node warns.
   */
  readonly #attaching = new Map<AbortController, Promise<unknown>>();
  /** Ends waits. */
  readonly #closing = new AbortController();
  #closed: Promise<void> | null = null;

  constructor(id: string, parts: SessionParts) {
    const auth: Auth = { token: parts.token };
    super(parts.calls, { id, auth, mintAuth: parts.hostAuth ?? auth });
    this.workdir = parts.workdir;
    this.token = parts.token;
    this.created = parts.created ?? false;
    this.differs = parts.differs ?? [];
    this.#parts = parts;
  }

  /** A session from a token alone, on a connection of its own. @throws SessiondError `unauthenticated`, `daemon_unreachable` */
  static async fromToken(token: string, { door, clientName, ...options }: CallOptions & { door: Door; clientName: string }): Promise<Session> {
    const claim = readToken(token);
    if (claim === null) throw new SessiondError("unauthenticated");
    const calls = new Connection(door);
    try {
      await calls.open(options);
      const { workdir } = await calls.call("session_info", { session_id: claim.sessionId }, { token }, options);
      return new Session(claim.sessionId, { calls, token, workdir, clientName, ownCalls: true });
    } catch (error) {
      calls.close();
      throw error;
    }
  }

  /** What this handle's token allows, as the daemon sees it. */
  authorize(options: CallOptions = {}): Promise<Authorization> {
    return this.calls.call("authorize", { session_id: this.id }, this.auth, options);
  }

  /**
   * Takes a seat on a connection of its own; resolves with its first state.
   *
   * @throws SessiondError `driver_taken` with the holder's label, `session_stopped`, `role_too_small`, `limit_reached`, …
   */
  attach(request: AttachDriver): Promise<DriverSeat>;
  attach(request: AttachViewer): Promise<ViewerSeat>;
  attach(request: AttachDriverOrViewer): Promise<DriverSeat | ViewerSeat>;
  async attach(request: AttachDriver | AttachViewer | AttachDriverOrViewer): Promise<DriverSeat | ViewerSeat> {
    if (this.#closed !== null) throw handleClosed();
    const givenUp = new AbortController();
    const attaching = this.#attach(request, givenUp.signal);
    this.#attaching.set(givenUp, attaching);
    try {
      return await attaching;
    } finally {
      this.#attaching.delete(givenUp);
    }
  }

  async #attach(request: AttachDriver | AttachViewer | AttachDriverOrViewer, givenUp: AbortSignal): Promise<DriverSeat | ViewerSeat> {
    const auth: Auth = { ...this.auth, seat_secret: newSeatSecret() };
    const fallback = request.as === "driver" ? request.fallback : undefined;
    const force = "force" in request && request.force === true ? true : undefined;
    const label = request.label ?? this.#parts.clientName;
    const stream = new SeatStream(this.calls.door, { sessionId: this.id, role: request.as, label, fallback, force, auth });
    const handles = new SeatHandles({ stream, calls: this.calls, auth, sessionId: this.id });
    const limit = callLimit(undefined, request.signal, givenUp);
    try {
      await stream.open({ ...request, signal: limit.signal });
    } catch (error) {
      // Given up before the answer: the seat may be taken all the same, and nobody else has its secret.
      const told =
        error instanceof SessiondError && (error.code === "cancelled" || error.code === "timeout")
          ? this.calls.call("detach", { session_id: this.id }, auth, { once: true, timeoutMs: limits.goodbye_ms }).catch(() => undefined)
          : undefined;
      if (this.#closed === null) throw error;
      await told;
      throw handleClosed();
    } finally {
      limit.release();
    }
    const seat = stream.seat?.role === "driver" ? handles.driver : handles.viewer;
    if (this.#closed !== null) {
      await seat.detach();
      throw handleClosed();
    }
    this.#seats.add(seat);
    void seat.ended.then(() => this.#seats.delete(seat));
    return seat;
  }

  /** Where the handle knows the host key it takes no seat; else a viewer's, while it waits. */
  override waitFor(goal: WaitGoal, options: CallOptions = {}): Promise<SessionFacts> {
    const { hostAuth: auth, calls } = this.#parts;
    const limits = { ...options, closed: this.#closing.signal };
    return auth === undefined || isApiKey(auth) ? waitBySeat(this, goal, limits) : waitByWatching({ calls, auth, sessionId: this.id, goal }, limits);
  }

  /** Leaves all seats and revokes the token if this handle got it. Never fails, and never stops the session. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#closing.abort(handleClosed());
    const giveUp = setTimeout(() => {
      for (const givenUp of this.#attaching.keys()) givenUp.abort();
    }, limits.goodbye_ms);
    await Promise.allSettled([...[...this.#seats].map((seat) => seat.detach()), ...this.#attaching.values()]);
    clearTimeout(giveUp);
    const { ownTokenId, ownCalls, hostAuth = this.auth, closed } = this.#parts;
    if (ownTokenId !== undefined) {
      const goodbye = { once: true, timeoutMs: limits.goodbye_ms };
      const revoke = (auth: Auth): Promise<unknown> => this.calls.call("revoke_token", { session_id: this.id, token_id: ownTokenId }, auth, goodbye);
      // The host's credential: a control token of an ended life may not act any more. An API key without the scope may not either.
      await revoke(hostAuth)
        .catch((error: unknown) => (isSessiondError(error, "role_too_small") ? revoke(this.auth) : undefined))
        .catch(() => undefined);
    }
    if (ownCalls === true) this.calls.close();
    closed?.(this);
  }
}
