import { median } from "../pairs.ts";
import { inColumns } from "../row.ts";
import type { Peer, PeerName } from "./peer.ts";

/**
 * One row of the table: what the three gave, measured by turns, so that what else the machine does weighs on all
 * alike. A peer that fails is told with its error in place of a figure, and the others go on.
 */
export interface Line {
  readonly what: string;
  readonly unit: Unit;
  readonly of: Readonly<Record<PeerName, Outcome>>;
}

export type Unit = "ms" | "MB" | "events/s";
/** One figure a round, or why there is none. */
export type Outcome = readonly number[] | { readonly failed: string };

/** By names of rows: what one measurement of one peer gives. */
export type Figures = Readonly<Record<string, { readonly unit: Unit; readonly value: number }>>;

export interface Plan {
  readonly rounds: number;
  /** Before the rounds, thrown away: nothing is warm yet. */
  readonly warmUp: boolean;
  readonly tell: (line: string) => void;
}

/** @throws Error when none of them gave a figure */
export async function series(peers: readonly Peer[], { rounds, warmUp, tell }: Plan, measure: (peer: Peer) => Promise<Figures>): Promise<Line[]> {
  const lines = new Map<string, { unit: Unit; of: Record<string, number[]> }>();
  const failed = new Map<string, string>();
  for (let round = warmUp ? 0 : 1; round <= rounds; round++) {
    // Each goes first in a third of them.
    for (const peer of peers.map((_, index) => peers[(index + round) % peers.length] as Peer)) {
      if (failed.has(peer.name)) continue;
      try {
        const figures = Object.entries(await measure(peer));
        tell(
          `${round === 0 ? "to warm up" : `round ${round} of ${rounds}`}: ${peer.name}: ${figures.map(([what, { unit, value }]) => `${what} ${shown(value, unit)}`).join("; ")}`,
        );
        for (const [what, { unit, value }] of round === 0 ? [] : figures) {
          const line = lines.get(what) ?? { unit, of: {} };
          lines.set(what, line);
          (line.of[peer.name] ??= []).push(value);
        }
      } catch (error) {
        failed.set(peer.name, error instanceof Error ? error.message : String(error));
        tell(`${peer.name} FAILED: ${failed.get(peer.name)}`);
      }
    }
  }
  if (lines.size === 0) throw new Error([...failed].map(([name, why]) => `${name}: ${why}`).join("; "));
  const outcome = (name: PeerName, of: Record<string, number[]>): Outcome => {
    const why = failed.get(name);
    return why === undefined ? (of[name] ?? { failed: "not measured" }) : { failed: why };
  };
  return [...lines].map(([what, { unit, of }]) => ({
    what,
    unit,
    of: { sessiond: outcome("sessiond", of), opencode: outcome("opencode", of), codex: outcome("codex", of) },
  }));
}

/**
 * How many times as good as this one sessiond is, from medians of single rounds: beyond 1 it is ahead.
 * Null where one of the two has no figure.
 */
export function ahead({ unit, of }: Line, other: PeerName): number | null {
  const [ours, theirs] = [of.sessiond, of[other]];
  if ("failed" in ours || "failed" in theirs) return null;
  return median(ours.map((value, round) => (unit === "events/s" ? value / (theirs[round] ?? NaN) : (theirs[round] ?? NaN) / value)));
}

export const shown = (value: number, unit: Unit): string => {
  if (unit === "events/s") return value >= 1e6 ? `${(value / 1e6).toFixed(2)}M/s` : `${(value / 1e3).toFixed(0)}k/s`;
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ${unit}`;
};

/** One line a row: the median, the smallest and the largest of its rounds, and how many times as good ours is. */
export function asTable(lines: readonly Line[]): string {
  const cell = (line: Line, name: PeerName): string => {
    const outcome = line.of[name];
    if ("failed" in outcome) return "failed";
    const [unit, figure] = [line.unit, (value: number) => shown(value, line.unit).replace(` ${line.unit}`, "")];
    return `${shown(median(outcome), unit)} (${figure(Math.min(...outcome))}–${figure(Math.max(...outcome))})`;
  };
  const times = (line: Line, name: PeerName): string => {
    const ratio = ahead(line, name);
    return ratio === null ? "" : `${ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(ratio >= 1 ? 1 : 2)} ×`;
  };
  const rows = [
    ["", "sessiond", "opencode", "ours is", "codex", "ours is"],
    ...lines.map((line) => [line.what, cell(line, "sessiond"), cell(line, "opencode"), times(line, "opencode"), cell(line, "codex"), times(line, "codex")]),
  ];
  return inColumns(rows);
}
