import type { Row } from "@sessiond/shared";
import { SessiondError, type Limits } from "@sessiond/shared";
import type { WebSocket } from "ws";
import { afterAwake, type Clock } from "../clock.ts";
import type { Counters } from "../counters.ts";
import type { Peer } from "../gate.ts";
import type { Connection } from "../router.ts";
import type { Outflow } from "./open-sockets.ts";

/**
 * One connection's pace. A socket whose buffer is full is not read for; one that takes next to nothing
 * for `stall_ms` is closed with `slow_consumer`. So a slow client costs at most its socket's
 * buffer, and the log it reads from waits on disk. Nor is it listened to meanwhile: who takes no
 * answers may not pile up further ones.
 */
const slowConsumerClose = 4008;
/** A credential that was used here has ended. */
const credentialEndedClose = 4001;
const triedTooOftenClose = 4029;

export interface PacingOptions {
  readonly clock: Clock;
  readonly limits: Limits;
  readonly counters: Counters;
  readonly outflow: Outflow;
}

export class PacedConnection implements Connection {
  readonly signal: AbortSignal;
  readonly peer: Peer;
  readonly #socket: WebSocket;
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #counters: Counters;
  readonly #outflow: Outflow;
  /** Told of each call, whatever becomes of it. */
  onCall: () => void = () => undefined;
  /** Messages that have not left. */
  #unsent = 0;
  #calls = 0;
  #subscriptions = 0;
  #waiting: { resolve: () => void; reject: (error: SessiondError) => void }[] = [];
  #stall: (() => void) | null = null;
  readonly #endings = new Set<AbortSignal>();
  #turnedOut = false;

  constructor(socket: WebSocket, peer: Peer, { clock, limits, counters, outflow }: PacingOptions) {
    this.#socket = socket;
    this.peer = peer;
    this.#limits = limits;
    this.#clock = clock;
    this.#counters = counters;
    this.#outflow = outflow;
    const closed = new AbortController();
    this.signal = closed.signal;
    socket.once("close", () => {
      for (const credential of this.#endings) credential.removeEventListener("abort", this.#ended);
      this.#stall?.();
      closed.abort();
      this.#wake();
    });
    this.#noticeFlushes();
  }

  ready(): Promise<void> {
    if (!this.full || this.signal.aborted) return Promise.resolve();
    this.#watchStall();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  endsWith(credential: AbortSignal): void {
    if (this.signal.aborted || this.#endings.has(credential)) return;
    this.#endings.add(credential);
    credential.addEventListener("abort", this.#ended, { once: true });
    if (credential.aborted) this.#ended();
  }

  readonly #ended = (): void => this.#part(credentialEndedClose, "token_ended", this.#limits.heartbeat_wait_ms);

  turnOut(): void {
    if (this.#turnedOut) return;
    this.#turnedOut = true;
    // What else it has said is passed over, whoever would have listened.
    this.#socket.removeAllListeners("message");
    this.#part(triedTooOftenClose, "rate_limited", this.#limits.door_close_ms);
  }

  /** Its calls and streams are told why first; a peer that does not take its leave is cut. */
  #part(code: number, reason: string, waitMs: number): void {
    setImmediate(() => {
      if (this.signal.aborted) return;
      this.#socket.close(code, reason);
      const cut = this.#clock.after(waitMs, () => this.#socket.terminate());
      this.signal.addEventListener("abort", cut, { once: true });
    });
  }

  enter(kind: Row["kind"]): () => void {
    this.onCall();
    const { calls_per_connection_max, subscriptions_per_connection_max } = this.#limits;
    if (kind === "subscription") {
      if (this.#subscriptions >= subscriptions_per_connection_max)
        throw new SessiondError("limit_reached", {
          limit: "subscriptions_per_connection_max",
          value: subscriptions_per_connection_max,
          unit: "streams; end one",
        });
      this.#subscriptions += 1;
      return () => void (this.#subscriptions -= 1);
    }
    if (this.#calls >= calls_per_connection_max)
      throw new SessiondError("rate_limited", {
        limit: "calls_per_connection_max",
        value: calls_per_connection_max,
        unit: "calls under way on this connection",
        retry_after_ms: 100,
      });
    this.#calls += 1;
    return () => void (this.#calls -= 1);
  }

  /** Its peer has yet to take what was said. */
  get full(): boolean {
    const { socket_buffer_bytes_max, socket_buffer_messages_max } = this.#limits;
    return this.#socket.bufferedAmount > socket_buffer_bytes_max || this.#unsent > socket_buffer_messages_max;
  }

  /** `ws` tells when a message has left through the callback of `send`; the adapter gives none, so one is put in. */
  #noticeFlushes(): void {
    const send = this.#socket.send.bind(this.#socket) as (data: Buffer, how: { readonly binary: false }, done: (error?: Error) => void) => void;
    const flushed = () => {
      this.#unsent -= 1;
      if (this.#socket.readyState !== this.#socket.OPEN) return;
      this.#stall?.();
      this.#stall = null;
      if (this.full) return this.#watchStall();
      this.#socket.resume();
      this.#wake();
    };
    this.#socket.send = ((data: string | Buffer) => {
      // The adapter's answer to a probe: who has so much before it hears from us all the same.
      if (data === "PONG" && this.full) return;
      this.#unsent += 1;
      // As bytes: of a text that waits Node keeps the text and three bytes of storage for each of its characters.
      send(typeof data === "string" ? Buffer.from(data) : data, { binary: false }, flushed);
      if (!this.full || this.#socket.readyState !== this.#socket.OPEN) return;
      this.#socket.pause();
      this.#watchStall();
    }) as WebSocket["send"];
  }

  /** A message that has left ends the wait; of one that is long, what has been taken of it counts. */
  #watchStall(): void {
    const before = this.#outflow.taken();
    this.#stall ??= afterAwake(this.#clock, this.#limits.stall_ms, () => {
      this.#stall = null;
      if (this.#outflow.taken() - before < this.#limits.stall_bytes_min) return this.#stalled();
      this.#watchStall();
    });
  }

  /** The streams end with the error, then the socket; a peer that takes not even that is cut. */
  #stalled(): void {
    this.#counters.slowConsumers += 1;
    for (const { reject } of this.#waiting.splice(0)) reject(new SessiondError("slow_consumer"));
    setImmediate(() => {
      // The peer's own goodbye is heard again.
      this.#socket.resume();
      this.#socket.close(slowConsumerClose, "slow_consumer");
    });
    this.#stall = this.#clock.after(this.#limits.heartbeat_wait_ms, () => this.#socket.terminate());
  }

  #wake(): void {
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }
}
