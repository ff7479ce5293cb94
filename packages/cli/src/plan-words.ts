import type { PlanEntry } from "@sessiond/client";
import { foreignLine } from "./screen.ts";
import { clip } from "./table.ts";

/** A plan in few lines: what is done and what comes much later is counted, the steps around now are named. */
const stepsDoneMax = 2;
const stepsToComeMax = 8;
const stepChars = 160;
const marks: Readonly<Record<PlanEntry["status"], string>> = { completed: "✓", in_progress: "▸", pending: "·" };

/** `2 of 5 done`. */
export const planSum = (entries: readonly PlanEntry[]): string => `${entries.filter(({ status }) => status === "completed").length} of ${entries.length} done`;

/** The step that is worked on, or the next one; null where all is done. */
export function planNow(entries: readonly PlanEntry[]): string | null {
  const step = entries.find(({ status }) => status === "in_progress") ?? entries.find(({ status }) => status === "pending");
  return step === undefined ? null : stepWords(step);
}

/** In the agent's order; what it works on always stands there. */
export function planLines(entries: readonly PlanEntry[]): string[] {
  const done = entries.filter(({ status }) => status === "completed");
  const pending = entries.filter(({ status }) => status === "pending");
  const left = new Set([...done.slice(0, Math.max(0, done.length - stepsDoneMax)), ...pending.slice(stepsToComeMax)]);
  // One line that counts one step would say less than the step.
  const [doneLeft, pendingLeft] = [done, pending].map((steps) => steps.filter((step) => left.has(step)));
  for (const few of [doneLeft, pendingLeft]) if (few?.length === 1 && few[0] !== undefined) left.delete(few[0]);
  const count = (steps: readonly PlanEntry[] = []): number => steps.filter((step) => left.has(step)).length;
  const [before, after] = [count(doneLeft), count(pendingLeft)];
  return [
    ...(before === 0 ? [] : [`✓ ${before} more`]),
    ...entries.filter((step) => !left.has(step)).map((step) => `${marks[step.status]} ${stepWords(step)}`),
    ...(after === 0 ? [] : [`· ${after} more`]),
  ];
}

const stepWords = ({ content, priority }: PlanEntry): string => `${clip(foreignLine(content), stepChars)}${priority === "high" ? " (high)" : ""}`;
