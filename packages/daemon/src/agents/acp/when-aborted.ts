/** The work's result, or null when the signal aborts before; the work itself goes on unheard. */
export async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T | null> {
  if (signal.aborted) return null;
  let abort = (): void => undefined;
  const aborted = new Promise<null>((resolve) => (abort = () => resolve(null)));
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
