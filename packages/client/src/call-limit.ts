import { SessiondError } from "@sessiond/shared";

/** How long a call may take, and what else ends it. */
export interface CallOptions {
  /** Milliseconds, dialling, repeats and waits that the daemon asks for included; `call_timeout_ms` unless given. Ends in `timeout`. */
  readonly timeoutMs?: number | undefined;
  /** Ends the wait in `cancelled`. What was sent may still happen. */
  readonly signal?: AbortSignal | undefined;
}

/** A signal whose reason is always the SessiondError that the caller gets. */
export interface CallLimit {
  readonly signal: AbortSignal;
  /** Milliseconds that are left. */
  left(): number;
  /** Frees timer and listener; call it when the call is over. */
  release(): void;
}

/** What a timer can hold: 24 days; longer is for ever. */
const timerMsMax = 2 ** 31 - 1;

/**
 * @param timeoutMs  undefined: as long as it takes
 * @param others     signals that end it too; one whose reason is a SessiondError says by it what it was
 */
export function callLimit(timeoutMs: number | undefined, ...others: readonly (AbortSignal | undefined)[]): CallLimit {
  const controller = new AbortController();
  const expire = (): void => controller.abort(new SessiondError("timeout", { timeout_ms: timeoutMs }));
  const begun = performance.now();
  const timer = timeoutMs === undefined || timeoutMs > timerMsMax ? undefined : setTimeout(expire, timeoutMs);
  const leaves = others.map((other) => {
    if (other === undefined) return () => undefined;
    const cancel = (): void => controller.abort(other.reason instanceof SessiondError ? other.reason : new SessiondError("cancelled"));
    other.addEventListener("abort", cancel, { once: true });
    if (other.aborted) cancel();
    return () => other.removeEventListener("abort", cancel);
  });
  return {
    signal: controller.signal,
    left: () => (timeoutMs ?? Number.POSITIVE_INFINITY) - (performance.now() - begun),
    release: () => {
      clearTimeout(timer);
      for (const leave of leaves) leave();
    },
  };
}

/** The promise's outcome, or the signal's reason if that comes first. The work itself goes on. */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
