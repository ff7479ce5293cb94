import type { Diff } from "@sessiond/client";

/** A change of a file as lines: what went, what came, and a little of what stands around it. */
export interface DiffLine {
  readonly sign: "-" | "+" | " " | "…";
  readonly text: string;
}

/** Lines of what stays, on each side of a change. */
const around = 2;
/** Old lines times new ones; beyond that what went and what came stand as two blocks, which costs nothing to find. */
const cellsMax = 250_000;

/**
 * @returns from the first changed line to the last, `…` where more than a little is left out between; none where nothing changes
 * Cost: O(old lines × new lines) of what lies between the first change and the last, at most `cellsMax`.
 */
export function diffLines({ old_text, new_text }: Pick<Diff, "old_text" | "new_text">): DiffLine[] {
  const [before, after] = [linesOf(old_text ?? ""), linesOf(new_text)];
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head++;
  let tail = 0;
  while (tail < Math.min(before.length, after.length) - head && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail++;
  const changed = between(before.slice(head, before.length - tail), after.slice(head, after.length - tail));
  if (changed.length === 0) return [];
  const stays = (lines: readonly string[]): DiffLine[] => lines.map((text) => ({ sign: " ", text }));
  const [lead, rest] = [stays(before.slice(Math.max(0, head - around), head)), stays(before.slice(before.length - tail, before.length - tail + around))];
  return [...lead, ...folded(changed), ...rest];
}

/** How many lines went, and how many came. */
export const sumOf = (lines: readonly DiffLine[]): string =>
  [
    ["+", lines.filter(({ sign }) => sign === "+").length],
    ["-", lines.filter(({ sign }) => sign === "-").length],
  ]
    .flatMap(([sign, count]) => (count === 0 ? [] : [`${sign}${count}`]))
    .join(" ");

function linesOf(text: string): string[] {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** The longest common sequence of lines stays; of two ways to the same, what went comes first. */
function between(before: readonly string[], after: readonly string[]): DiffLine[] {
  const [went, came] = [before.map((text): DiffLine => ({ sign: "-", text })), after.map((text): DiffLine => ({ sign: "+", text }))];
  if (before.length * after.length > cellsMax) return [...went, ...came];
  const width = after.length + 1;
  const common = new Uint32Array((before.length + 1) * width);
  const at = (row: number, column: number): number => common[row * width + column] ?? 0;
  for (let row = before.length - 1; row >= 0; row--)
    for (let column = after.length - 1; column >= 0; column--)
      common[row * width + column] = before[row] === after[column] ? at(row + 1, column + 1) + 1 : Math.max(at(row + 1, column), at(row, column + 1));
  const lines: DiffLine[] = [];
  for (let [row, column] = [0, 0]; row < before.length || column < after.length;) {
    const [old, fresh] = [went[row], came[column]];
    if (old !== undefined && fresh !== undefined && old.text === fresh.text) {
      lines.push({ sign: " ", text: old.text });
      row++;
      column++;
    } else if (old !== undefined && (fresh === undefined || at(row + 1, column) >= at(row, column + 1))) {
      lines.push(old);
      row++;
    } else if (fresh !== undefined) {
      lines.push(fresh);
      column++;
    }
  }
  return lines;
}

/** A long run of what stays is cut in its middle. */
function folded(lines: readonly DiffLine[]): DiffLine[] {
  const out: DiffLine[] = [];
  for (let at = 0; at < lines.length;) {
    let end = at;
    while (lines[end]?.sign === " ") end++;
    if (end - at > 2 * around + 1) out.push(...lines.slice(at, at + around), { sign: "…", text: "" }, ...lines.slice(end - around, end));
    else out.push(...lines.slice(at, Math.max(end, at + 1)));
    at = Math.max(end, at + 1);
  }
  return out;
}
