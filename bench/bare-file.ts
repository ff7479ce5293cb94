import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";

/** The limit of the journal: the same texts in the same batches, each joined, written and synced, and nothing else. */
export class BareFile {
  readonly #handle: FileHandle;
  #end = 0;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  static async open(directory: string): Promise<BareFile> {
    return new BareFile(await open(join(directory, "file"), constants.O_RDWR | constants.O_CREAT, 0o600));
  }

  /** Durable when it resolves. */
  async batch(texts: readonly string[]): Promise<void> {
    const bytes = Buffer.from(`${texts.join("\n")}\n`);
    await this.#handle.write(bytes, 0, bytes.length, this.#end);
    this.#end += bytes.length;
    await this.#handle.datasync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
