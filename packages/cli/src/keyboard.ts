import { createInterface, type Interface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";

/**
 * Lines from whoever sits at stdin: a person, or a pipe. A person is asked only while a prompt
 * stands; between prompts the terminal is as the shell left it, so that Ctrl-C is a signal.
 */
export type Typed = { readonly type: "line"; readonly text: string } | { readonly type: "eof" } | { readonly type: "aborted" };

/** Longer than a terminal needs to hand over what was typed before a question was shown. */
const typedAheadMs = 80;

export class Keyboard {
  readonly isPerson: boolean;
  readonly #input: NodeJS.ReadStream;
  readonly #lines: string[] = [];
  readonly #reader: Interface;
  #ended = false;
  #wake: (() => void) | null = null;

  constructor(input: NodeJS.ReadStream, output: NodeJS.WriteStream) {
    this.#input = input;
    this.isPerson = input.isTTY === true && output.isTTY === true;
    this.#reader = createInterface({ input, output, terminal: this.isPerson, historySize: 200 });
    this.#reader.on("line", (line) => {
      this.#lines.push(line);
      this.#wake?.();
    });
    this.#reader.on("close", () => {
      this.#ended = true;
      this.#wake?.();
    });
    // While readline has the terminal it swallows Ctrl-C; everything else in the command knows it as a signal.
    this.#reader.on("SIGINT", () => {
      output.write("\n");
      process.kill(process.pid, "SIGINT");
    });
    this.#rest();
  }

  /** The next line; what was half typed when `signal` aborts comes back with the next prompt. */
  async line(prompt: string, signal: AbortSignal): Promise<Typed> {
    if (signal.aborted) return { type: "aborted" };
    if (this.#lines.length === 0 && !this.#ended) await this.#prompted(prompt, signal);
    const text = this.#lines.shift();
    if (text !== undefined) return { type: "line", text };
    return { type: this.#ended ? "eof" : "aborted" };
  }

  /** An answer that was typed after the question: what was typed ahead of it is thrown away. */
  async answer(prompt: string, signal: AbortSignal): Promise<Typed> {
    if (!this.isPerson || this.#ended) return { type: "eof" };
    this.#input.setRawMode(true);
    this.#reader.setPrompt("");
    this.#reader.resume();
    await pause(typedAheadMs);
    this.#lines.length = 0;
    this.#reader.write(null, { ctrl: true, name: "e" });
    this.#reader.write(null, { ctrl: true, name: "u" });
    return this.line(prompt, signal);
  }

  close(): void {
    if (!this.#ended) this.#reader.close();
  }

  async #prompted(prompt: string, signal: AbortSignal): Promise<void> {
    const woken = new Promise<void>((resolve) => (this.#wake = resolve));
    const abort = (): void => this.#wake?.();
    signal.addEventListener("abort", abort, { once: true });
    if (this.isPerson) this.#input.setRawMode(true);
    this.#reader.setPrompt(prompt);
    this.#reader.resume();
    if (this.isPerson) this.#reader.prompt(true);
    await woken;
    this.#wake = null;
    signal.removeEventListener("abort", abort);
    // What is printed now must not begin in the middle of a half-typed line.
    if (this.isPerson && this.#lines.length === 0) process.stderr.write(this.#ended ? "\n" : "\r\u001b[K");
    this.#rest();
  }

  #rest(): void {
    if (this.#ended) return;
    this.#reader.pause();
    if (this.isPerson) this.#input.setRawMode(false);
  }
}
