import type { Clock } from "../../packages/daemon/src/clock.ts";

/** Time of the simulated machine: how long it has run, and what its wall clock says, which may be set. */
export class MachineTime {
  running = 0;
  #latest = 0;
  #set = 1_700_000_000_000;

  get wall(): number {
    const now = this.running + this.#set;
    this.#latest = Math.max(this.#latest, now);
    return now;
  }

  /** The latest that its wall clock has ever said: what had expired then may be forgotten. */
  get latest(): number {
    return Math.max(this.#latest, this.wall);
  }

  jump(ms: number): void {
    this.#latest = this.latest;
    this.#set += ms;
  }
}

/** The clock of one run of the daemon. Its timers end with it, and are not moved when the wall clock is set. */
export class SimClock implements Clock {
  readonly #time: MachineTime;
  #timers: { readonly at: number; readonly call: () => void }[] = [];

  constructor(time: MachineTime) {
    this.#time = time;
  }

  now(): number {
    return this.#time.wall;
  }

  steady(): number {
    return this.#time.running;
  }

  after(ms: number, call: () => void): () => void {
    const timer = { at: this.#time.running + Math.max(0, ms), call };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((waiting) => waiting !== timer);
    };
  }

  /** When the next timer is due, counted in running time. */
  get next(): number {
    return Math.min(...this.#timers.map(({ at }) => at));
  }

  /** Call the timer that is due first, if it is by now. */
  fire(): boolean {
    const due = this.#timers.filter(({ at }) => at <= this.#time.running).toSorted((a, b) => a.at - b.at)[0];
    if (due === undefined) return false;
    this.#timers = this.#timers.filter((waiting) => waiting !== due);
    due.call();
    return true;
  }

  stop(): void {
    this.#timers = [];
  }
}
