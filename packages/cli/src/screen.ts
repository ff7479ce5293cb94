import { escapeDeceptive, escapeInJson } from "@sessiond/shared";
import type { Standing } from "./keyboard.ts";

/**
 * What the command prints: plain lines, no cursor movements. What a model, a tool or another
 * client wrote passes through `foreign` first, so that it cannot give orders to the terminal.
 */
export interface Sink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

const styles = { plain: "", dim: "\u001b[2m", bold: "\u001b[1m", red: "\u001b[31m", green: "\u001b[32m", yellow: "\u001b[33m", cyan: "\u001b[36m" } as const;
export type Style = keyof typeof styles;

export const foreign = (text: string): string => escapeDeceptive(text.replaceAll("\r\n", "\n"));
/** The same on one line, for a label or a title. */
export const foreignLine = (text: string): string => foreign(text).replace(/\s*\n\s*/g, " ⏎ ");
/** A value on a line of its own, for a program; who looks at it on a terminal is not given orders either. */
export const jsonLine = (value: object): string => `${escapeInJson(JSON.stringify(value))}\n`;

export function painted(text: string, style: Style, on: boolean): string {
  return on && style !== "plain" && text !== "" ? `${styles[style]}${text}\u001b[0m` : text;
}

/** Colour only where a person looks, and wants it. */
export const colourOn = (sink: Sink, env: NodeJS.ProcessEnv = process.env): boolean => sink.isTTY === true && !env["NO_COLOR"];

/** A run of text that belongs together: pieces of one block continue its last line. */
export interface Block {
  readonly key: string;
  /** `main` is what a script keeps; `aside` is for whoever looks on. */
  readonly to: "main" | "aside";
  /** At the beginning of each line. */
  readonly prefix?: string;
  readonly style?: Style;
}

export class Screen {
  readonly #sinks: Readonly<Record<"main" | "aside", Sink>>;
  #open: { readonly block: Block; lineOpen: boolean } | null = null;
  #standing: Standing | null = null;
  /** Begins of lines that wait for their end while something stands below them. */
  #held: { readonly sink: Sink; readonly text: string }[] = [];

  constructor(main: Sink, aside: Sink) {
    this.#sinks = { main, aside };
  }

  /** From here on everything goes above what stands, in whole lines. */
  hold(standing: Standing): void {
    if (this.#open?.lineOpen) {
      this.#sinks[this.#open.block.to].write("\n");
      this.#open.lineOpen = false;
    }
    this.#standing = standing;
  }

  release(): void {
    this.#standing = null;
    for (const { sink, text } of this.#held) sink.write(text);
    this.#held = [];
  }

  /** To that sink, in the order of everything else that is shown here. */
  put(sink: Sink, text: string): void {
    if (this.#standing === null) return void sink.write(text);
    const end = text.lastIndexOf("\n") + 1;
    if (end > 0) {
      this.#standing.erase();
      for (const begun of this.#held) begun.sink.write(begun.text);
      this.#held = [];
      sink.write(text.slice(0, end));
      this.#standing.redraw();
    }
    if (end < text.length) this.#held.push({ sink, text: text.slice(end) });
  }

  /** Appends to a block; another block's line is closed first. The text must be safe to show. */
  write(block: Block, text: string): void {
    if (text === "") return;
    if (this.#open?.block.key !== block.key) this.close();
    const open = (this.#open ??= { block, lineOpen: false });
    const sink = this.#sinks[block.to];
    const colour = colourOn(sink);
    let out = "";
    for (const [index, piece] of text.split("\n").entries()) {
      if (index > 0) {
        if (!open.lineOpen) out += painted((block.prefix ?? "").trimEnd(), "dim", colour);
        out += "\n";
        open.lineOpen = false;
      }
      if (piece === "") continue;
      if (!open.lineOpen) out += painted(block.prefix ?? "", "dim", colour);
      out += painted(piece, block.style ?? "plain", colour);
      open.lineOpen = true;
    }
    this.put(sink, out);
  }

  /** Whole lines beside the text. */
  line(text: string, style: Style = "plain"): void {
    this.close();
    const sink = this.#sinks.aside;
    this.put(sink, `${painted(foreign(text), style, colourOn(sink))}\n`);
  }

  /** Ends a line that was left open. */
  close(): void {
    if (this.#open?.lineOpen) this.put(this.#sinks[this.#open.block.to], "\n");
    this.#open = null;
  }
}
