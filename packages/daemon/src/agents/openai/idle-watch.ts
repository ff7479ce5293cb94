/**
 * Notices a peer that says nothing. A client's own timeout covers the headers only; a stream
 * that falls silent would hang for ever. Only time spent waiting for the peer counts, not what
 * the consumer takes to handle what came.
 */
export class IdleWatch {
  readonly #abort = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #waiting = false;

  constructor(ms: number) {
    // One timer, refreshed: a new one for each chunk would cost more than the chunk.
    this.#timer = setTimeout(() => {
      if (this.#waiting) this.#abort.abort();
    }, ms);
  }

  /** Aborts when the peer was silent for too long. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get silent(): boolean {
    return this.#abort.signal.aborted;
  }

  /** Watches while this is awaited. */
  async during<T>(work: Promise<T>): Promise<T> {
    this.#timer.refresh();
    this.#waiting = true;
    try {
      return await work;
    } finally {
      this.#waiting = false;
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
