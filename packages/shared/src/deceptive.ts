/**
 * Characters that make a text look other than it is: controls (a terminal obeys them) and
 * bidirectional marks (they reorder what is read; CVE-2021-42574). Line feed and tab stay.
 */
export const deceptiveCharacters = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Each deceptive character becomes `\u{…}`; nothing is left out. */
export const escapeDeceptive = (text: string): string => text.replace(deceptiveCharacters, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
