/**
 * How the command goes: what was opened is closed first (seats are left, tokens revoked), but
 * not waited for beyond a moment; the daemon gives up what a vanished client held.
 */
const closers: (() => Promise<void>)[] = [];
const goodbyeMs = 1_500;
let leaving: Promise<void> | null = null;

export function onLeave(close: () => Promise<void>): void {
  closers.push(close);
}

/** What fails from now on fails because we go; nobody needs to hear of it. */
export const isLeaving = (): boolean => leaving !== null;

/** Never returns to the caller's work: the process ends with that code. */
export function leave(code: number, waitMs: number = goodbyeMs): Promise<void> {
  leaving ??= (async () => {
    const late = new Promise<void>((resolve) => setTimeout(resolve, waitMs));
    await Promise.race([Promise.allSettled(closers.map((close) => close())), late]);
    process.exit(code);
  })();
  return leaving;
}
