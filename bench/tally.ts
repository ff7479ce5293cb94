/**
 * What one viewer got of a turn. Each chunk must come once and in its order; the turn's end tells that no more will
 * come. A viewer that lost one or got one twice is an error and not a figure.
 */
export interface Seen {
  readonly type: string;
  readonly content?: { readonly text: string };
}

export class Tally {
  /** Resolves at the turn's end. @throws when an event is missing, doubled or not where it belongs */
  readonly whole: Promise<void>;
  /** hrtime in ns of the last chunk. */
  last = 0n;
  /** For stamped chunks: from the model's write to here, in ms. */
  readonly latencies: number[] = [];
  readonly #chunks: number;
  readonly #stamped: boolean;
  #count = 0;
  #before = -1n;
  #resolve: () => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;

  /** @param stamped  each chunk's text is the time at which it was written, else its number */
  constructor(chunks: number, stamped: boolean) {
    this.#chunks = chunks;
    this.#stamped = stamped;
    this.whole = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Awaited when all viewers have begun.
    this.whole.catch(() => undefined);
  }

  see({ type, content }: Seen): void {
    if (type === "agent_message_chunk") return this.#chunk(content?.text ?? "");
    if (type !== "turn_ended") return;
    if (this.#count === this.#chunks) this.#resolve();
    else this.fail(`got ${this.#count} of ${this.#chunks} chunks`);
  }

  fail(why: string): void {
    this.#reject(new Error(`a viewer ${why}`));
  }

  #chunk(text: string): void {
    if (this.#stamped) this.#stamp(BigInt(text.trimEnd()));
    else if (Number(text) !== this.#count) this.fail(`got chunk ${text}when ${this.#count} was next`);
    if (++this.#count === this.#chunks) this.last = process.hrtime.bigint();
  }

  #stamp(written: bigint): void {
    this.latencies.push(Number(process.hrtime.bigint() - written) / 1e6);
    if (written <= this.#before) this.fail("got a chunk twice, or late");
    this.#before = written;
  }
}
