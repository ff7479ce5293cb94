import { amount } from "../test/support/amount.ts";
import { pairs } from "./pairs.ts";
import { Rounds } from "./rounds.ts";
import { inShort, type Bar, type Bench, type How, type Row } from "./row.ts";

/**
 * How many events a second reach all viewers together, as fast as the model's stream gives them. The clock runs from
 * the prompt to the last chunk at the last viewer.
 */
interface Case {
  readonly viewers: number;
  /** A million deliveries a round at most, which is about four minutes for all rows; SESSIOND_WHOLE=1 gives all viewers the whole stream. */
  readonly chunks: number;
  readonly bar: Bar;
}

const cases: readonly Case[] = [
  { viewers: 1, chunks: 100_000, bar: { atLeast: 0.5 } },
  { viewers: 10, chunks: 60_000, bar: { atLeast: 0.6 } },
  { viewers: 50, chunks: 20_000, bar: { atLeast: 0.6 } },
  { viewers: 200, chunks: 5_000, bar: { atLeast: 0.5 } },
];

export const fanout: Bench = {
  name: "fanout",
  about: "a model's stream to 1, 10, 50, 200 viewers; limit: bare tRPC, one batch a tick, fed by the same openai stream, no journal",
  run: (how) =>
    Rounds.during(how, async (rounds) => {
      const rows: Row[] = [];
      for (const each of cases) if (!(how.short && each.viewers > 50)) rows.push(await row(rounds, each, how));
      return rows;
    }),
};

async function row(rounds: Rounds, { viewers, chunks: some, bar }: Case, { short, tell }: How): Promise<Row> {
  const chunks = short ? 5_000 : amount(some, 100_000);
  const round = { viewers, chunks, stamped: false };
  const rate = (ms: number): number => (viewers * chunks) / (ms / 1_000);
  const { sessiond, limit, ratio, spread } = await pairs(
    short ? 3 : 7,
    async () => rate((await rounds.sessiond(round, `stream ${chunks}`)).ms),
    async () => rate((await rounds.limit(round, `stream ${chunks}`)).ms),
  );
  tell(`${viewers} viewers, ${chunks} chunks: ${inShort(sessiond)}/s, limit ${inShort(limit)}/s`);
  return {
    what: `fan-out, ${viewers} viewer${viewers === 1 ? "" : "s"}`,
    sessiond: `${inShort(sessiond)} events/s`,
    limit: `${inShort(limit)} events/s`,
    ratio,
    spread,
    bar,
  };
}
