import { HeldHome, measured, measuredBy, type Measured } from "./held-home.ts";
import { median } from "./pairs.ts";
import type { How, Row } from "./row.ts";
import { endOf, limitIn, real, startOf, type Startable } from "./started-daemon.ts";

/**
 * A daemon that has been started and has said hello once, beside the limit, both after a forced collection. Without one
 * it is chance whether V8 has given back by then what starting took: 62 MB or 69, of the same daemon.
 */
export async function idle({ short, dir }: How, config: string): Promise<Row[]> {
  const homes = Array.from({ length: short ? 2 : 5 }, () => new HeldHome(config));
  try {
    const couples: Measured[][] = [];
    for (const home of homes) couples.push([await idleOf(real(home)), await idleOf(limitIn(dir, home))]);
    const of = (figure: keyof Measured) => compared(couples.map((couple) => couple.map((side) => side[figure])));
    return [
      { what: "memory, RSS idle", ...of("resident"), bar: { atMost: 1.25 } },
      { what: "memory, heap and buffers idle", ...of("held"), bar: null },
    ];
  } finally {
    await Promise.all(homes.map((home) => home.close()));
  }
}

async function idleOf(daemon: Startable): Promise<Measured> {
  const into = `${daemon.socket}.measured`;
  const running = await startOf({ ...daemon, env: { ...daemon.env, ...measuredBy(into) } });
  try {
    // What a start leaves for later is done by then.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    return await measured(running.child.pid ?? 0, `${into}-1`);
  } finally {
    await endOf(running);
  }
}

/** @param couples  [sessiond, limit], in bytes */
function compared(couples: readonly (readonly number[])[]): Omit<Row, "what" | "bar"> {
  const side = (index: number): string => `${(median(couples.map((couple) => couple[index] ?? NaN)) / 1e6).toFixed(1)} MB`;
  const ratios = couples.map(([sessiond = NaN, limit = NaN]) => sessiond / limit);
  return { sessiond: side(0), limit: side(1), ratio: median(ratios), spread: [Math.min(...ratios), Math.max(...ratios)] };
}
