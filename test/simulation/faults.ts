import type { Operation, OperationKind } from "./scheduler.ts";

/**
 * What goes wrong with the disk, and when: a trap waits for the n-th operation of its kind. A trap
 * that has caught something is gone; those that wait are taken away when everything heals.
 */
export type DiskFault =
  | { readonly type: "fail"; readonly code: "EIO" | "ENOSPC"; readonly effect: "none" | "part" | "all" }
  | { readonly type: "slow"; readonly ticks: number }
  | { readonly type: "crash"; readonly power: boolean; readonly moment: "before" | "during" | "after" };

export interface Trap {
  readonly name: string;
  readonly on: readonly OperationKind[];
  readonly fault: DiskFault;
  skip: number;
}

export class Faults {
  /** How often each has happened. */
  readonly hits: Map<string, number>;
  readonly #traps: Trap[] = [];
  /** Nothing is written any more until there is room again. */
  full = false;
  /** Something has failed since this was put back. */
  failed = false;

  constructor(hits: Map<string, number>) {
    this.hits = hits;
  }

  set(trap: Trap): void {
    this.#traps.push(trap);
  }

  heal(): void {
    this.#traps.length = 0;
    this.full = false;
  }

  hit(name: string): void {
    this.hits.set(name, (this.hits.get(name) ?? 0) + 1);
  }

  /** What becomes of an operation: at its beginning (`slow`), or when it is about to come true. */
  judge({ kind }: Pick<Operation, "kind" | "path">, begins: boolean): DiskFault | null {
    for (const trap of this.#traps) {
      if (!trap.on.includes(kind) || (trap.fault.type === "slow") !== begins) continue;
      if (trap.skip-- > 0) continue;
      this.#traps.splice(this.#traps.indexOf(trap), 1);
      this.hit(trap.name);
      if (trap.fault.type === "fail") this.failed = true;
      return trap.fault;
    }
    if (!begins && this.full && (kind === "write" || kind === "replace" || kind === "directory")) {
      this.hit("disk_full");
      this.failed = true;
      return { type: "fail", code: "ENOSPC", effect: kind === "write" ? "part" : "none" };
    }
    return null;
  }
}
