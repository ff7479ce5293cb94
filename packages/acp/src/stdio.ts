import type { Readable, Writable } from "node:stream";

/** Lines to the editor. A pipe that is full is waited for; one that nobody reads any more ends the connection. */
export class Lines {
  readonly #out: Writable;
  readonly #gone: () => void;

  constructor(out: Writable, gone: () => void) {
    this.#out = out;
    this.#gone = gone;
    out.on("error", () => this.#gone());
  }

  write(line: string): void | Promise<void> {
    if (this.#out.write(line) || this.#out.destroyed) return;
    return new Promise((resolve) => {
      const over = (): void => {
        this.#out.off("drain", over);
        this.#out.off("close", over);
        resolve();
      };
      this.#out.on("drain", over);
      this.#out.on("close", over);
    });
  }
}

/** Reads no faster than is handled. */
export function pump(from: Readable, to: { receive(bytes: Uint8Array): void; handled(): Promise<void>; end(): void }): void {
  from.on("data", (bytes: Buffer) => {
    to.receive(bytes);
    from.pause();
    void to.handled().then(() => from.resume());
  });
  from.once("end", () => to.end());
  from.once("error", () => to.end());
}
