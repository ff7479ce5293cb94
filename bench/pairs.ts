/** Measures two things by turns: what else the machine does weighs on both alike. */
export interface Compared {
  readonly sessiond: number;
  readonly limit: number;
  /** Median of the ratios of single pairs: a pair lies close in time, the medians of the sides need not. */
  readonly ratio: number;
  readonly spread: readonly [number, number];
}

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] ?? NaN) : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
};

/** @param count  pairs; one more goes before them and is thrown away: nothing is warm yet */
export async function pairs(count: number, sessiond: () => Promise<number>, limit: () => Promise<number>): Promise<Compared> {
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let pair = -1; pair < count; pair++) {
    // Each side goes first in half of them.
    const sides = [async () => void ours.push(await sessiond()), async () => void theirs.push(await limit())];
    for (const side of pair % 2 === 0 ? sides : sides.toReversed()) await side();
    if (pair === -1) ours.length = theirs.length = 0;
  }
  const ratios = ours.map((value, index) => value / (theirs[index] ?? NaN));
  return { sessiond: median(ours), limit: median(theirs), ratio: median(ratios), spread: [Math.min(...ratios), Math.max(...ratios)] };
}
