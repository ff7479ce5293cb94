/**
 * What a bench says: one row is one ratio. Absolute figures drift with the machine and are printed only; the ratio
 * is judged, against a limit that was measured in the same run.
 */
export type Bar = { readonly atMost: number } | { readonly atLeast: number };

export interface Row {
  /** `fan-out, 50 viewers`. */
  readonly what: string;
  /** Medians, with their unit: `412k events/s`, `0.31 ms`. */
  readonly sessiond: string;
  /** Null for a figure with a bar of its own, as bytes a session. */
  readonly limit: string | null;
  /** sessiond / limit; for a figure with a bar of its own, that figure. */
  readonly ratio: number;
  /** The smallest and the largest ratio of single pairs. */
  readonly spread: readonly [number, number] | null;
  readonly bar: Bar | null;
}

export interface Bench {
  readonly name: string;
  /** One line: the work, and what the limit is. */
  readonly about: string;
  run(how: How): Promise<readonly Row[]>;
}

export interface How {
  /** Less of everything: CI looks for what is far off, not for figures. */
  readonly short: boolean;
  /** Where the bundled processes lie. */
  readonly dir: string;
  /** A line of progress. */
  tell(line: string): void;
}

/**
 * @param slack  how many times off its bar a ratio may be: 1 for the bench itself, 2 for the short form in CI
 */
export function isGood({ ratio, bar }: Row, slack = 1): boolean {
  if (bar === null) return true;
  return "atMost" in bar ? ratio <= bar.atMost * slack : ratio >= bar.atLeast / slack;
}

const short = (value: number): string => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2));

export function asTable(rows: readonly Row[], slack = 1): string {
  const cells = rows.map((row) => [
    row.what,
    row.sessiond,
    row.limit ?? "",
    row.limit === null ? "" : short(row.ratio),
    row.spread === null ? "" : `${short(row.spread[0])}–${short(row.spread[1])}`,
    row.bar === null ? "" : "atMost" in row.bar ? `≤ ${row.bar.atMost}` : `≥ ${row.bar.atLeast}`,
    row.bar === null ? "" : isGood(row, slack) ? "ok" : "NOT MET",
  ]);
  return inColumns([["what", "sessiond", "limit", "ratio", "spread", "bar", ""], ...cells]);
}

/** The first column to the left, figures to the right. */
export function inColumns(table: readonly (readonly string[])[]): string {
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((line) => (line[column] ?? "").length)));
  return table
    .map((line) =>
      line
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** `1,234,567` as `1.23M`, `12,345` as `12k`. */
export const inShort = (value: number): string => {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)}M`;
  return value >= 1e4 ? `${(value / 1e3).toFixed(0)}k` : value >= 100 ? value.toFixed(0) : value.toPrecision(3);
};
