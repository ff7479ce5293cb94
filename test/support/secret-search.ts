/**
 * Looks for secrets in all that was written, printed, sent or held: for each as it stands, in base64 (wherever
 * in a longer text it began), base64url, hexadecimal and percent-encoded, and for any part of these that is
 * long enough to be of use.
 */
export interface Secret {
  readonly name: string;
  readonly text: string;
}

/** A name for where a text was, and the text. */
export type Places = Readonly<Record<string, string>>;

export interface Leak {
  readonly secret: string;
  readonly form: string;
  readonly place: string;
}

/** Characters in a row: of 62, nobody has so many by chance, or finds out the rest. */
const partChars = 16;
/** Each part of that length holds one whole block, so that a text is looked through for blocks alone. */
const blockChars = partChars / 2;

/** What of a secret is secret: of ours the last part, without prefix, id and checksum. */
export const core = (secret: string): string => (/^ssd(h|k|_[vc])/.test(secret) ? (secret.split("_").at(-1) ?? secret).slice(0, -6) : secret);

export function formsOf(secret: string): readonly (readonly [form: string, text: string])[] {
  const text = core(secret);
  const bytes = Buffer.from(text);
  const hex = bytes.toString("hex");
  // What stands before it in the same base64 decides where in a group of three bytes it begins.
  const base64 = [0, 1, 2].map((before) => {
    const whole = Buffer.concat([Buffer.alloc(before), bytes])
      .toString("base64")
      .replaceAll("=", "");
    return whole.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
  });
  const percent = [...bytes].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
  return [
    ["plain", text],
    ...base64.map((each, before) => [`base64 at ${before}`, each] as const),
    ...base64.map((each, before) => [`base64url at ${before}`, each.replaceAll("+", "-").replaceAll("/", "_")] as const),
    ["hex", hex],
    ["HEX", hex.toUpperCase()],
    ["percent", percent],
    ["PERCENT", percent.toUpperCase()],
    ["uri component", encodeURIComponent(text)],
  ];
}

/** @returns each secret and form that was found, and where; nothing twice */
export function leaksIn(secrets: readonly Secret[], places: Places): Leak[] {
  const wanted = secrets.flatMap(({ name, text }) => {
    // One that is the same in two forms is looked for once.
    const forms = new Map(formsOf(text).map(([form, each]) => [each, form]));
    return [...forms].map(([each, form]) => ({ secret: name, form, text: each, blocks: blocksOf(each) }));
  });
  return Object.entries(places).flatMap(([place, text]) =>
    wanted.filter((each) => each.blocks.some(([block, at]) => holdsPart(text, each.text, block, at))).map(({ secret, form }) => ({ secret, form, place })),
  );
}

const blocksOf = (text: string): [block: string, at: number][] =>
  Array.from({ length: Math.floor(text.length / blockChars) }, (_, index) => [text.slice(index * blockChars, (index + 1) * blockChars), index * blockChars]);

/** Whether what surrounds an occurrence of the block belongs to the secret too, so far that it is a part long enough. */
function holdsPart(text: string, secret: string, block: string, at: number): boolean {
  for (let found = text.indexOf(block); found >= 0; found = text.indexOf(block, found + 1)) {
    let [before, after] = [0, blockChars];
    while (before < at && text[found - before - 1] === secret[at - before - 1]) before += 1;
    while (at + after < secret.length && text[found + after] === secret[at + after]) after += 1;
    if (before + after >= Math.min(partChars, secret.length)) return true;
  }
  return false;
}
