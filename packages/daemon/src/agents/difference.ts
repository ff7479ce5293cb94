const contextLines = 3;

/** The change as one hunk of a unified diff, from the first line that differs to the last: nothing in it is left out. */
export function difference(name: string, before: string | null, after: string): string {
  const from = linesOf(before ?? "");
  const to = linesOf(after);
  let head = 0;
  while (head < from.length && head < to.length && from[head] === to[head]) head += 1;
  let tail = 0;
  while (tail < from.length - head && tail < to.length - head && from[from.length - 1 - tail] === to[to.length - 1 - tail]) tail += 1;
  const start = Math.max(0, head - contextLines);
  const after3 = Math.min(contextLines, tail);
  const removed = from.slice(head, from.length - tail);
  const added = to.slice(head, to.length - tail);
  const body = [
    ...from.slice(start, head).map((line) => ` ${line}`),
    ...removed.map((line) => `-${line}`),
    ...added.map((line) => `+${line}`),
    ...from.slice(from.length - tail, from.length - tail + after3).map((line) => ` ${line}`),
  ];
  const range = (at: number, count: number): string => `${count === 0 ? at : at + 1},${count}`;
  const around = head - start + after3;
  const title = `--- ${before === null ? "(no such file)" : name}\n+++ ${name}\n@@ -${range(start, removed.length + around)} +${range(start, added.length + around)} @@`;
  return removed.length + added.length === 0 ? `${title}\n(no difference)` : `${title}\n${body.join("\n")}`;
}

/** A last line without its newline is another line than one with it, and says so. */
function linesOf(text: string): string[] {
  if (text === "") return [];
  const lines = text.split("\n");
  const last = lines.pop() ?? "";
  return last === "" ? lines : [...lines, `${last}\n\\ No newline at end of file`];
}
