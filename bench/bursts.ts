import { median, pairs, type Compared } from "./pairs.ts";
import type { Bar, Row } from "./row.ts";

export type Burst = Readonly<Record<"p50Ms" | "perSecond", number>>;

/** Calls one after another in so many lanes side by side. */
export async function burst(call: () => Promise<unknown>, { calls, inFlight }: { readonly calls: number; readonly inFlight: number }): Promise<Burst> {
  const times: number[] = [];
  let left = calls;
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      const since = performance.now();
      await call();
      times.push(performance.now() - since);
    }
  };
  const begun = performance.now();
  await Promise.all(Array.from({ length: inFlight }, lane));
  return { p50Ms: median(times), perSecond: (calls / (performance.now() - begun)) * 1000 };
}

/** What `work` takes, in ms; the first few times are not counted: nothing is warm yet. */
export async function p50Of(work: () => Promise<unknown>, { count, warm }: { readonly count: number; readonly warm: number }): Promise<number> {
  await burst(work, { calls: warm, inFlight: 1 });
  return (await burst(work, { calls: count, inFlight: 1 })).p50Ms;
}

type Figures<K extends string> = Readonly<Record<K, number>>;

/** As `pairs`, of several figures that a run gives together. */
export async function pairsOf<K extends string>(
  keys: readonly K[],
  count: number,
  { sessiond, limit }: { sessiond(): Promise<Figures<K>>; limit(): Promise<Figures<K>> },
): Promise<Record<K, Compared>> {
  const [ours, theirs]: [Figures<K>[], Figures<K>[]] = [[], []];
  await pairs(
    count,
    async () => ours.push(await sessiond()),
    async () => theirs.push(await limit()),
  );
  const compared = keys.map((key) => {
    // The first pair is the one that `pairs` throws away.
    const [own, bare] = [ours, theirs].map((side) => side.slice(1).map((figures) => figures[key])) as [number[], number[]];
    const ratios = own.map((value, at) => value / (bare[at] ?? NaN));
    return [key, { sessiond: median(own), limit: median(bare), ratio: median(ratios), spread: [Math.min(...ratios), Math.max(...ratios)] }] as const;
  });
  return Object.fromEntries(compared) as Record<K, Compared>;
}

export const timeRow = (what: string, { sessiond, limit, ratio, spread }: Compared, bar: Bar | null): Row => ({
  what,
  sessiond: inMs(sessiond),
  limit: inMs(limit),
  ratio,
  spread,
  bar,
});

const inMs = (value: number): string => `${value.toFixed(value < 10 ? 3 : 1)} ms`;
