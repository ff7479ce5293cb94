import type { Limits } from "../limits.ts";
import { glimpse, type Glimpse } from "./glimpse.ts";
import { shapeBeyond } from "./nesting.ts";

/** A line to be parsed, or what is known of one that will not be. `bytes` is its length. */
export type CutLine =
  | { readonly text: string; readonly bytes: number }
  | { readonly refused: Glimpse; readonly limit: "acp_message_bytes_max" | "acp_depth_max" | "acp_values_max"; readonly bytes: number };

const newline = 0x0a;
/** Of a line that is not read, so much of its beginning and of its end is looked at: an id and a method fit. */
const glimpsed = 1_024;

/**
 * Cuts bytes into lines, wherever they come apart. Of a line that has no end yet at most `acp_message_bytes_max` are kept;
 * of a longer one its beginning and its end.
 */
export class LineCutter {
  readonly #limits: Limits;
  readonly #take: (line: CutLine) => void;
  readonly #decoder = new TextDecoder(); // leaves out a byte order mark, and reads broken UTF-8 as U+FFFD
  #length = 0;
  /** The line so far is in its first `#length` bytes, or in as many as it has when the line is too long. */
  #buffer = new Uint8Array(0);
  /** The last bytes of a line that is too long. */
  #tail: Uint8Array | null = null;

  constructor(limits: Limits, take: (line: CutLine) => void) {
    this.#limits = limits;
    this.#take = take;
  }

  add(bytes: Uint8Array): void {
    let from = 0;
    for (let end = bytes.indexOf(newline); end !== -1; end = bytes.indexOf(newline, from)) {
      this.#cut(bytes.subarray(from, end));
      from = end + 1;
    }
    if (from < bytes.length) this.#keep(bytes.subarray(from));
  }

  /** No more bytes come: what stands there without an end counts as a line. */
  end(): void {
    if (this.#length > 0) this.#cut(new Uint8Array(0));
  }

  #cut(rest: Uint8Array): void {
    // Most lines come whole, and are read where they stand.
    const whole = this.#length === 0 && rest.length <= this.#limits.acp_message_bytes_max;
    if (!whole) this.#keep(rest);
    const [bytes, tail] = [whole ? rest.length : this.#length, this.#tail];
    const line = whole ? rest : this.#buffer.subarray(0, this.#length);
    this.#length = 0;
    this.#tail = null;
    this.#buffer = new Uint8Array(0);
    if (tail !== null) return this.#take({ refused: this.#glimpse(line, tail), limit: "acp_message_bytes_max", bytes });
    const limit = shapeBeyond(line, this.#limits);
    if (limit !== null) return this.#take({ refused: this.#glimpse(line, line), limit, bytes });
    const text = this.#decoder.decode(line).trim();
    if (text !== "") this.#take({ text, bytes });
  }

  #glimpse(head: Uint8Array, tail: Uint8Array): Glimpse {
    return glimpse(this.#decoder.decode(head.subarray(0, glimpsed)), this.#decoder.decode(tail.subarray(-glimpsed)));
  }

  #keep(bytes: Uint8Array): void {
    const [before, max] = [this.#length, this.#limits.acp_message_bytes_max];
    this.#length += bytes.length;
    if (this.#tail !== null) {
      this.#tail = lastOf(this.#tail, bytes);
    } else if (this.#length > max) {
      this.#tail = lastOf(this.#buffer.subarray(0, before), bytes);
      this.#buffer = firstOf(this.#buffer.subarray(0, before), bytes);
    } else {
      if (this.#length > this.#buffer.length) {
        const larger = new Uint8Array(Math.min(max, Math.max(4_096, 2 * this.#length)));
        larger.set(this.#buffer.subarray(0, before));
        this.#buffer = larger;
      }
      this.#buffer.set(bytes, before);
    }
  }
}

const firstOf = (one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> =>
  joined(one.subarray(0, glimpsed), other.subarray(0, glimpsed)).slice(0, glimpsed);
const lastOf = (one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> => joined(one.subarray(-glimpsed), other.subarray(-glimpsed)).slice(-glimpsed);

function joined(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}
