import { colourOn, foreignLine, painted, type Sink } from "./screen.ts";

/** Rows under heads, as wide as they need; the last column is not padded. A cell is one line, and gives no orders, whoever wrote it. */
export function printTable(sink: Sink, heads: readonly string[], given: readonly (readonly string[])[]): void {
  const rows = given.map((row) => row.map(foreignLine));
  const widths = heads.map((head, column) => Math.max(head.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join("  ");
  sink.write(`${painted(line(heads), "dim", colourOn(sink))}\n`);
  for (const row of rows) sink.write(`${line(row)}\n`);
}

/** Facts, a line each; a further line of the same fact has no name. */
export function printFacts(sink: Sink, facts: readonly (readonly [name: string, value: string])[]): void {
  const width = Math.max(...facts.map(([name]) => name.length));
  for (const [name, value] of facts) sink.write(`${painted(name.padEnd(width), "dim", colourOn(sink))}  ${foreignLine(value)}\n`);
}

/** Cut to so many characters, and says so. */
export const clip = (text: string, chars: number): string => (text.length > chars ? `${text.slice(0, chars - 1)}…` : text);

/** Lines longer than that are broken between words; those of examples, which are typed, are not. */
export function folded(text: string, width: number): string {
  const fold = (line: string): string => {
    if (line.length <= width || line.startsWith("  $ ")) return line;
    const at = line.lastIndexOf(" ", width);
    return at <= 0 ? line : `${line.slice(0, at)}\n${fold(line.slice(at + 1))}`;
  };
  return text.split("\n").map(fold).join("\n");
}
