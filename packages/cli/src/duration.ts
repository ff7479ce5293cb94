import { Failure } from "./exit-codes.ts";

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;

/** `90s`, `1h`, `7d`; a bare number is milliseconds. @throws Failure usage */
export function parseDuration(text: string): number {
  const match = /^(\d+)\s*(ms|s|m|h|d|w)?$/.exec(text);
  const ms = match === null ? Number.NaN : Number(match[1]) * unitMs[(match[2] ?? "ms") as keyof typeof unitMs];
  if (!Number.isSafeInteger(ms)) throw new Failure("usage", `\`${text}\` is no duration; write 90s, 30m, 1h or 7d.`);
  return ms;
}

/** The two largest units that matter: `3 d 4 h`, `12 s`. */
export function spoken(ms: number): string {
  const units = [
    ["d", unitMs.d],
    ["h", unitMs.h],
    ["min", unitMs.m],
    ["s", unitMs.s],
  ] as const;
  const first = units.findIndex(([, size]) => ms >= size);
  if (first < 0) return `${Math.max(0, Math.round(ms))} ms`;
  let rest = ms;
  const parts = units.slice(first, first + 2).map(([name, size]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return { name, count };
  });
  return parts
    .filter(({ count }) => count > 0)
    .map(({ name, count }) => `${count} ${name}`)
    .join(" ");
}

/** What is left, in whole seconds: two clocks that were read one after the other differ by a little. */
export const left = (ms: number): string => spoken(ms < 1_000 ? Math.max(0, ms) : Math.round(ms / 1_000) * 1_000);
