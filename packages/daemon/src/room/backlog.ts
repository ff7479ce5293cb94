import type { EncodedFrame } from "./journal-file.ts";

/** Frames that wait for the write under way. Whoever makes more of them than the disk takes waits too. */
export class Backlog {
  readonly #bytesMax: number;
  #frames: EncodedFrame[] = [];
  #bytes = 0;
  /** Of the frames that are being written: they count until they are. */
  #takenBytes = 0;
  #waiting: (() => void)[] = [];

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get empty(): boolean {
    return this.#frames.length === 0;
  }

  add(frame: EncodedFrame): void {
    this.#frames.push(frame);
    this.#bytes += frame.text.length;
  }

  take(): readonly EncodedFrame[] {
    const frames = this.#frames;
    this.#frames = [];
    this.#takenBytes = this.#bytes;
    return frames;
  }

  /** What was taken is written. */
  written(): void {
    this.#bytes -= this.#takenBytes;
    this.#takenBytes = 0;
    if (this.#within) this.#wake();
  }

  /** There is nothing to wait for any more. */
  clear(): void {
    this.#frames = [];
    this.#bytes = 0;
    this.#takenBytes = 0;
    this.#wake();
  }

  /** Resolves when the backlog is within its limit; null, which costs no step, when it is. */
  drained(): Promise<void> | null {
    return this.#within ? null : new Promise((resolve) => this.#waiting.push(resolve));
  }

  get #within(): boolean {
    return this.#bytes <= this.#bytesMax;
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
