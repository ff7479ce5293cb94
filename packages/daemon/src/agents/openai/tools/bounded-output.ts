import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";

/**
 * What a command printed, in bounded memory: its first half and its last half of what is
 * allowed. It always drains, so that a command never blocks on a reader that is slow or has
 * enough; and it gives the same text in pieces to whoever shows it while it comes.
 */
export class BoundedOutput {
  readonly #half: number;
  readonly #showMax: number;
  #head = "";
  #headBytes = 0;
  #tail: { text: string; bytes: number }[] = [];
  #tailBytes = 0;
  #leftOut = 0;
  #shown = 0;
  #pending = "";
  #wake = (): void => {};

  constructor(bytesMax: number) {
    this.#half = Math.floor(bytesMax / 2);
    this.#showMax = bytesMax;
  }

  /** A character may come in two pieces, so each pipe has its own decoder. */
  drain(pipe: Readable): void {
    const decoder = new StringDecoder("utf8");
    pipe.on("data", (bytes: Buffer) => this.#add(decoder.write(bytes)));
    pipe.on("end", () => this.#add(decoder.end()));
    pipe.on("error", () => {});
  }

  /** Resolves when there is something to take. */
  async ready(): Promise<void> {
    if (this.#pending === "") await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** What came since the last call; nothing any more once the bound is reached. */
  take(): string {
    const text = this.#pending;
    this.#pending = "";
    return text;
  }

  /** The whole, or head and tail with a line between them that says how much is missing. */
  text(): string {
    const tail = this.#tail.map((piece) => piece.text).join("");
    if (this.#leftOut === 0) return this.#head + tail;
    return `${this.#head}\n… ${this.#leftOut} bytes left out …\n${tail}`;
  }

  #add(text: string): void {
    if (text === "") return;
    const bytes = Buffer.byteLength(text);
    if (this.#shown < this.#showMax) {
      this.#pending += bytes <= this.#showMax - this.#shown ? text : cutBytes(text, this.#showMax - this.#shown);
      this.#shown += bytes;
      this.#wake();
    }
    const forHead = cutBytes(text, this.#half - this.#headBytes);
    this.#head += forHead;
    this.#headBytes += forHead.length === text.length ? bytes : this.#half;
    if (forHead.length < text.length) this.#keep(text.slice(forHead.length));
  }

  #keep(text: string): void {
    this.#tail.push({ text, bytes: Buffer.byteLength(text) });
    this.#tailBytes += this.#tail.at(-1)?.bytes ?? 0;
    for (let first = this.#tail[0]; first !== undefined && this.#tailBytes > this.#half; first = this.#tail[0]) {
      const over = this.#tailBytes - this.#half;
      const dropped = over >= first.bytes ? first.bytes : Buffer.byteLength(cutBytes(first.text, over)) || first.bytes;
      if (dropped >= first.bytes) this.#tail.shift();
      else this.#tail[0] = { text: first.text.slice(cutBytes(first.text, over).length), bytes: first.bytes - dropped };
      this.#tailBytes -= dropped;
      this.#leftOut += dropped;
    }
  }
}

/** The longest start of `text` that has at most `bytesMax` bytes and cuts no character. */
function cutBytes(text: string, bytesMax: number): string {
  if (bytesMax <= 0) return "";
  if (text.length * 3 <= bytesMax || Buffer.byteLength(text) <= bytesMax) return text;
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(bytesMax));
  return text.slice(0, read);
}
