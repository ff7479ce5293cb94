import { limits, withoutSecrets } from "@sessiond/shared";

/** Takes what is nobody's to read out of a text that is written down or told. */
export type Hide = (text: string) => string;

/** @param secrets  values that an agent was given; of several lines each counts, and one of a few letters is a dummy that would be found in every word */
export function hiding(secrets: readonly string[]): Hide {
  const lines = secrets.flatMap((secret) => secret.split(/\r?\n/)).filter((line) => line.length >= limits.secret_chars_min);
  // Some is looked through as JSON.
  const written = lines.flatMap((line) => [line, JSON.stringify(line).slice(1, -1)]);
  // The longest first: a shorter one may be a part of it.
  const sought = [...new Set(written)].toSorted((a, b) => b.length - a.length);
  return (text) => sought.reduce((left, secret) => left.replaceAll(secret, "…"), withoutSecrets(text));
}
