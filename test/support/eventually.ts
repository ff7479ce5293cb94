import { setTimeout as pause } from "node:timers/promises";

/**
 * Looks again and again until a condition outside this process holds: a process gone, a file written.
 * What an event tells inside this process is awaited as that event, not here.
 *
 * @returns what `look` gave when it was neither undefined, null nor false
 */
export async function eventually<T>(what: string, look: () => T | Promise<T>, withinMs = 25_000): Promise<NonNullable<T>> {
  const until = performance.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== null && found !== false) return found as NonNullable<T>;
    if (performance.now() > until) throw new Error(`it did not come about within ${withinMs} ms that ${what}`);
    await pause(10);
  }
}
