import { isSessiondError, limits, SessiondError } from "@sessiond/shared";

const firstMs = 20;

/** Pauses between tries: doubling up to `redial_ms_max`, jittered so that many clients do not come at once. */
export class Backoff {
  #tries = 0;

  reset(): void {
    this.#tries = 0;
  }

  /** @param atLeastMs  the peer asked for this much. @throws the signal's reason when it aborts first */
  wait(signal: AbortSignal, atLeastMs = 0): Promise<void> {
    const most = Math.min(limits.redial_ms_max, firstMs * 2 ** this.#tries++);
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        clearTimeout(timer);
        reject(signal.reason);
      };
      const timer = setTimeout(
        () => {
          signal.removeEventListener("abort", abort);
          resolve();
        },
        atLeastMs + most * (0.5 + Math.random() / 2),
      );
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
    });
  }
}

/** How long a refusal asks its caller to wait, in milliseconds: nothing was done, and later it will be. 0: it does not say. */
export function askedToWait(error: unknown): number {
  const ms = isSessiondError(error, "rate_limited") ? error.detail["retry_after_ms"] : undefined;
  return typeof ms === "number" && ms > 0 ? ms : 0;
}

/**
 * The answer, asked for again as long as a refusal does not say that it is hopeless.
 *
 * @param over  nobody needs it any more: the next failure is the last
 * @throws SessiondError: that refusal, the last failure, or the signal's reason
 */
export async function untilAnswered<T>(ask: () => Promise<T>, { signal, over }: { readonly signal: AbortSignal; readonly over?: () => boolean }): Promise<T> {
  const backoff = new Backoff();
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof SessiondError)) throw new SessiondError("internal", {}, { cause: error });
      if (error.retry === "never" || over?.() === true) throw error;
    }
    await backoff.wait(signal);
  }
}
