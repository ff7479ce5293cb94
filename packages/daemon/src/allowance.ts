import type { Clock } from "./clock.ts";

/**
 * What each of many has left of something that comes back by itself: `max` at once, and what was used comes back evenly,
 * `max` in `windowMs`. Kept as whole numbers, so that the wait it tells is true to the millisecond.
 *
 * Nobody is remembered who has all of it. Of those that are, at most `keptMax`: beyond it the quarter that has used
 * least is forgotten, so that who used much is not forgotten for others who used little.
 */
interface Used {
  /** One use is `windowMs`; `max` of it comes back each millisecond. */
  readonly level: number;
  readonly at: number;
}

interface AllowanceOptions {
  readonly clock: Pick<Clock, "steady">;
  readonly max: number;
  readonly windowMs: number;
  readonly keptMax: number;
}

export class Allowance<Who> {
  readonly #options: AllowanceOptions;
  /** Who used some last is last. */
  readonly #used = new Map<Who, Used>();

  constructor(options: AllowanceOptions) {
    this.#options = options;
  }

  /** Milliseconds until one more may be used; 0: now. */
  wait(who: Who): number {
    const { max, windowMs } = this.#options;
    const missing = this.#level(who, this.#now) - (max - 1) * windowMs;
    return missing <= 0 ? 0 : Math.ceil(missing / max);
  }

  /** Beyond what there is it costs nothing more: nobody waits longer than for one. */
  use(who: Who): void {
    const now = this.#now;
    const { max, windowMs } = this.#options;
    const level = Math.min(this.#level(who, now) + windowMs, max * windowMs);
    this.#used.delete(who);
    this.#used.set(who, { level, at: now });
    this.#forget(now);
  }

  /** How many are remembered. */
  get size(): number {
    return this.#used.size;
  }

  get #now(): number {
    return Math.floor(this.#options.clock.steady());
  }

  #level(who: Who, now: number): number {
    const used = this.#used.get(who);
    return used === undefined ? 0 : Math.max(0, used.level - (now - used.at) * this.#options.max);
  }

  /** At most a window after their last use they have all of it again. Cost: spread over the uses, a step each. */
  #forget(now: number): void {
    const { keptMax } = this.#options;
    for (const who of this.#used.keys()) {
      if (this.#level(who, now) > 0) break;
      this.#used.delete(who);
    }
    if (this.#used.size <= keptMax) return;
    const least = [...this.#used.keys()].map((who) => ({ who, level: this.#level(who, now) })).sort((one, other) => one.level - other.level);
    for (const { who } of least.slice(0, this.#used.size - Math.floor((keptMax * 3) / 4))) this.#used.delete(who);
  }
}
