import { lstat, stat } from "node:fs/promises";
import { limits, type Finding } from "@sessiond/shared";
import { diskReason } from "../disk.ts";
import { claim, privateDirectory, type Claim } from "../lifecycle.ts";
import { failedAgents } from "./agent-troubles.ts";
import { daemonTroubles, orphanTroubles, presenceOf, type Presence } from "./daemon-check.ts";
import { diskTroubles } from "./disk-use.ts";
import type { Examination, Situation, Trouble } from "./examination.ts";
import { Findings } from "./finding.ts";
import { leftoverTroubles } from "./leftovers.ts";
import { placeTroubles } from "./place-check.ts";
import { sessionTroubles } from "./session-troubles.ts";
import { setupTroubles } from "./setup-check.ts";
import { newerFormat, storeFacts } from "./store-check.ts";

/**
 * `sessiond doctor`: what is wrong with the installation, with a daemon running or without, and how
 * to mend each of it. With `fix` it does what is safe. Where no daemon runs it does that under the
 * daemon's own locks, so that none starts in the middle; they are taken for nothing else.
 */
export async function doctor(examination: Examination): Promise<void> {
  const { fix, tell } = examination;
  const presence = await presenceOf(examination);
  tell({ type: "fact", name: "daemon", value: daemonWords(presence) });
  const alone = isAlone(presence);
  const report = async (troubles: readonly Trouble[], locked: boolean): Promise<void> => {
    for (const trouble of troubles) tell({ type: "finding", finding: fix ? await treated(trouble, locked) : offered(trouble, !alone) });
  };
  // First where it lives: without that there is no lock to take.
  await report([...(await setupTroubles(examination)), ...(await placeTroubles(examination))], false);
  // What a newer version wrote there means what only that one knows.
  const newer = await newerFormat(examination);
  if (newer !== null) return tell({ type: "finding", finding: newer });
  // Seen before the locks are taken: letting them go takes a dead daemon's socket away.
  const outside = await daemonTroubles(examination, presence);
  const held = fix && alone ? await claimed(examination) : null;
  try {
    const situation = await situationOf(examination, presence, fix ? held === null : !alone);
    await report([...outside, ...(await lookAround(situation, presence))], held !== null);
  } finally {
    await held?.release();
  }
}

const isAlone = ({ answer, runtimeHolder, stateHolder }: Presence): boolean =>
  answer !== "answers" && answer !== "silent" && runtimeHolder === undefined && stateHolder === undefined;

async function situationOf(examination: Examination, { runtimeHolder, stateHolder }: Presence, occupied: boolean): Promise<Situation> {
  const findings = new Findings(limits.recovery_findings_max);
  const facts = await storeFacts(examination.disk, examination.stateDir, findings);
  for (const finding of findings.all()) examination.tell({ type: "finding", finding });
  return { examination, occupied, facts, holders: [runtimeHolder, stateHolder].flatMap((holder) => (holder === undefined ? [] : [holder.pid])) };
}

const lookAround = async (situation: Situation, presence: Presence): Promise<Trouble[]> => [
  ...(await orphanTroubles(situation.examination, presence)),
  ...(await sessionTroubles(situation)),
  ...(await failedAgents(situation)),
  ...(await leftoverTroubles(situation)),
  ...(await diskTroubles(situation)),
];

/** Null when a daemon was quicker, or the locks cannot be had; then only what is safe beside one is done. */
async function claimed({ socket, runtimeDir, stateDir }: Examination): Promise<Claim | null> {
  try {
    await stat(stateDir);
    // Letting go takes the socket's name away: only from a socket.
    if ((await lstat(socket).catch(() => null))?.isSocket() === false) return null;
    // Gone with the last boot of the machine.
    await privateDirectory(runtimeDir);
    return await claim(socket, stateDir);
  } catch {
    return null;
  }
}

function offered({ finding, repair }: Trouble, occupied: boolean): Finding {
  return repair === undefined ? finding : { ...finding, fix: repair.beside || !occupied ? "can" : "after_down" };
}

async function treated(trouble: Trouble, alone: boolean): Promise<Finding> {
  const { finding, repair } = trouble;
  if (repair === undefined || !(repair.beside || alone)) return offered(trouble, !alone);
  try {
    await repair.run();
    return { ...finding, fix: "done" };
  } catch (error) {
    return { ...finding, fix: "failed", mend: `it could not be done: ${diskReason(error)}` };
  }
}

function daemonWords({ answer, runtimeHolder, stateHolder }: Presence): string {
  const holder = runtimeHolder ?? stateHolder;
  if (answer === "answers") return `running${holder === undefined ? "" : `, pid ${holder.pid}`}`;
  return holder === undefined ? "none runs" : `pid ${holder.pid}, and nobody reaches it`;
}
