import { createHash } from "node:crypto";
import { SessiondError, type Limits, type Role, type Seat, type SessionEvent } from "@sessiond/shared";
import type { Clock } from "../clock.ts";
import { mintId } from "../ids.ts";

/**
 * Who sits where. The public side (ids, roles, labels) is in the session's state and changes by
 * events; here is the private side: which secret and token took a seat, which stream holds it,
 * and the grace of one whose connection is lost.
 *
 * A seat is keyed by a secret that its client made, not by connection or id: a reconnecting
 * client's new connection overlaps its old one, and must not be locked out by itself.
 */
export interface DriverKeys {
  readonly seat_id: string;
  readonly secret_hash: string;
  readonly token_id: string;
}

interface Held extends DriverKeys {
  stream: AbortController | null;
  cancelGrace: (() => void) | null;
}

/** What seats need of their session. */
export interface SeatsHost {
  readonly clock: Clock;
  readonly limits: Limits;
  apply(event: SessionEvent): number;
  /** Decided seats. */
  seats(): readonly Seat[];
  /** False while the session cannot write or is over. */
  writable(): boolean;
  /** The life has ended. */
  over(): boolean;
  storeDriver(keys: DriverKeys): Promise<void>;
}

export interface SeatRequest {
  readonly role: Role;
  readonly label: string;
  readonly fallback: boolean;
  readonly secret: string;
  readonly tokenId: string;
}

interface Taken {
  readonly seatId: string;
  readonly seq: number;
  readonly stream: AbortController;
}

const hashSeatSecret = (secret: string): string => createHash("sha256").update(secret).digest("hex");

export class Seats {
  readonly #host: SeatsHost;
  readonly #held = new Map<string, Held>();
  /** A driver whose keys are being stored: the seat is as good as taken. */
  #arriving: { readonly label: string; readonly secretHash: string; readonly taken: Promise<unknown> } | null = null;
  /** Left while the session could not write; the frames follow when it can again. */
  readonly #leftUnwritten = new Map<string, "detach" | "token_ended">();

  constructor(host: SeatsHost) {
    this.#host = host;
  }

  driver(): Seat | undefined {
    return this.#host.seats().find((seat) => seat.role === "driver");
  }

  /** The seat that this token and secret took, or undefined. */
  find(secret: unknown, tokenId: string): Seat | undefined {
    const held = typeof secret === "string" ? this.#bySecret(secret) : undefined;
    if (held === undefined || held.token_id !== tokenId) return undefined;
    return this.#host.seats().find((seat) => seat.seat_id === held.seat_id);
  }

  holdsSeat(tokenId: string): boolean {
    return [...this.#held.values()].some((held) => held.token_id === tokenId);
  }

  /**
   * Take a seat, or resume the one that this secret took. The stream that held it before ends with `moved`.
   *
   * @returns the seat, the seq after which it is in the state, and its stream's end: aborts with `moved`, or
   *          without an error when the seat is left
   * @throws SessiondError driver_taken, not_attached (the secret with another token), limit_reached, storage_failed
   */
  async take(request: SeatRequest): Promise<Taken> {
    // The same client again, before its first try was through: it must not be locked out by itself.
    if (this.#arriving?.secretHash === hashSeatSecret(request.secret)) await this.#arriving.taken.catch(() => undefined);
    const known = this.#bySecret(request.secret);
    if (known !== undefined) return this.#resume(known, request.tokenId);
    const holder = this.#arriving ?? this.driver();
    if (request.role === "driver" && holder !== undefined && !request.fallback) throw new SessiondError("driver_taken", { driver: holder.label });
    if (this.#host.seats().length >= this.#host.limits.seats_max)
      throw new SessiondError("limit_reached", { limit: "seats_max", value: this.#host.limits.seats_max, unit: "seats" });
    const role = request.role === "driver" && holder === undefined ? "driver" : "viewer";
    const held: Held = {
      seat_id: mintId("seat"),
      secret_hash: hashSeatSecret(request.secret),
      token_id: request.tokenId,
      stream: new AbortController(),
      cancelGrace: null,
    };
    return role === "driver" ? this.#arrive(held, request.label) : this.#sit(held, role, request.label);
  }

  /** The stream of a seat has ended. Only the one that holds the seat now counts. */
  lost(seatId: string, stream: AbortController): void {
    const held = this.#held.get(seatId);
    if (held === undefined || held.stream !== stream) return;
    held.stream = null;
    if (this.#host.writable()) this.#startGrace(held);
  }

  /** Passes on a faulted session too: there the frame follows when the journal is open again. */
  detach(seatId: string): number {
    if (this.#host.writable()) return this.leave(seatId, "detach");
    this.#leftUnwritten.set(seatId, "detach");
    this.#drop(seatId);
    return 0;
  }

  leave(seatId: string, cause: "detach" | "grace" | "token_ended" | "restart", reason?: SessiondError): number {
    const seat = this.#host.seats().find((taken) => taken.seat_id === seatId);
    const seq = seat === undefined ? 0 : this.#host.apply({ type: "seat_left", seat_id: seatId, role: seat.role, cause });
    this.#drop(seatId, reason);
    return seq;
  }

  tokensEnded(tokenIds: readonly string[], reason: SessiondError): void {
    for (const held of [...this.#held.values()]) {
      if (!tokenIds.includes(held.token_id)) continue;
      if (this.#host.writable()) {
        this.leave(held.seat_id, "token_ended", reason);
      } else {
        this.#leftUnwritten.set(held.seat_id, "token_ended");
        this.#drop(held.seat_id, reason);
      }
    }
  }

  /**
   * Make both sides agree, after a start or a reopened journal: seats that nobody can hold any
   * more are left, those without a connection get their grace, from now.
   */
  reconcile(stored: DriverKeys | null): void {
    for (const seat of this.#host.seats()) {
      const left = this.#leftUnwritten.get(seat.seat_id);
      if (left !== undefined) {
        this.leave(seat.seat_id, left);
        continue;
      }
      if (!this.#held.has(seat.seat_id) && stored?.seat_id === seat.seat_id) this.#held.set(seat.seat_id, { ...stored, stream: null, cancelGrace: null });
      const held = this.#held.get(seat.seat_id);
      if (held === undefined) this.leave(seat.seat_id, "restart");
      else if (held.stream === null) this.#startGrace(held);
      else if (!seat.connected) this.#host.apply({ type: "seat_resumed", seat_id: seat.seat_id });
    }
    this.#leftUnwritten.clear();
    const known = new Set(this.#host.seats().map((seat) => seat.seat_id));
    for (const seatId of this.#held.keys())
      if (!known.has(seatId)) this.#drop(seatId, new SessiondError("storage_failed", { reason: "the seat was taken while the journal failed" }));
  }

  /** The life is over: its last frame has emptied the seats. */
  clear(): void {
    for (const held of this.#held.values()) held.cancelGrace?.();
    this.#held.clear();
  }

  #bySecret(secret: string): Held | undefined {
    const hash = hashSeatSecret(secret);
    return [...this.#held.values()].find((held) => held.secret_hash === hash);
  }

  #resume(held: Held, tokenId: string): Taken {
    if (held.token_id !== tokenId) throw new SessiondError("not_attached");
    held.stream?.abort(new SessiondError("moved"));
    held.cancelGrace?.();
    held.cancelGrace = null;
    const stream = (held.stream = new AbortController());
    const seat = this.#host.seats().find((taken) => taken.seat_id === held.seat_id);
    const seq = seat !== undefined && !seat.connected && this.#host.writable() ? this.#host.apply({ type: "seat_resumed", seat_id: held.seat_id }) : 0;
    return { seatId: held.seat_id, seq, stream };
  }

  /** A driver's keys are on disk before anyone can see it, so that its grace survives any crash. */
  async #arrive(held: Held, label: string): Promise<Taken> {
    const stored = this.#host.storeDriver({ seat_id: held.seat_id, secret_hash: held.secret_hash, token_id: held.token_id });
    const taken = stored.then(() => this.#sit(held, "driver", label));
    this.#arriving = { label, secretHash: held.secret_hash, taken };
    try {
      return await taken;
    } finally {
      this.#arriving = null;
    }
  }

  #sit(held: Held, role: Role, label: string): Taken {
    // The life may have ended since the caller looked, and nothing follows its last frame.
    if (this.#host.over()) throw new SessiondError("session_stopped");
    const seq = this.#host.apply({ type: "seat_taken", seat_id: held.seat_id, role, label });
    this.#held.set(held.seat_id, held);
    return { seatId: held.seat_id, seq, stream: (held.stream ??= new AbortController()) };
  }

  #startGrace(held: Held): void {
    const seat = this.#host.seats().find((taken) => taken.seat_id === held.seat_id);
    if (seat?.connected === true) this.#host.apply({ type: "seat_lost", seat_id: held.seat_id, grace_ms: this.#host.limits.seat_grace_ms });
    held.cancelGrace?.();
    held.cancelGrace = this.#host.clock.after(this.#host.limits.seat_grace_ms, () => {
      if (this.#host.writable()) this.leave(held.seat_id, "grace");
    });
  }

  #drop(seatId: string, reason?: SessiondError): void {
    const held = this.#held.get(seatId);
    if (held === undefined) return;
    this.#held.delete(seatId);
    held.cancelGrace?.();
    held.stream?.abort(reason);
  }
}
