/**
 * Text that comes in any pieces, taken apart into the model's chunks again, each of which ends with a space: what was
 * lost, doubled or moved shows, however a peer joins them.
 */
export class Tokens {
  count = 0;
  /** The first chunk that was not the one expected; undefined while all is well. */
  wrong: string | undefined;
  readonly #taken: (token: string, index: number) => boolean;
  #rest = "";

  /** @param taken  is told each chunk; false where it should have been another */
  constructor(taken: (token: string, index: number) => boolean) {
    this.#taken = taken;
  }

  take(text: string): void {
    const tokens = `${this.#rest}${text}`.split(" ");
    this.#rest = tokens.pop() ?? "";
    for (const token of tokens) {
      if (!this.#taken(token, this.count) && this.wrong === undefined) this.wrong = `chunk ${this.count} was ${token}`;
      this.count++;
    }
  }
}
