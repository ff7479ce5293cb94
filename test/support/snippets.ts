/** The examples of a page: fenced code by its language, and whether it is whole in that language as far as brackets, strings and comments go. */

/** Fenced blocks of that language, in their order. */
export const fenced = (page: string, language: string): string[] =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, "gm"))].map(([, text = ""]) => text);

/** JSON as editors take it, with comments behind `//`. @throws SyntaxError */
export function parseJsonWithComments(text: string): unknown {
  // A string is passed over whole: an address has slashes too.
  return JSON.parse(text.replaceAll(/"(?:[^"\\]|\\.)*"|\/\/[^\n]*/g, (piece) => (piece.startsWith("//") ? "" : piece)));
}

interface Language {
  /** Strings, comments, brackets and words that open and close, whatever else stands between. */
  readonly token: RegExp;
  readonly comment: string;
  readonly pairs: Readonly<Record<string, string>>;
}

const brackets = { "(": ")", "[": "]", "{": "}" };
const languages = {
  lua: {
    token: /"(?:[^"\\\n]|\\.)*"|--[^\n]*|[()[\]{}]|\b(?:function|if|do|end)\b|"/g,
    comment: "--",
    pairs: { ...brackets, function: "end", if: "end", do: "end" },
  },
  elisp: { token: /"(?:[^"\\]|\\[^])*"|;[^\n]*|[()[\]]|"/g, comment: ";", pairs: brackets },
} as const satisfies Record<string, Language>;

/** @returns what is wrong, or null: every bracket, block and string ends, in the order in which they began */
export function unbalanced(text: string, language: keyof typeof languages): string | null {
  const { token, comment, pairs }: Language = languages[language];
  const closers = new Set(Object.values(pairs));
  const open: string[] = [];
  for (const [word] of text.matchAll(token)) {
    if (word.startsWith(comment) || (word.length > 1 && word.startsWith('"'))) continue;
    if (word === '"') return "a string does not end";
    const closer = pairs[word];
    if (closer !== undefined) open.push(closer);
    else if (closers.has(word) && open.pop() !== word) return `${word} closes nothing`;
  }
  return open.length === 0 ? null : `${open.join(" ")} is missing`;
}

/** Elements of a Lua table written out, such as `{ "acp" }`: the strings in it. */
export const luaStrings = (text: string): string[] => [...text.matchAll(/"([^"\n]*)"/g)].map(([, string = ""]) => string);
