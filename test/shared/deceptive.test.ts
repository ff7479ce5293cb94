/** What is escaped before a terminal, a log or a preview shows it, and what is left as it is. */
import { expect, test } from "vitest";
import { escapeDeceptive, escapeInJson } from "@sessiond/shared";
import { seededChance } from "../support/chance.ts";
import { hostileTexts } from "../support/hostile-text.ts";

const everything = hostileTexts.join(" ");
/** Said here once more, and otherwise: by hand, not by the properties that the product asks for. */
const ranges: readonly (readonly [from: number, to: number])[] = [
  [0x00, 0x08],
  [0x0b, 0x1f],
  [0x7f, 0x9f],
  [0xad, 0xad],
  [0x34f, 0x34f],
  [0x61c, 0x61c],
  [0x115f, 0x1160],
  [0x17b4, 0x17b5],
  [0x180b, 0x180f],
  [0x200b, 0x200f],
  [0x2028, 0x202e],
  [0x2060, 0x206f],
  [0x3164, 0x3164],
  [0xd800, 0xdfff],
  [0xfe00, 0xfe0f],
  [0xfeff, 0xfeff],
  [0xffa0, 0xffa0],
  [0xfff9, 0xfffb],
  [0x1bca0, 0x1bca3],
  [0x1d173, 0x1d17a],
  [0xe0000, 0xe0fff],
];

test("B25 each character that a terminal obeys, that reorders, or that is not seen is escaped by its number, and none else", () => {
  const deceptive = new Set(ranges.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, index) => from + index)));
  const wrong: string[] = [];
  for (let code = 0; code <= 0x10ffff; code++) {
    const character = String.fromCodePoint(code);
    const escaped = escapeDeceptive(`a${character}`);
    if (deceptive.has(code) ? escaped !== `a\\u{${code.toString(16)}}` : escaped !== `a${character}`) wrong.push(code.toString(16));
  }
  // What Unicode holds ready for further ones that are not seen is escaped too.
  expect(wrong.filter((code) => !/^(2065|fff[0-8])$/.test(code))).toEqual([]);
});

test("B25 ordinary text stays: languages, emoji with the selector that draws them, lines and tabs", () => {
  for (const text of ["grüße\t漢字\nالعربية עברית हिन्दी", "⚠️ ❤️ ✔️ ☎︎ 😀 👍🏽", "1 < 2 && a[3] ?? `b` \\ 'c' \"d\"", ""])
    expect(escapeDeceptive(text)).toBe(text);
  // A second one behind a picture, or one behind a letter, would hide something.
  expect(escapeDeceptive("⚠️️ a️")).toBe("⚠️\\u{fe0f} a\\u{fe0f}");
});

test("B25 however a text is cut into pieces, what comes of them together gives no orders either", () => {
  const seed = Number(process.env["SESSIOND_SEED"] ?? Date.now() % 1_000_000);
  const chance = seededChance(seed);
  for (let round = 0; round < 300; round++) {
    let shown = "";
    for (let at = 0; at < everything.length;) {
      const to = at + 1 + Math.floor(chance.upTo(5));
      shown += escapeDeceptive(everything.slice(at, to));
      at = to;
    }
    expect(escapeDeceptive(shown), `seed ${seed}`).toBe(shown);
    expect(shown, `seed ${seed}`).not.toMatch(/[^\n\t\P{C}]/u);
  }
});

test("B25 JSON in which they are escaped says the same, and holds none", () => {
  for (const text of [...hostileTexts, everything, "⚠️ ü 漢 😀", "\ud800", "a\udc41"]) {
    const json = escapeInJson(JSON.stringify({ [text]: [text, { deep: text }] }));
    expect(JSON.parse(json)).toEqual({ [text]: [text, { deep: text }] });
    expect(escapeDeceptive(json)).toBe(json);
  }
});
