import type { SessiondError } from "@sessiond/shared";

/** Who waits for a seq to be reached: shown, or on disk. */
export class SeqWaiters {
  #waiting: { readonly seq: number; readonly resolve: () => void; readonly reject: (error: SessiondError) => void }[] = [];

  /** Resolves when `seq` is reached. @throws SessiondError what `fail` was given */
  wait(seq: number): Promise<void> {
    return new Promise((resolve, reject) => this.#waiting.push({ seq, resolve, reject }));
  }

  /** True when somebody waits for a seq up to this one. */
  any(seq: number): boolean {
    return this.#waiting.some((waiter) => waiter.seq <= seq);
  }

  reached(seq: number): void {
    const ready = this.#waiting.filter((waiter) => waiter.seq <= seq);
    this.#waiting = this.#waiting.filter((waiter) => waiter.seq > seq);
    for (const waiter of ready) waiter.resolve();
  }

  fail(error: SessiondError): void {
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
  }
}
