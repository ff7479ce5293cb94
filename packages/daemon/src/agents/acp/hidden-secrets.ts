import { limits, withoutSecrets } from "@sessiond/shared";

/**
 * Takes what is nobody's to read out of a text that is written down or told.
 *
 * @param goesOn  the text was cut or broke off: what stands at its end may be the beginning of a secret, and is taken out too
 */
export type Hide = (text: string, goesOn?: boolean) => string;

/** A beginning that is as short as this tells nothing, and may be the end of any word. */
const tellsNothing = 3;

/** @param secrets  values that an agent was given; of several lines each counts, and one of a few letters is a dummy that would be found in every word */
export function hiding(secrets: readonly string[]): Hide {
  const lines = secrets.flatMap((secret) => secret.split(/\r?\n/)).filter((line) => line.length >= limits.secret_chars_min);
  // Some is looked through as JSON.
  const sought = new Set(lines.flatMap((line) => [line, JSON.stringify(line).slice(1, -1)]));
  return (text, goesOn = false) => {
    const left = withoutSecrets(text);
    return without(
      left,
      [...sought].flatMap((secret) => [...placesOf(secret, left), ...(goesOn ? beginningOf(secret, left) : [])]),
    );
  };
}

interface Place {
  readonly from: number;
  readonly to: number;
}

function placesOf(secret: string, text: string): Place[] {
  const places: Place[] = [];
  for (let from = text.indexOf(secret); from !== -1; from = text.indexOf(secret, from + 1)) places.push({ from, to: from + secret.length });
  return places;
}

/** Where the longest beginning of it is that the text ends with. */
function beginningOf(secret: string, text: string): Place[] {
  for (let from = Math.max(0, text.length - secret.length + 1); from < text.length - tellsNothing; from += 1)
    if (secret.startsWith(text.slice(from))) return [{ from, to: text.length }];
  return [];
}

/** One secret may be a part of another, or begin in it: what belongs to any of them goes. */
function without(text: string, places: readonly Place[]): string {
  let left = "";
  let end = 0;
  for (const { from, to } of places.toSorted((a, b) => a.from - b.from)) {
    if (from >= end) left += `${text.slice(end, from)}…`;
    end = Math.max(end, to);
  }
  return left + text.slice(end);
}
