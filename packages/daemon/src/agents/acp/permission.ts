import { createHash } from "node:crypto";
import { limits, type ApprovalCause, type OwnAnswer } from "@sessiond/shared";
import { type AcpPermissionResponse, type ReadPermissionRequest } from "@sessiond/shared/acp";
import { bindingDigest, type Answer, type Question } from "../agent.ts";
import { ownAnswers } from "../own-answers.ts";
import { previewOf } from "./preview.ts";
import type { Call } from "./tool-calls.ts";

/**
 * An agent's question and its answer: options with ids of ours, since the gate goes by ids and an agent
 * could name any; and back to the agent's own.
 */
export interface Offered {
  readonly question: Question;
  /** The agent's id of each of ours. */
  nameOf(optionId: string): string | undefined;
  /** What refuses it once, where the agent offers that. */
  readonly rejectOnce: string | undefined;
}

export const cancelled: AcpPermissionResponse = { outcome: { outcome: "cancelled" } };
const selected = (optionId: string): AcpPermissionResponse => ({ outcome: { outcome: "selected", optionId } });

type GivenOption = ReadPermissionRequest["options"][number];
const kindOf = (kind: GivenOption["kind"]): OwnAnswer["kind"] => (kind === "unknown" ? "other" : kind);

/** Null when it offers nothing: then there is nothing to be answered. Beyond the bound options are not shown, the known kinds last. */
export function offered(call: Call, given: readonly GivenOption[], agent: string): Offered | null {
  if (given.length === 0) return null;
  const own = ownAnswers(
    shownOf(given).map(({ optionId, kind, name }) => ({ id: optionId, kind: kindOf(kind), label: name })),
    agent,
  );
  const preview = previewOf(call.told, agent);
  const digest = bindingDigest(call.tool, call.input, createHash("sha256").update(preview).digest("hex"));
  const question = { toolCallId: call.id, tool: call.tool, input: call.input, preview, digest, pattern: null, options: own.options };
  return { question, nameOf: own.nameOf, rejectOnce: own.nameOf("reject_once") };
}

/** A person must find a way to say no, however many other answers there are. */
function shownOf(given: readonly GivenOption[]): GivenOption[] {
  const sorted = [...given].toSorted((a, b) => Number(kindOf(a.kind) === "other") - Number(kindOf(b.kind) === "other"));
  const shown = sorted.slice(0, limits.approval_options_max);
  const no = sorted.find(({ kind }) => kind === "reject_once");
  return no === undefined || shown.includes(no) ? shown : [...shown.slice(0, -1), no];
}

/** Ways out of a question in which nobody chose anything. */
const unchosen: ReadonlySet<ApprovalCause> = new Set(["interrupt", "stop", "restart", "failed", "withdrawn"]);

/** @param over  the turn is being ended: then nothing was chosen, whatever the answer says */
export function outcomeOf(answer: Answer, { nameOf, rejectOnce }: Offered, over: boolean): AcpPermissionResponse {
  const chosen = answer.optionId === undefined ? undefined : nameOf(answer.optionId);
  if (answer.cause === "answer" && chosen !== undefined) return selected(chosen);
  const ended = over || (answer.cause !== undefined && unchosen.has(answer.cause));
  return ended || rejectOnce === undefined ? cancelled : selected(rejectOnce);
}
