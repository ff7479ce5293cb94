import { clearScreenDown, createInterface, cursorTo, moveCursor, type Interface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";

/**
 * Lines from whoever sits at stdin: a person, or a pipe. A person is asked only while a prompt
 * stands, or may type beside what is shown; otherwise the terminal is as the shell left it, so
 * that Ctrl-C is a signal. What is shown meanwhile goes above the line that is being typed.
 */
export type Typed = { readonly type: "line"; readonly text: string } | { readonly type: "eof" } | { readonly type: "aborted" };

/** A prompt and what is half typed behind it. */
export interface Standing {
  erase(): void;
  redraw(): void;
}

/** Who shows everything else: above what stands, from `hold` to `release`. */
export interface Room {
  hold(standing: Standing): void;
  release(): void;
}

interface Key {
  readonly name?: string | undefined;
  readonly ctrl?: boolean | undefined;
}

/** A prompt is soon followed by the next: what is typed between two of them is not to be lost on the way between modes. */
const restAfterMs = 30;
/** Longer than a terminal needs to hand over what was typed before a question was shown. */
const typedAheadMs = 80;

export class Keyboard implements Standing {
  readonly isPerson: boolean;
  readonly #input: NodeJS.ReadStream;
  readonly #output: NodeJS.WriteStream;
  readonly #room: Room;
  readonly #lines: string[] = [];
  readonly #reader: Interface;
  #stands = false;
  /** Rows of what stands, as it was erased. */
  #rows = 0;
  /** What was half typed when a question came. */
  #draft = "";
  /** What is in the line belonged to a question that is gone. */
  #stale = false;
  #resting: NodeJS.Timeout | undefined;
  #ended = false;
  #wake: (() => void) | null = null;

  constructor(input: NodeJS.ReadStream, output: NodeJS.WriteStream, room: Room) {
    this.#input = input;
    this.#output = output;
    this.#room = room;
    this.isPerson = input.isTTY === true && output.isTTY === true;
    this.#reader = createInterface({ input, output, terminal: this.isPerson, historySize: 200 });
    this.#reader.on("line", (line) => {
      this.#lines.push(line);
      this.#stands = false;
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
    if (this.#lines.length === 0 && !this.#ended) {
      const woken = this.#woken(signal);
      this.#open(prompt);
      if (this.isPerson) this.#restore();
      await this.#typed(woken);
    }
    return this.#next();
  }

  /** A line that may be typed while the work is shown: nothing stands there until the first key. */
  async aside(prompt: string, signal: AbortSignal): Promise<Typed> {
    if (signal.aborted) return { type: "aborted" };
    if (this.#lines.length > 0 || this.#ended) return this.#next();
    const woken = this.#woken(signal);
    this.#open("");
    this.#restore();
    const before = (_text: string | undefined, { name, ctrl }: Key): void => {
      if (!this.#stands && ctrl !== true && name !== "return" && name !== "enter") this.#stand(prompt);
    };
    const after = (): void => {
      if (this.#stands && this.#reader.line === "") this.#fall();
    };
    if (this.#reader.line !== "") this.#stand(prompt);
    this.#input.prependListener("keypress", before);
    this.#input.on("keypress", after);
    await woken;
    this.#input.off("keypress", before);
    this.#input.off("keypress", after);
    this.#fall();
    this.#rest();
    return this.#next();
  }

  /** An answer that was typed after the question: what was typed ahead of it is no answer. */
  async answer(prompt: string, signal: AbortSignal): Promise<Typed> {
    if (!this.isPerson || this.#ended) return { type: "eof" };
    this.#open("");
    await pause(typedAheadMs);
    this.#lines.length = 0;
    this.#draft ||= this.#reader.line;
    this.#clear();
    return this.further(prompt, signal);
  }

  /** What belongs to the answer just given. Half of one, to a question that is gone, is nothing to keep. */
  async further(prompt: string, signal: AbortSignal): Promise<Typed> {
    if (this.#lines.length === 0 && !this.#ended && !signal.aborted) {
      const woken = this.#woken(signal);
      this.#open(prompt);
      await this.#typed(woken);
    }
    this.#stale = this.#lines.length === 0;
    return this.#next();
  }

  close(): void {
    if (!this.#ended) this.#reader.close();
  }

  erase(): void {
    if (!this.#stands) return;
    this.#rows = this.#reader.getCursorPos().rows;
    this.#wipe();
  }

  redraw(): void {
    if (!this.#stands) return;
    // Readline believes to be on that row, and goes up from there.
    this.#output.write("\n".repeat(this.#rows));
    this.#reader.prompt(true);
  }

  async #typed(woken: Promise<void>): Promise<void> {
    if (this.isPerson) this.#stand(this.#reader.getPrompt());
    await woken;
    if (this.isPerson && this.#ended && this.#stands) {
      this.#stands = false;
      this.#output.write("\n");
    }
    this.#fall();
    this.#rest();
  }

  #stand(prompt: string): void {
    this.#stands = true;
    this.#room.hold(this);
    this.#reader.setPrompt(prompt);
    this.#reader.prompt(true);
  }

  /** What stands goes from the screen; what is half typed is kept. */
  #fall(): void {
    if (this.#stands && !this.#ended) this.#wipe();
    this.#stands = false;
    this.#reader.setPrompt("");
    this.#room.release();
  }

  #wipe(): void {
    moveCursor(this.#output, 0, -this.#reader.getCursorPos().rows);
    cursorTo(this.#output, 0);
    clearScreenDown(this.#output);
  }

  #next(): Typed {
    const text = this.#lines.shift();
    if (text !== undefined) return { type: "line", text };
    return { type: this.#ended ? "eof" : "aborted" };
  }

  /** Resolves with the next line, the end of lines, or when `signal` aborts. */
  async #woken(signal: AbortSignal): Promise<void> {
    const woken = new Promise<void>((resolve) => (this.#wake = resolve));
    const abort = (): void => this.#wake?.();
    signal.addEventListener("abort", abort, { once: true });
    await woken;
    this.#wake = null;
    signal.removeEventListener("abort", abort);
  }

  #open(prompt: string): void {
    clearTimeout(this.#resting);
    if (this.isPerson) this.#input.setRawMode(true);
    this.#reader.setPrompt("");
    this.#reader.resume();
    if (this.#stale) this.#clear();
    this.#stale = false;
    this.#reader.setPrompt(prompt);
  }

  /** Puts back what a question took away. */
  #restore(): void {
    const draft = this.#draft;
    this.#draft = "";
    if (draft !== "") this.#reader.write(draft);
  }

  #clear(): void {
    if (!this.isPerson) return;
    this.#press("e");
    this.#press("u");
  }

  #press(name: string): void {
    this.#reader.write(null, { ctrl: true, name });
  }

  #rest(): void {
    if (this.#ended) return;
    this.#reader.pause();
    if (!this.isPerson) return;
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => this.#input.setRawMode(false), restAfterMs);
  }
}
