import type { Chance } from "../support/chance.ts";

/**
 * What is under way on the simulated disk. Nothing happens by itself: the simulation lets one
 * operation after another come true, in an order that chance decides, and meanwhile others are begun.
 */
export interface Operation {
  readonly kind: OperationKind;
  readonly path: string;
  /** Not before this tick. */
  due: number;
  /** Do it, and tell who waits. */
  complete(): void;
  /** The machine stops now: part of it may have come true. Nobody is told. */
  cutShort(chance: Chance): void;
}

export type OperationKind = "write" | "sync" | "read" | "open" | "replace" | "rename" | "remove" | "directory" | "directory_sync" | "truncate";

export class Scheduler {
  /** How many operations have come true. */
  done = 0;
  #tick = 0;
  #pending: Operation[] = [];

  get tick(): number {
    return this.#tick;
  }

  get pending(): readonly Operation[] {
    return this.#pending;
  }

  add(operation: Operation): void {
    this.#pending.push(operation);
  }

  /** Let one operation come true. @returns false when none is under way */
  one(chance: Chance): boolean {
    this.#tick += 1;
    let ready = this.#pending.filter(({ due }) => due <= this.#tick);
    if (ready.length === 0) {
      if (this.#pending.length === 0) return false;
      this.#tick = Math.min(...this.#pending.map(({ due }) => due));
      ready = this.#pending.filter(({ due }) => due <= this.#tick);
    }
    const chosen = ready[Math.floor(chance.upTo(ready.length))];
    if (chosen === undefined) return false;
    this.#pending.splice(this.#pending.indexOf(chosen), 1);
    this.done += 1;
    chosen.complete();
    return true;
  }

  /** The machine stops, or the process is killed. */
  stop(chance: Chance): void {
    for (const operation of this.#pending.splice(0)) operation.cutShort(chance);
  }
}

/** Everything that follows from what has just happened, short of the disk, has happened when this resolves. */
export async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
}
