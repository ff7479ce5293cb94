/** How often each thing happened. */
export class Tally {
  readonly counts = new Map<string, number>();

  add(key: string, by = 1): void {
    this.counts.set(key, (this.counts.get(key) ?? 0) + by);
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }

  get min(): number {
    return Math.min(...this.counts.values());
  }

  /** `a 3, b 1`, the most frequent first. */
  get line(): string {
    return [...this.counts]
      .toSorted(([, a], [, b]) => b - a)
      .map(([key, count]) => `${key} ${count}`)
      .join(", ");
  }
}
