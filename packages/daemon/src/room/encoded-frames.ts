import type { Frame } from "@sessiond/shared";

/** Frames as the texts they are on disk; the transport puts them into an envelope unparsed, and as bytes that were made once. */
export class EncodedFrames {
  readonly texts: readonly string[];
  #list: Buffer<ArrayBuffer> | undefined;
  #message: { readonly before: string; readonly after: string; readonly bytes: Buffer<ArrayBuffer> } | undefined;

  constructor(texts: readonly string[]) {
    this.texts = texts;
  }

  get chars(): number {
    return this.texts.reduce((sum, { length }) => sum + length, 0);
  }

  /** For a reader in the same process. */
  parsed(): Frame[] {
    return this.texts.map((text) => JSON.parse(text) as Frame);
  }

  /**
   * A message with these as a JSON array in it. Readers who take the same batch mostly have the same around it: they share
   * one message, which nobody may write to; for others the bytes are copied.
   */
  within(before: string, after: string): Buffer<ArrayBuffer> {
    if (this.#message?.before !== before || this.#message.after !== after) {
      this.#list ??= Buffer.from(`[${this.texts.join(",")}]`);
      this.#message = { before, after, bytes: Buffer.concat([Buffer.from(before), this.#list, Buffer.from(after)]) };
    }
    return this.#message.bytes;
  }
}
