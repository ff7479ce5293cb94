/**
 * Texts that a terminal obeys, or that look other than they are, and the scan that finds them in what was
 * printed. It knows nothing of how the product escapes: what is not printable text, a line's end or a tab is
 * wrong, but for the few sequences with which the command draws by itself.
 */
export const hostileTexts: readonly string[] = [
  "\u001b]52;c;ZXZpbA==\u0007", // writes the clipboard
  "\u001b]0;title\u0007",
  "\u001b]8;;http:x\u001b\\link\u001b]8;;\u001b\\",
  '\u001bP$q"p\u001b\\',
  "\u001b[45m\u001b[2J\u001b[H\u001b#8\u001bc",
  "\u009b45m\u009d52;c;eA==\u009c\u0090\u0085",
  "over\rwritten back\b\b\bspaced \u000b\u000c\u007f\u000e",
  "\u202a\u202b\u202d\u202eabc\u202c \u2066\u2067\u2068x\u2069 \u061c\u200e\u200f",
  "\u200b\u200c\u200d\u2060\u2064\ufeff\u00ad\u180e\u034f",
  "\u{e0001}\u{e0041}\u{e007f} a\ufe0fb\ufe00\u{e0100}",
  "\u3164\u115f\u1160\uffa0\u17b4 \u2028\u2029 \ufff9x\ufffb \u{1d173}\u206a",
];

/** Controls, formats, surrogates, private and unassigned; separators; and letters and marks that are not seen. */
const unseen = "34f-34f 115f-1160 17b4-17b5 180b-180f 2028-2029 3164-3164 fe00-fe0f ffa0-ffa0 e0100-e01ef";
const unprintable = new RegExp(`[\\p{C}${unseen.replace(/(\w+)-(\w+) ?/g, "\\u{$1}-\\u{$2}")}]`, "gu");
/** The command's own, on a terminal: its colours, and what readline draws its line with. */
const ownDrawing = /\u001b\[(?:0|1|2|31|32|33|36)m|\u001b\[\d*[ABG]|\u001b\[[012]?[JK]|\r+(?=\n)|\r(?=\u001b\[K)/g;

/** @returns what is wrong in it, each with what stands around it */
export function deceptionsIn(bytes: Buffer, { terminal }: { readonly terminal: boolean }): string[] {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  if (!bytes.equals(Buffer.from(text))) return ["bytes that are no UTF-8: a terminal may take some for controls"];
  const left = terminal ? text.replace(ownDrawing, "") : text;
  const found = [...left.matchAll(unprintable)].filter(([each]) => each !== "\n" && each !== "\t");
  return found.map(({ 0: each, index }) => `U+${each.codePointAt(0)?.toString(16)} in ${JSON.stringify(left.slice(Math.max(0, index - 30), index + 20))}`);
}
