import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { eventSchema } from "@sessiond/shared";
import type { Counters } from "../../packages/daemon/src/counters.ts";

/**
 * What was done between two moments, in numbers that are the same on every machine: the daemon's counters, and beside
 * them what no counter of its own tells because only tests ask for it: digests that were taken, events that were
 * validated (wherever, inside of a frame or a page), characters that were made into JSON, and characters that were made
 * into bytes.
 */
export interface Work {
  readonly framesEncoded: number;
  readonly framesDecoded: number;
  readonly framesShown: number;
  readonly framesSent: number;
  readonly batchesSent: number;
  readonly journalReadBytes: number;
  readonly journalWrittenBytes: number;
  readonly journalWrites: number;
  readonly journalSyncs: number;
  readonly filesReplaced: number;
  readonly digests: number;
  readonly eventsValidated: number;
  readonly jsonChars: number;
  readonly encodedChars: number;
}

const counted = [
  "framesEncoded",
  "framesDecoded",
  "framesShown",
  "framesSent",
  "batchesSent",
  "journalReadBytes",
  "journalWrittenBytes",
  "journalWrites",
  "journalSyncs",
  "filesReplaced",
] as const satisfies (keyof Counters & keyof Work)[];

type Run = (...given: unknown[]) => unknown;

/** Counts in this process until `end`. */
export class CountedWork {
  readonly #counters: Counters;
  readonly #beside = { digests: 0, eventsValidated: 0, jsonChars: 0, encodedChars: 0 };
  readonly #undo: (() => void)[] = [];

  constructor(counters: Counters) {
    this.#counters = counters;
    this.#watch(crypto, "createHash", () => void (this.#beside.digests += 1));
    // Also inside of other schemas: each runs those that it consists of by this.
    const { _zod } = eventSchema as unknown as { _zod: object };
    this.#watch(_zod, "run", () => void (this.#beside.eventsValidated += 1));
    this.#watch(JSON, "stringify", (text) => void (this.#beside.jsonChars += typeof text === "string" ? text.length : 0));
    this.#watch(Buffer, "from", (_bytes, [text]) => void (this.#beside.encodedChars += typeof text === "string" ? text.length : 0));
    syncBuiltinESMExports();
  }

  /** @returns what was done until `work` had ended */
  async of(work: () => Promise<unknown>): Promise<Work> {
    const before = this.#now();
    await work();
    const now = this.#now();
    return Object.fromEntries(Object.entries(now).map(([name, count]) => [name, count - before[name as keyof Work]])) as unknown as Work;
  }

  end(): void {
    for (const undo of this.#undo.splice(0)) undo();
    syncBuiltinESMExports();
  }

  #now(): Work {
    const own = Object.fromEntries(counted.map((name) => [name, this.#counters[name]])) as Record<(typeof counted)[number], number>;
    return { ...own, ...this.#beside };
  }

  #watch(owner: object, name: string, done: (result: unknown, given: readonly unknown[]) => void): void {
    const original = Reflect.get(owner, name) as Run;
    const watched: Run = (...given) => {
      const result = original.apply(owner, given);
      done(result, given);
      return result;
    };
    Reflect.set(owner, name, watched);
    this.#undo.push(() => void Reflect.set(owner, name, original));
  }
}
