import { SessiondError } from "@sessiond/shared";

/** How long a call may take, and what else ends it. */
export interface CallOptions {
  /** Milliseconds, dialling and repeats included; `call_timeout_ms` unless given. Ends in `timeout`. */
  readonly timeoutMs?: number | undefined;
  /** Ends the wait in `cancelled`. What was sent may still happen. */
  readonly signal?: AbortSignal | undefined;
}

/** A signal whose reason is always the SessiondError that the caller gets. */
export interface CallLimit {
  readonly signal: AbortSignal;
  /** Frees timer and listener; call it when the call is over. */
  release(): void;
}

export function callLimit(timeoutMs: number, caller?: AbortSignal): CallLimit {
  const controller = new AbortController();
  const cancel = (): void => controller.abort(new SessiondError("cancelled"));
  const timer = setTimeout(() => controller.abort(new SessiondError("timeout", { timeout_ms: timeoutMs })), timeoutMs);
  caller?.addEventListener("abort", cancel, { once: true });
  if (caller?.aborted) cancel();
  return {
    signal: controller.signal,
    release: () => {
      clearTimeout(timer);
      caller?.removeEventListener("abort", cancel);
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
