import type { SessionId } from "@sessiond/shared";

/**
 * Which sessions calls are at work on. What takes a session out of memory, or away, does so only
 * while no call holds it, and a call that comes meanwhile waits until that is done. So no handler
 * finds that the session which the gate gave it has been put to rest under its hands.
 */
export class Leases {
  readonly #held = new Map<SessionId, number>();
  readonly #leaving = new Map<SessionId, Promise<unknown>>();
  readonly #freed = new Map<SessionId, (() => void)[]>();

  /** Waits while the session is being put to rest or deleted. @returns releases it; call it once */
  async hold(id: SessionId): Promise<() => void> {
    for (let leaving = this.#leaving.get(id); leaving !== undefined; leaving = this.#leaving.get(id)) await leaving;
    this.#held.set(id, (this.#held.get(id) ?? 0) + 1);
    return () => this.#release(id);
  }

  /**
   * Do what no call may see the middle of. `work` begins in this very step.
   *
   * @returns false, and nothing was done, when a call holds the session
   */
  async vacate(id: SessionId, work: () => Promise<void>): Promise<boolean> {
    if (this.#held.has(id)) return false;
    const leaving = work();
    this.#leaving.set(
      id,
      leaving.catch(() => undefined),
    );
    try {
      await leaving;
    } finally {
      this.#leaving.delete(id);
    }
    return true;
  }

  /** Resolves when no call holds the session. */
  freed(id: SessionId): Promise<void> {
    if (!this.#held.has(id)) return Promise.resolve();
    return new Promise((resolve) => this.#freed.set(id, [...(this.#freed.get(id) ?? []), resolve]));
  }

  #release(id: SessionId): void {
    const left = (this.#held.get(id) ?? 1) - 1;
    if (left > 0) return void this.#held.set(id, left);
    this.#held.delete(id);
    const waiting = this.#freed.get(id) ?? [];
    this.#freed.delete(id);
    for (const resolve of waiting) resolve();
  }
}
