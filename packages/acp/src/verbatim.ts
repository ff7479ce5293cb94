import type { ToolKind } from "@sessiond/client";

/**
 * A text that is seen as it stands. Editors show what they are given as Markdown, in which a comment is hidden, a command's
 * stars make it bold, and a removed line is an entry of a list.
 *
 * @returns a fenced code block, its fence longer than any that stands in the text (CommonMark 0.31, section 4.5)
 */
export function verbatim(text: string): string {
  let longest = 2;
  for (const [run] of text.matchAll(/`+/g)) longest = Math.max(longest, run.length);
  const fence = "`".repeat(longest + 1);
  return `${fence}\n${text}${text.endsWith("\n") ? "" : "\n"}${fence}`;
}

/** Whose results are written for people: what an agent thought or fetched, what its own agents answered. */
const inMarkdown: ReadonlySet<ToolKind> = new Set(["think", "fetch", "switch_mode", "other"]);

/** What a tool put out; an agent that has set it as code itself is left to it. */
export const outputOf = (kind: ToolKind, text: string): string =>
  inMarkdown.has(kind) || /^(`{3,})[^`\n]*\n(?:[^]*\n)?\1\s*$/.test(text) ? text : verbatim(text);
