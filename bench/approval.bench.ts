import type { DriverSeat, Session, ViewerSeat } from "@sessiond/client";
import { BareConversation } from "./bare-conversation.ts";
import { pairsOf, timeRow } from "./bursts.ts";
import type { ModelTimes } from "./model.ts";
import { median } from "./pairs.ts";
import { withRig, type Rig } from "./rig.ts";
import type { Bench } from "./row.ts";

/**
 * What a question costs beside the person: from the model's tool call until a viewer sees it, and from the answer until
 * the model is called again. The tool is `shell` with `true`, because only a tool that asks can be measured, and the
 * others that ask change files; the limit starts `/bin/sh -c true` likewise. So the second figure is for the most part
 * what it costs to start a process, on both sides.
 */
const burst = 12;
const warm = 2;

/** In ms. */
type Waits = Readonly<Record<"question" | "answer", number>>;
/** In ns, of one round. */
interface Moments {
  readonly asked: bigint;
  readonly answered: bigint;
}

export const approval: Bench = {
  name: "approval",
  about: "tool call to the question at a viewer, answer to the next model call; limits: that relay, and with two fdatasync",
  run: (how) =>
    withRig(how, async (rig) => {
      const count = how.short ? 3 : 9;
      const keys = ["question", "answer"] as const;
      // What is synced lies outside of the time to the question.
      const { question, answer } = await pairsOf(keys, count, { sessiond: () => ours(rig), limit: () => bare(rig, true) });
      const unsynced = await pairsOf(keys, count, { sessiond: () => ours(rig), limit: () => bare(rig, false) });
      return [
        timeRow("approval, tool call to the question at a viewer", question, { atMost: 1.5 }),
        timeRow("approval, answer to the next model call", answer, { atMost: 1.5 }),
        timeRow("approval, answer to the next model call, limit that syncs nothing", unsynced.answer, null),
      ];
    }),
};

async function ours(rig: Rig): Promise<Waits> {
  const session = await rig.host.startSession({ workdir: rig.home.workdir });
  const [driver, viewer] = [await session.attach({ as: "driver" }), await session.attach({ as: "viewer" })];
  const waits = await waitsOf(rig, () => ourRound(driver, viewer));
  await end(session);
  return waits;
}

async function ourRound(driver: DriverSeat, viewer: ViewerSeat): Promise<Moments> {
  const turn = driver.prompt("call");
  while (viewer.state.approvals.length === 0) await viewer.changed();
  const asked = process.hrtime.bigint();
  while (driver.state.approvals.length === 0) await driver.changed();
  const [question] = driver.state.approvals;
  if (question === undefined) throw new Error("the question has gone");
  const answered = process.hrtime.bigint();
  await driver.approve(question, { kind: "allow_once" });
  const { stopReason } = await turn;
  if (stopReason !== "end_turn") throw new Error(`the turn ended with ${stopReason}`);
  while (viewer.state.turn !== null) await viewer.changed();
  return { asked, answered };
}

async function end(session: Session): Promise<void> {
  await session.stop();
  await session.close();
}

async function bare(rig: Rig, synced: boolean): Promise<Waits> {
  const conversation = await BareConversation.begin(rig, { synced });
  const waits = await waitsOf(rig, async () => {
    const question = conversation.question();
    const turn = conversation.turn("call", 4);
    const callId = await question;
    const asked = process.hrtime.bigint();
    const answered = process.hrtime.bigint();
    await conversation.answer(callId);
    await turn;
    return { asked, answered };
  });
  await conversation.close();
  return waits;
}

/** Rounds against the model's own clock: of each it has written one call, and was asked twice. */
async function waitsOf({ model }: Rig, round: () => Promise<Moments>): Promise<Waits> {
  for (let at = 0; at < warm; at++) await round();
  await model.ask<ModelTimes>({ times: true });
  const rounds: Moments[] = [];
  while (rounds.length < burst) rounds.push(await round());
  const { calls, requests } = await model.ask<ModelTimes>({ times: true });
  if (calls.length !== burst || requests.length !== burst * 2) throw new Error(`${burst} rounds had ${calls.length} calls and ${requests.length} requests`);
  return {
    question: median(rounds.map(({ asked }, at) => inMsBetween(calls[at], asked))),
    answer: median(rounds.map(({ answered }, at) => inMsBetween(answered, requests[at * 2 + 1]))),
  };
}

const inMsBetween = (from: bigint | string | undefined, to: bigint | string | undefined): number => Number(BigInt(to ?? 0) - BigInt(from ?? 0)) / 1e6;
