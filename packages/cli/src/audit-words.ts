import { foreignLine, type Style } from "./screen.ts";
import { shortId } from "./which-session.ts";

/**
 * A line of the audit file as a person reads it. What it holds is taken as it comes: the file may be of an
 * older or newer daemon, and a field that has no column here is shown by its name.
 */
export type Entry = Readonly<Record<string, unknown>>;

const columns = [
  ["TIME", 19],
  ["VERB", 24],
  ["OUTCOME", 15],
  ["MS", 5],
  ["SESSION", 12],
] as const;

const shownInColumns: ReadonlySet<string> = new Set(["at", "verb", "outcome", "ms", "session"]);
/** Ids tell by themselves what they are of. */
const ids: ReadonlySet<string> = new Set(["seat", "token", "key"]);

export const auditHeads = (): string => `${columns.map(([head, width]) => head.padEnd(width)).join("  ")}  BY`;

export function auditWords(entry: Entry): { readonly text: string; readonly style: Style } {
  const { at, verb, outcome, ms, session } = entry;
  const cells = [timeOf(at), word(verb), word(outcome), word(ms), session === undefined ? "-" : shortId(word(session))];
  const by = Object.entries(entry).flatMap(([name, value]) => {
    if (shownInColumns.has(name)) return [];
    return ids.has(name) && typeof value === "string" ? [shortId(value)] : [`${name} ${word(value)}`];
  });
  const padded = cells.map((cell, column) => cell.padEnd(columns[column]?.[1] ?? 0));
  return { text: foreignLine([...padded, by.join(", ")].join("  ").trimEnd()), style: outcome === "ok" ? "plain" : "yellow" };
}

const word = (value: unknown): string => (value === undefined ? "-" : typeof value === "string" ? value : JSON.stringify(value));

/** In this machine's own time. */
function timeOf(at: unknown): string {
  const time = new Date(typeof at === "string" ? at : Number.NaN);
  if (Number.isNaN(time.getTime())) return word(at);
  const two = (number: number): string => String(number).padStart(2, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}
