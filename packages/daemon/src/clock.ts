/** Time as the daemon sees it; injected, so that tests own it. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** @returns a function that cancels the call */
  after(ms: number, call: () => void): () => void;
}

/** The machine's clock. Its timers keep no process alive: the open socket does that. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, call) {
    const timer = setTimeout(call, Math.min(ms, 2_147_483_647));
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** What `within` gives when the time has passed. */
export const late = Symbol("late");

/** The work's result, or `late` after `ms`; the work itself goes on unheard. Rejects as the work does. */
export async function within<T>(clock: Clock, ms: number, work: Promise<T>): Promise<T | typeof late> {
  let cancel = (): void => undefined;
  const passed = new Promise<typeof late>((resolve) => (cancel = clock.after(ms, () => resolve(late))));
  try {
    return await Promise.race([work, passed]);
  } finally {
    cancel();
  }
}
