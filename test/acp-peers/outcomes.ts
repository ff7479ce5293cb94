/** What became of each case with each agent, in a few words, as a table for whoever ran it. */
export class Outcomes {
  readonly #words = new Map<string, string>();
  readonly #columns = new Set<string>();
  readonly #rows = new Set<string>();

  /** Run a case: what it resolves with is what happened. */
  async of(agent: string, name: string, work: () => Promise<string>): Promise<void> {
    this.#rows.add(agent);
    this.#columns.add(name);
    const key = `${agent} ${name}`;
    // Also where it never ends.
    this.#words.set(key, "FAILED");
    this.#words.set(key, await work());
  }

  /** A row an agent, a column a case. */
  table(): string {
    const columns = [...this.#columns];
    const lines = [["", ...columns], ...[...this.#rows].map((row) => [row, ...columns.map((column) => this.#words.get(`${row} ${column}`) ?? "not run")])];
    const widths = ["", ...columns].map((_, at) => Math.max(...lines.map((line) => line[at]?.length ?? 0)));
    return lines
      .map((line) =>
        line
          .map((cell, at) => cell.padEnd(widths[at] ?? 0))
          .join("  ")
          .trimEnd(),
      )
      .join("\n");
  }
}
