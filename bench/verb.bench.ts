import type { Session } from "@sessiond/client";
import { burst, pairsOf, timeRow, type Burst } from "./bursts.ts";
import { stockClient } from "./limit/stock-client.ts";
import type { Compared } from "./pairs.ts";
import { QuickClient } from "./quick-client.ts";
import { withRig, type Rig } from "./rig.ts";
import { inShort, type Bar, type Bench, type How, type Row } from "./row.ts";

/**
 * Single calls through our client. Two limits: a bare router with the stock client, which has to be met; and bare
 * frames, which nobody can beat: the rest is what schemas, gate and library cost.
 */
type Verb = "authorize" | "session_info";
type Caller = () => Promise<{ readonly session_id: string }>;

export const verb: Bench = {
  name: "verb",
  about: "authorize and session_info, one and 32 in flight; a bare tRPC router with the stock client, and bare frames",
  run: (how) =>
    withRig(how, async (rig) => {
      const { id } = await rig.host.startSession({ workdir: rig.home.workdir });
      const limits = await openLimits(rig.limit);
      return [...(await rowsOf("authorize", { rig, id, how, limits })), ...(await rowsOf("session_info", { rig, id, how, limits }))];
    }),
};

type Limits = Awaited<ReturnType<typeof openLimits>>;

async function openLimits(path: string) {
  const { trpc: stock } = stockClient(path);
  return { stock, bare: await QuickClient.open(await stock.bare_frames.mutate()) };
}

async function rowsOf(verb: Verb, { rig, id, how, limits }: { rig: Rig; id: string; how: How; limits: Limits }): Promise<Row[]> {
  how.tell(verb);
  const { stock, bare } = limits;
  const { token, reply } = await replyOf(verb, await rig.host.openSession(id));
  await stock.remember.mutate({ verb, reply });
  await bare.call("mutation", "remember", { verb, reply });
  const input = { session_id: id, auth: { token } };
  const byStock: Caller = async () => (await stock[verb].query(input)) as { session_id: string };
  const byBareFrames: Caller = () => bare.call("query", verb, input);

  const [count, scale] = how.short ? [3, 0.25] : [7, 1];
  const one = { calls: 600 * scale, inFlight: 1 };
  const many = { calls: 4_000 * scale, inFlight: 32 };
  const keys = ["p50Ms", "perSecond"] as const;
  const compare = (limit: Caller, size: typeof one): Promise<Record<keyof Burst, Compared>> =>
    pairsOf(keys, count, {
      sessiond: async () => {
        // A token of its own each time: one has so many calls a minute.
        const session = await rig.host.openSession(id);
        const result = await burst(checked(id, callOf(verb, session)), size);
        await session.close();
        return result;
      },
      limit: () => burst(checked(id, limit), size),
    });
  const alone = await compare(byStock, one);
  const aloneBare = await compare(byBareFrames, one);
  const together = await compare(byStock, many);
  const togetherBare = await compare(byBareFrames, many);
  return [
    timeRow(`${verb}, 1 in flight, p50`, alone.p50Ms, { atMost: 1.2 }),
    timeRow(`${verb}, 1 in flight, p50, bare frames`, aloneBare.p50Ms, { atMost: 3 }),
    timeRow(`${verb}, 32 in flight, p50`, together.p50Ms, { atMost: 1.2 }),
    rateRow(`${verb}, 32 in flight`, together.perSecond, { atLeast: 0.7 }),
    rateRow(`${verb}, 32 in flight, bare frames`, togetherBare.perSecond, null),
  ];
}

const callOf =
  (verb: Verb, session: Session): Caller =>
  async () =>
    verb === "authorize" ? session.authorize() : session.info();

/** What the daemon itself answers, and for which token. */
async function replyOf(verb: Verb, session: Session): Promise<{ token: string; reply: unknown }> {
  const reply = await callOf(verb, session)();
  await session.close();
  return { token: session.token, reply };
}

const checked = (id: string, call: Caller) => async (): Promise<void> => {
  const { session_id } = await call();
  if (session_id !== id) throw new Error(`an answer for ${session_id}, and not for ${id}`);
};

const rateRow = (what: string, { sessiond, limit, ratio, spread }: Compared, bar: Bar | null): Row => ({
  what,
  sessiond: `${inShort(sessiond)}/s`,
  limit: `${inShort(limit)}/s`,
  ratio,
  spread,
  bar,
});
