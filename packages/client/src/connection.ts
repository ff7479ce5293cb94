import { isSessiondError, limits, SessiondError, verbs, type Auth, type VerbInput, type VerbName, type VerbOutput } from "@sessiond/shared";
import { askedToWait, Backoff } from "./backoff.ts";
import { callLimit, orAborted, type CallLimit, type CallOptions } from "./call-limit.ts";
import type { Door } from "./door.ts";
import { isLinkLost, isNobody } from "./exchange.ts";
import { isWorthRepeating } from "./host-key.ts";
import type { Call, Link } from "./link.ts";
import { answerOf } from "./older-daemon.ts";

/**
 * The one connection that carries a handle's verbs. It is dialled when a call needs it.
 * When it breaks, the table's `retry` column decides about each call under way: `safe` and
 * `by_id` are sent again on the next connection, unchanged, until their time is over; of a
 * `no` verb the caller is told that it may have happened. A call that was one too many is made again
 * when the daemon said that it may be.
 */
export interface Sending<V extends VerbName> extends CallOptions {
  /** Clean-up: one try, no daemon is started for it and none waited for. */
  readonly once?: boolean;
  /**
   * What a refusal of a *repeated* call amounts to when the first one had arrived after all;
   * undefined: it is a refusal.
   */
  readonly alreadyDone?: (refusal: SessiondError) => VerbOutput<V> | undefined;
}

/** Verbs by which a caller asks for work to begin: for these a daemon is started also after one was told to go. */
const insists: readonly VerbName[] = ["start_session", "start_or_get_for_workdir"];

export class Connection {
  readonly door: Door;
  #link: Link | null = null;
  #opening: Promise<Link> | null = null;
  readonly #closing = new AbortController();

  constructor(door: Door) {
    this.door = door;
  }

  /**
   * Dials now, starting a daemon where allowed; calls do this by themselves. A link that
   * breaks under the first hello, as one to a daemon that is just leaving does, is tried again.
   */
  async open({ timeoutMs, signal }: CallOptions = {}): Promise<void> {
    const limit = callLimit(timeoutMs ?? limits.call_timeout_ms, signal);
    const backoff = new Backoff();
    let passing: SessiondError | null = null;
    try {
      for (;;) {
        try {
          await this.#reach(limit.signal, { insist: true });
          return;
        } catch (error) {
          if (!(error instanceof SessiondError && (isLinkLost(error) || error.code === "shutting_down"))) throw outOfTime(error, passing);
          passing = error;
        }
        await backoff.wait(limit.signal).catch((error: unknown) => {
          throw outOfTime(error, passing);
        });
      }
    } finally {
      limit.release();
    }
  }

  /** @throws SessiondError: the daemon's refusal, `timeout`, `cancelled`, `daemon_unreachable` */
  async call<V extends VerbName>(verb: V, input: VerbInput<V>, auth: Auth, options: Sending<V> = {}): Promise<VerbOutput<V>> {
    const limit = callLimit(Math.min(options.timeoutMs ?? limits.call_timeout_ms, limits.repeat_ms_max), options.signal);
    try {
      return await this.#send(verb, { ...input, auth }, limit, options);
    } catch (error) {
      if (error instanceof SessiondError) this.door.heard(error);
      throw error;
    } finally {
      limit.release();
    }
  }

  /** Aborts when this connection is closed for good; the reason is what later calls are refused with. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** The daemon closes this link by itself: the next call dials another. */
  leaveLink(): void {
    this.#link = null;
  }

  /** Ends all calls under way. A later call is refused with `daemon_unreachable`. */
  close(): void {
    this.#closing.abort(handleClosed());
    this.door.close();
    this.#link?.close();
  }

  async #send<V extends VerbName>(verb: V, input: Call<V>, limit: CallLimit, options: Sending<V>): Promise<VerbOutput<V>> {
    const { signal } = limit;
    const backoff = new Backoff();
    // Why the last try failed, while trying again makes sense; and whether one was sent at all.
    let passing: SessiondError | null = null;
    let sent = false;
    let lookedUp = false;
    for (;;) {
      let link: Link | null = null;
      const shown = input.auth?.host_key;
      try {
        link = await this.#reach(signal, { insist: insists.includes(verb) && !sent, onlyDial: options.once === true });
        return answerOf(verb, await link.call(verb, input, signal));
      } catch (error) {
        if (!(error instanceof SessiondError)) throw error;
        if (!lookedUp && isWorthRepeating(error, input.auth, shown)) {
          lookedUp = true;
          continue;
        }
        const lost = isLinkLost(error);
        if (lost && link !== null && verbs[verb].retry === "no")
          throw new SessiondError("daemon_unreachable", { ...error.detail, reason: "the link was lost; it may have happened", verb });
        // Nothing was done, whatever the verb: it waits as it is asked to, if its time allows.
        const pauseMs = askedToWait(error);
        const waits = pauseMs > 0 && pauseMs < limit.left();
        if (!lost && !isNobody(error) && !waits) {
          const done = sent ? options.alreadyDone?.(error) : undefined;
          if (done !== undefined) return done;
          throw outOfTime(link !== null && verbs[verb].kind === "mutation" ? unanswered(error, verb) : error, passing);
        }
        if (options.once === true || this.#closing.signal.aborted) throw error;
        passing = error;
        sent ||= link !== null && !waits;
      }
      await backoff.wait(signal, askedToWait(passing)).catch((error: unknown) => {
        throw outOfTime(error, passing);
      });
    }
  }

  async #reach(signal: AbortSignal, how: { insist?: boolean; onlyDial?: boolean }): Promise<Link> {
    if (this.#closing.signal.aborted) throw handleClosed();
    if (this.#link?.broken === false) return this.#link;
    this.#opening ??= this.#open(how).finally(() => {
      this.#opening = null;
    });
    return orAborted(this.#opening, signal);
  }

  /** Not bound to one caller's time: others wait for the same connection. */
  async #open(how: { insist?: boolean; onlyDial?: boolean }): Promise<Link> {
    const limit = callLimit(limits.daemon_start_wait_ms + limits.call_timeout_ms, this.#closing.signal);
    try {
      const link = await this.door.open({
        ...how,
        signal: limit.signal,
        ended: (ended) => {
          if (this.#link === ended) this.#link = null;
        },
      });
      if (this.#closing.signal.aborted) link.close();
      return (this.#link = link);
    } finally {
      limit.release();
    }
  }
}

export const handleClosed = (): SessiondError => new SessiondError("daemon_unreachable", { reason: "this handle is closed" });

/** It was sent, and nothing came back in time: that is no answer about whether it happened. */
const unanswered = (error: SessiondError, verb: VerbName): SessiondError =>
  isSessiondError(error, "timeout") ? new SessiondError("timeout", { ...error.detail, verb, outcome: "it may have happened" }) : error;

/** Out of time while nobody answers: that says more than `timeout`. */
const outOfTime = (error: unknown, passing: SessiondError | null): unknown => (passing !== null && isSessiondError(error, "timeout") ? passing : error);
