import { median, pairs } from "./pairs.ts";
import { Rounds } from "./rounds.ts";
import type { Bench, How, Row } from "./row.ts";

/** How long a chunk is under way, from the model's write to a viewer's callback, while the model gives 100 a second. */
export const stream: Bench = {
  name: "stream",
  about: "100 chunks/s, 1 and 20 viewers, model's send to viewer's callback; limit: a bare tRPC relay",
  run: (how) =>
    Rounds.during(how, async (rounds) => {
      const rows: Row[] = [];
      for (const viewers of [1, 20]) rows.push(await row(rounds, viewers, how));
      return rows;
    }),
};

const everyMs = 10;

async function row(rounds: Rounds, viewers: number, { short, tell }: How): Promise<Row> {
  const chunks = short ? 100 : 500;
  const round = { viewers, chunks, stamped: true };
  const prompt = `stream ${chunks} every ${everyMs}`;
  const late = { sessiond: [] as number[], limit: [] as number[] };
  const play = async (side: "sessiond" | "limit"): Promise<number> => {
    const { p50, p99 } = await rounds[side](round, prompt);
    late[side].push(p99);
    return p50;
  };
  const { sessiond, limit, ratio, spread } = await pairs(
    short ? 2 : 5,
    () => play("sessiond"),
    () => play("limit"),
  );
  // The first is that of the pair that is thrown away.
  const p99 = (side: "sessiond" | "limit"): string => `${median(late[side].slice(1)).toFixed(2)} ms`;
  const text = (p50: number, side: "sessiond" | "limit"): string => `${p50.toFixed(3)} ms (p99 ${p99(side)})`;
  tell(`${viewers} viewers: p50 ${sessiond.toFixed(3)} ms, limit ${limit.toFixed(3)} ms`);
  return {
    what: `stream, ${viewers} viewer${viewers === 1 ? "" : "s"}, p50`,
    sessiond: text(sessiond, "sessiond"),
    limit: text(limit, "limit"),
    ratio,
    spread,
    bar: { atMost: 1.5 },
  };
}
