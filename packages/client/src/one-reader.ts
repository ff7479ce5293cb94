import { SessiondError } from "@sessiond/shared";

/** What is queued for one reader. */
export interface Reading<E> {
  /** The next, where it is there already; null where `take` has to wait, and at the end. Not while a `take` is under way. */
  ready(): E | null;
  /** One call at a time. @returns null at the end. @throws the end's error, after everything before it was taken */
  take(): Promise<E | null>;
  /** The reader has gone; a `take` under way gets the end. */
  close(): void;
}

/** Events for one reader at a time. A queue exists only while somebody iterates. */
export class OneReader<E> implements AsyncIterable<E> {
  readonly #begin: () => Reading<E>;
  #reading = false;

  constructor(begin: () => Reading<E>) {
    this.#begin = begin;
  }

  /** @throws SessiondError `unsupported` while another reader iterates */
  [Symbol.asyncIterator](): AsyncIterator<E, undefined> {
    if (this.#reading) throw new SessiondError("unsupported", { reason: "one reader at a time takes these events" });
    this.#reading = true;
    const reading = this.#begin();
    let over = false;
    const done = (): { done: true; value: undefined } => {
      reading.close();
      // Asked once more after its end, it must not make room beside the next reader.
      if (!over) this.#reading = false;
      over = true;
      return { done: true, value: undefined };
    };
    /** Calls of `next` that wait. */
    let waiting = 0;
    const take = async (): Promise<IteratorResult<E, undefined>> => {
      try {
        const event = await reading.take();
        return event === null ? done() : { done: false, value: event };
      } catch (error) {
        done();
        throw error;
      } finally {
        waiting -= 1;
      }
    };
    let before: Promise<unknown> = Promise.resolve();
    return {
      next: () => {
        // Most are there when they are asked for; a promise for each, instead of a chain of them, is most of what reading costs.
        const there = waiting === 0 ? reading.ready() : null;
        if (there !== null) return Promise.resolve({ done: false, value: there });
        waiting += 1;
        // Of two that are asked for at once, each gets its own, in order.
        const result = before.then(take);
        before = result.catch(() => undefined);
        return result;
      },
      return: async () => done(),
    };
  }
}
