import type { Frame } from "@sessiond/shared";

/** Frames as the texts they are on disk; the transport puts them into an envelope unparsed, and as bytes that were made once. */
export class EncodedFrames {
  readonly texts: readonly string[];
  // Weakly: while somebody is being sent them they are there for the others. Who waits for more may hold on to what he got last.
  #list: WeakRef<Buffer<ArrayBuffer>> | undefined;
  #message: { readonly before: string; readonly after: string; readonly bytes: WeakRef<Buffer<ArrayBuffer>> } | undefined;

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
    const made = this.#message?.before === before && this.#message.after === after ? this.#message.bytes.deref() : undefined;
    if (made !== undefined) return made;
    const list = this.#list?.deref() ?? Buffer.from(`[${this.texts.join(",")}]`);
    const bytes = Buffer.concat([Buffer.from(before), list, Buffer.from(after)]);
    this.#list = new WeakRef(list);
    this.#message = { before, after, bytes: new WeakRef(bytes) };
    return bytes;
  }
}
