import type { DriverSeat } from "@sessiond/client";
import { BareConversation } from "./bare-conversation.ts";
import { p50Of, timeRow } from "./bursts.ts";
import { stockClient } from "./limit/stock-client.ts";
import { median, pairs } from "./pairs.ts";
import { QuickClient } from "./quick-client.ts";
import { withRig, type Rig } from "./rig.ts";
import type { Bench } from "./row.ts";

/**
 * As for single calls there are two limits of an acknowledgement: a ping by the stock client that is synced, which has to be
 * met, and one by bare frames, which shows what all but the disk costs.
 *
 * What a prompt costs beside the model: until it is on disk and its sender knows, and until an answer of one chunk has
 * come and gone. Each burst has a session of its own, so that neither side has the longer transcript to send.
 */
const rounds = { count: 30, warm: 3 };

export const prompt: Bench = {
  name: "prompt",
  about: "durable acknowledgement (limit: ping + one fdatasync); an empty turn (a tRPC relay behind openai + two fdatasync)",
  run: (how) =>
    withRig(how, async (rig) => {
      const count = how.short ? 3 : 9;
      const line = "x".repeat(await acknowledgedBytes(rig));
      const quick = await QuickClient.open(rig.limit);
      const { trpc: stock } = stockClient(rig.limit);
      const append = (): Promise<unknown> => stock.append.mutate({ text: line });
      const appendBare = (): Promise<unknown> => quick.call("mutation", "append", { text: line });
      const relay = (synced: boolean) => async () => {
        const bare = await BareConversation.begin(rig, { synced });
        const p50 = await p50Of(() => bare.turn("hi", 2), rounds);
        await bare.close();
        return p50;
      };
      const turns = withDriver(rig, (seat) => p50Of(() => seat.prompt("hi"), rounds));
      const acknowledged = withDriver(rig, acknowledgements);
      return [
        timeRow("prompt, durable acknowledgement", await pairs(count, acknowledged, () => p50Of(append, rounds)), { atMost: 1.5 }),
        timeRow("prompt, durable acknowledgement, bare frames", await pairs(count, acknowledged, () => p50Of(appendBare, rounds)), null),
        timeRow("prompt, empty turn", await pairs(count, turns, relay(true)), { atMost: 1.5 }),
        timeRow("prompt, empty turn, limit that syncs nothing", await pairs(count, turns, relay(false)), null),
      ];
    }),
};

/** What one write has when the prompt is acknowledged, without its last newline. */
async function acknowledgedBytes({ host, home }: Rig): Promise<number> {
  const session = await host.startSession({ workdir: home.workdir });
  const seat = await session.attach({ as: "driver" });
  await seat.prompt("hi");
  const written = home.journal(session.id).filter(({ event }) => ["prompt_accepted", "turn_started", "prompt_delivered"].includes(event.type));
  if (written.length !== 3) throw new Error(`a prompt is acknowledged with ${written.length} frames`);
  await session.close();
  return Buffer.byteLength(written.map(({ text }) => text).join("\n"));
}

const withDriver = (rig: Rig, measure: (seat: DriverSeat) => Promise<number>) => async () => {
  const session = await rig.host.startSession({ workdir: rig.home.workdir });
  const result = await measure(await session.attach({ as: "driver" }));
  await session.stop();
  await session.close();
  return result;
};

/** The turn that each one begins is over before the next one is sent. */
async function acknowledgements(seat: DriverSeat): Promise<number> {
  const times: number[] = [];
  for (let round = -rounds.warm; round < rounds.count; round++) {
    const since = performance.now();
    const { seq } = await seat.sendPrompt("hi");
    if (round >= 0) times.push(performance.now() - since);
    while (seat.state.seq < seq || seat.state.turn !== null) await seat.changed();
  }
  return median(times);
}
