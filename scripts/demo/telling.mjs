// What the demo prints: a numbered line a step, excerpts of what people would see, and what was checked.
const colour = process.stdout.isTTY === true && !process.env.NO_COLOR;
const paint = (code) => (text) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
const [bold, dim, red, green] = [1, 2, 31, 32].map(paint);
const say = (line = "") => process.stdout.write(`${line}\n`);

/** A check that did not hold; its message says which. */
class Failed extends Error {}

export const title = (text) => say(bold(text));
export const plain = say;

/** In lines of at most 90 characters, broken between words. */
const wrapped = (text) => text.match(/.{1,90}(?=\s|$)/g).map((line) => line.trim());
export const step = (number, text) => say(`\n${bold(`${String(number).padStart(2)}  ${text}`)}`);

/** What somebody has typed, or would see; long rows of numbers abridged, and lines that `without` matches left out. */
export function excerpt(text, without) {
  const lines = text.replace(/^\n+|\n+$/g, "").split("\n");
  for (const line of lines) if (without?.test(line) !== true) say(dim(`    │ ${line.replace(countedOut, "$1 … $2")}`.trimEnd()));
}

const countedOut = /^(\d+ \d+ \d+) \d+(?: \d+){8,} (\d+)/;

/** @param held  a promise that held, or what it was instead */
export function check(held, text) {
  say(`    ${held ? green("✓") : red("✗")} ${wrapped(text).join("\n      ")}`);
  if (!held) throw new Failed(text);
}

export function broke(number, error) {
  if (!(error instanceof Failed)) say(`    ${red("✗")} ${error.message}`);
  say(`\n${red(`step ${number} failed: ${error.message}`)}`);
}

export const seconds = (ms) => `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
export const shortId = (id) => `${id.slice(0, 9)}…`;
