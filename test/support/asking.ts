import type { Approval, RulePattern } from "@sessiond/shared";
import type { Answer } from "../../packages/daemon/src/agents/agent.ts";
import type { Rig, TestSeat } from "./session-rig.ts";
import type { ScriptedTurn } from "./scripted-agent.ts";

/** Questions that a scripted agent asks about commands and files, in a form that can be remembered. */
export const commandIn = (directory: string, command = "make test"): RulePattern => ({ type: "command", command, directory });
export const pathOf = (path: string): RulePattern => ({ type: "path", path });

let made = 0;

/** The turn of a new prompt. */
export async function turnOf(rig: Rig, driver: TestSeat): Promise<ScriptedTurn> {
  await driver.prompt("work", { whenBusy: "queue" });
  return rig.kind.turn();
}

export interface Asked {
  readonly callId: string;
  /** Its end, when there is one. */
  readonly answer: Promise<Answer>;
}

/** Ask for something that has not been asked for in this turn; resolves when the question, or its end, is applied. */
export async function ask(turn: ScriptedTurn, pattern: RulePattern | null, tool = "shell"): Promise<Asked> {
  made += 1;
  const callId = `call-${made}`;
  const input = { made };
  await turn.call(callId, input);
  const answer = turn.ask(callId, input, `call ${made}`, { pattern, tool });
  // The question is applied by the time it is asked; its answer may have come in the same step.
  await Promise.resolve();
  return { callId, answer };
}

/** The open question about this call, as a seat sees it. */
export async function shownTo(seat: TestSeat, { callId }: Asked): Promise<Approval> {
  const find = (): Approval | undefined => seat.state.approvals.find((approval) => approval.tool_call_id === callId);
  await seat.until(() => find() !== undefined);
  return find() as Approval;
}

/** What the agent was told, or "open" while it waits. */
export async function outcome({ answer }: Asked): Promise<Answer | "open"> {
  // Longer than any chain of promises that ends by itself.
  const waited = new Promise<"open">((resolve) => setImmediate(() => resolve("open")));
  return Promise.race([answer, waited]);
}
