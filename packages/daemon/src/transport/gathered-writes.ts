/**
 * What is said on a connection in one step, as the answers to calls that were read together, leaves in one write: each is a
 * system call, and wakes the peer. Nothing waits longer than until the step is over. The library does not gather its
 * calls: the daemon is at work on the first of them while it makes the others.
 */
export interface Corkable {
  cork(): void;
  uncork(): void;
}

export class GatheredWrites {
  readonly #line: Corkable;
  #gathering = false;

  constructor(line: Corkable) {
    this.#line = line;
  }

  /** To be called before each write. */
  gather(): void {
    if (this.#gathering) return;
    this.#gathering = true;
    this.#line.cork();
    process.nextTick(() => {
      this.#gathering = false;
      this.#line.uncork();
    });
  }
}
