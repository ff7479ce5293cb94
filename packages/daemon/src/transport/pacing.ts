import type { Row } from "@sessiond/shared";
import { SessiondError, type Limits } from "@sessiond/shared";
import type { WebSocket } from "ws";
import { afterAwake, type Clock } from "../clock.ts";
import type { Counters } from "../counters.ts";
import type { Connection } from "../router.ts";

/**
 * One connection's pace. A socket whose buffer is full is not read for; one that takes nothing
 * for `stall_ms` is closed with `slow_consumer`. So a slow client costs at most its socket's
 * buffer, and the log it reads from waits on disk. Nor is it listened to meanwhile: who takes no
 * answers may not pile up further ones.
 */
const slowConsumerClose = 4008;

export class PacedConnection implements Connection {
  readonly signal: AbortSignal;
  readonly #socket: WebSocket;
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #counters: Counters;
  #calls = 0;
  #subscriptions = 0;
  #waiting: { resolve: () => void; reject: (error: SessiondError) => void }[] = [];
  #stall: (() => void) | null = null;

  constructor(socket: WebSocket, { clock, limits, counters }: { readonly clock: Clock; readonly limits: Limits; readonly counters: Counters }) {
    this.#socket = socket;
    this.#limits = limits;
    this.#clock = clock;
    this.#counters = counters;
    const closed = new AbortController();
    this.signal = closed.signal;
    socket.once("close", () => {
      this.#stall?.();
      closed.abort();
      this.#wake();
    });
    this.#noticeFlushes();
  }

  ready(): Promise<void> {
    if (!this.#full || this.signal.aborted) return Promise.resolve();
    this.#watchStall();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  enter(kind: Row["kind"]): () => void {
    const { calls_per_connection_max, subscriptions_per_connection_max } = this.#limits;
    if (kind === "subscription") {
      if (this.#subscriptions >= subscriptions_per_connection_max)
        throw new SessiondError("limit_reached", { limit: "subscriptions_per_connection_max", value: subscriptions_per_connection_max, unit: "streams" });
      this.#subscriptions += 1;
      return () => void (this.#subscriptions -= 1);
    }
    if (this.#calls >= calls_per_connection_max)
      throw new SessiondError("rate_limited", { limit: "calls_per_connection_max", value: calls_per_connection_max, unit: "calls", retry_after_ms: 100 });
    this.#calls += 1;
    return () => void (this.#calls -= 1);
  }

  get #full(): boolean {
    return this.#socket.bufferedAmount > this.#limits.socket_buffer_bytes_max;
  }

  /** `ws` tells when a message has left through the callback of `send`; the adapter gives none, so one is put in. */
  #noticeFlushes(): void {
    const send = this.#socket.send.bind(this.#socket) as (data: Buffer, how: { readonly binary: false }, done: (error?: Error) => void) => void;
    const flushed = () => {
      if (this.#socket.readyState !== this.#socket.OPEN) return;
      this.#stall?.();
      this.#stall = null;
      if (this.#full) return this.#watchStall();
      this.#socket.resume();
      this.#wake();
    };
    this.#socket.send = ((data: string) => {
      // As bytes: of a text that waits Node keeps the text and three bytes of storage for each of its characters.
      send(Buffer.from(data), { binary: false }, flushed);
      if (!this.#full || this.#socket.readyState !== this.#socket.OPEN) return;
      this.#socket.pause();
      this.#watchStall();
    }) as WebSocket["send"];
  }

  #watchStall(): void {
    this.#stall ??= afterAwake(this.#clock, this.#limits.stall_ms, () => this.#stalled());
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
