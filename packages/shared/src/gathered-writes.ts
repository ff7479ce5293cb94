/**
 * What is said on a connection in one step, as calls that are made together and their answers, leaves in one write: each
 * is a system call, and wakes the peer. For Node's sockets; nothing waits longer than until the step is over.
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
