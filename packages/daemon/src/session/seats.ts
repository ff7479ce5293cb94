import { createHash } from "node:crypto";
import { SessiondError, type Role, type Seat } from "@sessiond/shared";
import { afterAwake } from "../clock.ts";
import { mintId } from "../ids.ts";
import { mustFit, placeOf, type Place, type Sitter } from "./seat-places.ts";
import { Wheel, type DriverKeys, type WheelHost } from "./wheel.ts";

/**
 * Who sits where. The public side (ids, roles, labels) is in the session's state and changes by
 * events; here is the private side: which secret and token took a seat, which stream holds it,
 * and the grace of one whose connection is lost. Which of them drives is the wheel's business.
 *
 * A seat is keyed by a secret that its client made, not by connection or id: a reconnecting
 * client's new connection overlaps its old one, and must not be locked out by itself.
 */
interface Held extends DriverKeys, Place {
  stream: AbortController | null;
  cancelGrace: (() => void) | null;
}

/** What seats need of their session. */
export type SeatsHost = Omit<WheelHost, "keys"> & {
  /** Why nobody can sit down any more: the life has ended, or was put to rest; else null. */
  over(): SessiondError | null;
};

export interface SeatRequest {
  readonly role: Role;
  readonly label: string;
  readonly fallback: boolean;
  /** Take the wheel from whoever has it; the seat that loses it stays. */
  readonly force: boolean;
  readonly secret: string;
  readonly token: Sitter;
}

interface Taken {
  readonly seatId: string;
  readonly seq: number;
  readonly stream: AbortController;
}

const hashSeatSecret = (secret: string): string => createHash("sha256").update(secret).digest("hex");

export class Seats {
  readonly wheel: Wheel;
  readonly #host: SeatsHost;
  readonly #held = new Map<string, Held>();
  /** Drivers whose keys are being stored, by the hash of their secret. */
  readonly #arriving = new Map<string, Promise<unknown>>();
  /** Left while the session could not write; the frames follow when it can again. */
  readonly #leftUnwritten = new Map<string, "detach" | "token_ended">();

  constructor(host: SeatsHost) {
    this.#host = host;
    this.wheel = new Wheel({ ...host, keys: (seatId) => this.#held.get(seatId) });
  }

  driver(): Seat | undefined {
    return this.wheel.driver();
  }

  /** The seat that this token and secret took, or undefined. */
  find(secret: unknown, tokenId: string): Seat | undefined {
    return this.finder(secret, tokenId)();
  }

  /** @returns what looks for it anew each time, and has hashed the secret once */
  finder(secret: unknown, tokenId: string): () => Seat | undefined {
    const hash = typeof secret === "string" ? hashSeatSecret(secret) : undefined;
    return () => {
      const held = hash === undefined ? undefined : this.#byHash(hash);
      if (held === undefined || held.token_id !== tokenId) return undefined;
      return this.#seats.find((seat) => seat.seat_id === held.seat_id);
    };
  }

  holdsSeat(tokenId: string): boolean {
    return [...this.#held.values()].some((held) => held.token_id === tokenId);
  }

  /**
   * Take a seat, or resume the one that this secret took. The stream that held it before ends with `moved`.
   *
   * @param client  aborts when it has gone: the wheel does not come to nobody
   * @returns the seat, the seq after which it is in the state, and its stream's end: aborts with `moved`, or
   *          without an error when the seat is left
   * @throws SessiondError driver_taken, not_attached (the secret with another token), limit_reached, storage_failed
   */
  async take(request: SeatRequest, client: AbortSignal): Promise<Taken> {
    const secretHash = hashSeatSecret(request.secret);
    // The same client again, before its first try was through: it must not be locked out by itself.
    for (let first = this.#arriving.get(secretHash); first !== undefined; first = this.#arriving.get(secretHash)) await first.catch(() => undefined);
    const known = this.#byHash(secretHash);
    if (known !== undefined) return this.#resume(known, request.token.token_id);
    const holder = this.wheel.holder();
    const drives = request.role === "driver" && (holder === undefined || request.force);
    if (request.role === "driver" && !drives && !request.fallback) throw new SessiondError("driver_taken", { driver: holder?.label });
    const place = placeOf(request.token);
    this.#mustFit(place);
    const held: Held = { ...place, seat_id: mintId("seat"), secret_hash: secretHash, stream: new AbortController(), cancelGrace: null };
    if (!drives) return this.#sit(held, "viewer", request.label);
    return (await this.#arrive(held, request, client)) ?? this.take(request, client);
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
    const seat = this.#seats.find((taken) => taken.seat_id === seatId);
    const seq = seat === undefined ? 0 : this.#host.apply({ type: "seat_left", seat_id: seatId, role: seat.role, cause });
    this.#drop(seatId, reason);
    this.wheel.tend();
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
  reconcile(stored: readonly DriverKeys[]): void {
    for (const seat of this.#seats) {
      const left = this.#leftUnwritten.get(seat.seat_id);
      if (left !== undefined) {
        this.leave(seat.seat_id, left);
        continue;
      }
      const keys = seat.role === "driver" ? stored.find(({ seat_id }) => seat_id === seat.seat_id) : undefined;
      // It has the place that who drives always has.
      if (!this.#held.has(seat.seat_id) && keys !== undefined) this.#held.set(seat.seat_id, { ...keys, share: "own", stream: null, cancelGrace: null });
      const held = this.#held.get(seat.seat_id);
      if (held === undefined) this.leave(seat.seat_id, "restart");
      else if (held.stream === null) this.#startGrace(held);
      else if (!seat.connected) this.#host.apply({ type: "seat_resumed", seat_id: seat.seat_id });
    }
    this.#leftUnwritten.clear();
    const known = new Set(this.#seats.map((seat) => seat.seat_id));
    for (const seatId of this.#held.keys())
      if (!known.has(seatId)) this.#drop(seatId, new SessiondError("storage_failed", { reason: "the seat was taken while the journal failed" }));
    this.wheel.tend();
  }

  /** The life is over: its last frame has emptied the seats. */
  clear(): void {
    for (const held of this.#held.values()) held.cancelGrace?.();
    this.#held.clear();
    this.wheel.clear();
  }

  get #seats(): readonly Seat[] {
    return this.#host.state().seats;
  }

  #byHash(hash: string): Held | undefined {
    return [...this.#held.values()].find((held) => held.secret_hash === hash);
  }

  #resume(held: Held, tokenId: string): Taken {
    if (held.token_id !== tokenId) throw new SessiondError("not_attached");
    held.stream?.abort(new SessiondError("moved"));
    held.cancelGrace?.();
    held.cancelGrace = null;
    const stream = (held.stream = new AbortController());
    const seat = this.#seats.find((taken) => taken.seat_id === held.seat_id);
    const seq = seat !== undefined && !seat.connected && this.#host.writable() ? this.#host.apply({ type: "seat_resumed", seat_id: held.seat_id }) : 0;
    if (seq > 0) this.wheel.tend();
    return { seatId: held.seat_id, seq, stream };
  }

  /** @returns null when another was there first */
  async #arrive(held: Held, { label, force }: SeatRequest, client: AbortSignal): Promise<Taken | null> {
    const arriving = this.wheel.hand({
      keys: held,
      label,
      due: () => !client.aborted && (force || this.wheel.driver() === undefined),
      give: () => this.#sitDriving(held, label),
    });
    this.#arriving.set(held.secret_hash, arriving);
    try {
      const taken = await arriving;
      if (taken === null && client.aborted) throw client.reason instanceof SessiondError ? client.reason : new SessiondError("cancelled");
      return taken;
    } finally {
      this.#arriving.delete(held.secret_hash);
    }
  }

  /** By force in one step: nobody sees two drivers, and who drove until then keeps a viewer's seat. */
  #sitDriving(held: Held, label: string): Taken {
    const from = this.wheel.driver();
    if (from === undefined) return this.#sit(held, "driver", label);
    const taken = this.#sit(held, "viewer", label);
    return { ...taken, seq: this.#host.apply({ type: "driver_changed", from: from.seat_id, to: held.seat_id, cause: "forced" }) };
  }

  #sit(held: Held, role: Role, label: string): Taken {
    // The life may have ended since the caller looked, and nothing follows its last frame.
    const over = this.#host.over();
    if (over !== null) throw over;
    this.#mustFit(held);
    const seq = this.#host.apply({ type: "seat_taken", seat_id: held.seat_id, role, label });
    this.#held.set(held.seat_id, held);
    return { seatId: held.seat_id, seq, stream: (held.stream ??= new AbortController()) };
  }

  #mustFit(comer: Place): void {
    mustFit(comer, [...this.#held.values()], this.#host.limits);
  }

  #startGrace(held: Held): void {
    const seat = this.#seats.find((taken) => taken.seat_id === held.seat_id);
    if (seat?.connected === true) this.#host.apply({ type: "seat_lost", seat_id: held.seat_id, grace_ms: this.#host.limits.seat_grace_ms });
    held.cancelGrace?.();
    held.cancelGrace = afterAwake(this.#host.clock, this.#host.limits.seat_grace_ms, () => {
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
