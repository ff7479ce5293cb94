/**
 * Characters that make a text look other than it is. Controls, which a terminal obeys: no escape sequence
 * begins without one, so each is taken by itself, however a sequence is cut into pieces. Marks that reorder
 * what is read (CVE-2021-42574). Characters that are not seen at all, in which anything can be hidden from
 * who reads and not from what executes: joiners, fillers, tags, variation selectors. Halves of characters,
 * which another half would make one of these. Line feed and tab stay, and right behind a picture the one
 * selector that says how it is drawn.
 */
export const deceptiveCharacters =
  /(?<!\p{Extended_Pictographic})[\ufe0e-\ufe0f]|(?![\n\t]|[\ufe0e-\ufe0f])[\p{Cc}\p{Cs}\p{Bidi_Control}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}\ufff9-\ufffb]/gu;

/** Each deceptive character becomes `\u{…}`; nothing is left out. */
export const escapeDeceptive = (text: string): string => text.replace(deceptiveCharacters, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);

/**
 * JSON text in which they stand as JSON's own escapes: the same values to who parses it, and harmless to who
 * looks at it. A terminal obeys some of what `JSON.stringify` leaves as it is.
 */
export const escapeInJson = (json: string): string =>
  json.replace(deceptiveCharacters, (character) =>
    Array.from({ length: character.length }, (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`).join(""),
  );
