import { Fifo } from "./fifo.ts";

interface Waiting {
  readonly line: string;
  readonly bytes: number;
}

/** A line that waits costs this much beside its text. */
const lineCost = 128;

/** Lines on their way out, one behind the other: the next is written when `write` has taken the one before. */
export class OutgoingLines {
  readonly #write: (line: string) => void | Promise<void>;
  readonly #bytesMax: number;
  readonly #failed: (reason: string) => void;
  readonly #encoder = new TextEncoder();
  readonly #waiting = new Fifo<Waiting>();
  #bytes = 0;
  #said = 0;
  #taken = 0;
  #busy = false;
  #over = false;
  readonly #flushes: { readonly upTo: number; readonly done: () => void }[] = [];

  /** @param failed  told once why nothing more can be written */
  constructor(write: (line: string) => void | Promise<void>, bytesMax: number, failed: (reason: string) => void) {
    this.#write = write;
    this.#bytesMax = bytesMax;
    this.#failed = failed;
  }

  /** @throws TypeError what is no JSON */
  say(message: object): void {
    // JSON leaves these three as they are, and readers that go by lines of text, not by "\n", cut there.
    const line = `${JSON.stringify(message).replace(/[\u0085\u2028\u2029]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`)}\n`;
    if (this.#over) return;
    const bytes = this.#busy ? this.#encoder.encode(line).length + lineCost : 0; // what is taken at once never waits
    this.#said += 1;
    this.#bytes += bytes;
    this.#waiting.add({ line, bytes });
    if (this.#bytes > this.#bytesMax) return this.#end(`more than ${this.#bytesMax} bytes wait to be written (limit acp_unwritten_bytes_max)`);
    this.#next();
  }

  /** Resolves when all that was said so far has been taken, or nothing more will be. */
  flushed(): Promise<void> {
    if (this.#over || this.#taken === this.#said) return Promise.resolve();
    return new Promise((done) => this.#flushes.push({ upTo: this.#said, done }));
  }

  #next(): void {
    while (!this.#busy && !this.#over) {
      const next = this.#waiting.take();
      if (next === undefined) return;
      this.#bytes -= next.bytes;
      this.#busy = true; // also while `write` runs: what is said from within it waits its turn
      try {
        const held = this.#write(next.line);
        if (held === undefined) this.#took();
        else
          held.then(
            () => (this.#took(), this.#next()),
            (error: unknown) => this.#end(whyNot(error)),
          );
      } catch (error) {
        this.#end(whyNot(error));
      }
    }
  }

  #took(): void {
    this.#busy = false;
    this.#taken += 1;
    while (this.#flushes[0] !== undefined && this.#flushes[0].upTo <= this.#taken) this.#flushes.shift()?.done();
  }

  #end(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#waiting.clear();
    for (const { done } of this.#flushes.splice(0)) done();
    this.#failed(reason);
  }
}

const whyNot = (error: unknown): string => `it could not be written to: ${error instanceof Error ? error.message : String(error)}`;
