/**
 * One signal for several: it aborts with the first of them, for the same reason. `AbortSignal.any` does
 * that too, but Node 20 keeps an entry for each of its calls with every signal given, as long as that one
 * lives: a connection, or an agent.
 *
 * @returns `release` lets go of the signals; call it when nobody waits any more
 */
export function joinedSignal(...signals: readonly AbortSignal[]): { readonly signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const leaves = signals.map((each) => {
    const abort = (): void => controller.abort(each.reason);
    if (each.aborted) abort();
    else each.addEventListener("abort", abort, { once: true });
    return () => each.removeEventListener("abort", abort);
  });
  return {
    signal: controller.signal,
    release: () => {
      for (const leave of leaves) leave();
    },
  };
}
