/**
 * One way to speak to a model over HTTP, as its server: what the last message asks, and the lines of a streamed
 * answer. What is said is the same in each; only the form differs.
 */
export interface Dialect {
  /** The path's end. */
  readonly path: string;
  /** The text of the last message of the user; null where a tool's result comes after it. */
  asked(body: unknown): string | null;
  answer(body: unknown): Answer;
}

/** Lines of one streamed answer, each to be written as it is. */
export interface Answer {
  readonly begin: string;
  /** Once, before the first piece of text. */
  readonly beforeText: string;
  text(piece: string): string;
  /** One call of the tool that runs a command, `true`; in place of any text. */
  call(): string;
  /** @param whole  all text of the answer */
  end(whole: string): string;
}

/** Text, or parts with text, as both ways to speak write it. */
export type Content = string | readonly { readonly text?: string }[] | null;

export const textOf = (content: Content | undefined): string =>
  typeof content === "string" ? content : (content ?? []).map(({ text }) => text ?? "").join("\n");
