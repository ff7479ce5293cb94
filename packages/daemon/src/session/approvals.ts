import {
  escapeDeceptive,
  isSessiondError,
  limits,
  SessiondError,
  type Actor,
  type ApprovalCause,
  type ApprovalOption,
  type SessionEvent,
  type SessionState,
} from "@sessiond/shared";
import type { Answer, Question } from "../agents/agent.ts";
import { mintId } from "../ids.ts";
import type { ApprovalOutcome } from "./decided.ts";

/**
 * Questions that wait for a person. The question itself is in the session's state; here are the
 * agents that wait for its end. Every way out is one `approval_resolved` with its cause.
 */
const options: readonly ApprovalOption[] = [
  { option_id: "allow_once", kind: "allow_once", label: "Allow once", remembers: null },
  { option_id: "reject_once", kind: "reject_once", label: "Reject", remembers: null },
];

const refusals: Record<Exclude<ApprovalCause, "answer">, string> = {
  interrupt: "The turn was interrupted.",
  stop: "The session was stopped.",
  restart: "Interrupted by restart.",
  failed: "The turn ended before the question was answered.",
};

export interface ApprovalsHost {
  apply(event: SessionEvent): number;
  state(): SessionState;
  outcome(approvalId: string): ApprovalOutcome | undefined;
  now(): number;
}

export class Approvals {
  readonly #host: ApprovalsHost;
  readonly #waiting = new Map<string, (answer: Answer) => void>();
  /** Answers to questions of a parked turn, given before its agent has asked again. */
  readonly #early = new Map<string, Answer>();

  constructor(host: ApprovalsHost) {
    this.#host = host;
  }

  /** Raise a question, or join the one that is open for this tool call; resolves at its end. */
  ask(turnId: string, question: Question): Promise<Answer> {
    const early = this.#early.get(callKey(turnId, question.toolCallId));
    if (early !== undefined) return Promise.resolve(early);
    const open = this.#host.state().approvals.find((approval) => approval.tool_call_id === question.toolCallId && approval.turn_id === turnId);
    if (open === undefined && this.#host.state().approvals.length >= limits.approvals_pending_max)
      return Promise.resolve({
        allowed: false,
        reason: `Too many questions are open (limit ${limits.approvals_pending_max}); ask again when some are answered.`,
      });
    let approvalId: string;
    try {
      approvalId = open?.approval_id ?? this.#raise(turnId, question);
    } catch (error) {
      if (!isSessiondError(error, "limit_reached")) throw error;
      return Promise.resolve({ allowed: false, reason: "The question is too large to be shown whole, so nothing was run. Make a smaller change." });
    }
    return new Promise((resolve) => this.#waiting.set(approvalId, resolve));
  }

  /**
   * @returns the seq of the resolution
   * @throws SessiondError approval_gone with the outcome; conflict when another input was shown; bad_request for an unknown option
   */
  answer(approvalId: string, optionId: string, digest: string, by: Actor, reason?: string): number {
    const approval = this.#host.state().approvals.find((open) => open.approval_id === approvalId);
    if (approval === undefined) throw new SessiondError("approval_gone", { ...this.#host.outcome(approvalId) });
    if (approval.digest !== digest) throw new SessiondError("conflict", { reason: "the digest is not that of the question as it stands" });
    const option = approval.options.find((offered) => offered.option_id === optionId);
    if (option === undefined)
      throw new SessiondError("bad_request", { reason: `option_id must be one of ${approval.options.map((offered) => offered.option_id).join(", ")}` });
    const seq = this.#host.apply({
      type: "approval_resolved",
      approval_id: approvalId,
      cause: "answer",
      option_id: optionId,
      by,
      ...(reason !== undefined && { reason }),
    });
    const given: Answer = option.kind === "allow_once" ? { allowed: true, digest: approval.digest } : { allowed: false, reason: reason ?? "The user refused." };
    if (!this.#waiting.has(approvalId)) this.#early.set(callKey(approval.turn_id, approval.tool_call_id), given);
    this.#settle(approvalId, given);
    return seq;
  }

  /** The turn is over: close every open question of the session. */
  closeAll(cause: Exclude<ApprovalCause, "answer">): void {
    this.#early.clear();
    for (const approval of this.#host.state().approvals) {
      this.#host.apply({ type: "approval_resolved", approval_id: approval.approval_id, cause });
      this.#settle(approval.approval_id, { allowed: false, reason: refusals[cause] });
    }
  }

  /** Let go of waiting agents without an event: the session cannot write, or the turn is parked. */
  abandon(): void {
    this.#early.clear();
    for (const approvalId of [...this.#waiting.keys()]) this.#settle(approvalId, { allowed: false, reason: refusals.restart });
  }

  #raise(turnId: string, question: Question): string {
    const preview = escapeDeceptive(question.preview);
    if (preview.length > limits.preview_chars_max)
      throw new SessiondError("limit_reached", { limit: "preview_chars_max", value: limits.preview_chars_max, unit: "characters" });
    const approvalId = mintId("apr");
    this.#host.apply({
      type: "approval_requested",
      approval: {
        approval_id: approvalId,
        turn_id: turnId,
        tool_call_id: question.toolCallId,
        tool: question.tool,
        input: question.input,
        preview,
        options: [...options],
        digest: question.digest,
        asked_at: this.#host.now(),
      },
    });
    return approvalId;
  }

  #settle(approvalId: string, answer: Answer): void {
    const resolve = this.#waiting.get(approvalId);
    this.#waiting.delete(approvalId);
    resolve?.(answer);
  }
}

const callKey = (turnId: string, toolCallId: string): string => `${turnId} ${toolCallId}`;
