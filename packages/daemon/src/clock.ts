/** Time as the daemon sees it; injected, so that tests own it. */
export interface Clock {
  /** Milliseconds since 1970, for what is stored or shown. Somebody may set it, either way, at any time. */
  now(): number;
  /** Milliseconds since some instant, never set: for how long something lasts, within this process. */
  steady(): number;
  /** @returns a function that cancels the call */
  after(ms: number, call: () => void): () => void;
}

/** The machine's clock. Its timers keep no process alive: the open socket does that. */
export const systemClock: Clock = {
  now: () => Date.now(),
  steady: () => performance.now(),
  after(ms, call) {
    const timer = setTimeout(call, Math.min(ms, 2_147_483_647));
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** A power of two: the parts of any time come to exactly that time. */
const parts = 4;
/** A timer may be as late as this in a process that runs. */
const timerSlackMs = 50;

/**
 * As `after`, for the patience with a peer. While this process stands still (stopped, or starved) it hears nobody, so that time
 * does not count: a part that took twice as long as it should is begun again, and what came meanwhile is heard before the end.
 */
export function afterAwake(clock: Clock, ms: number, call: () => void): () => void {
  let left = parts;
  let cancel = next();
  function next(): () => void {
    const begun = clock.steady();
    return clock.after(ms / parts, () => {
      if (clock.steady() - begun <= Math.max((2 * ms) / parts, timerSlackMs)) left -= 1;
      if (left === 0) call();
      else cancel = next();
    });
  }
  return () => cancel();
}

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
