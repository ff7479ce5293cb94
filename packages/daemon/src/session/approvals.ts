import {
  escapeDeceptive,
  isSessiondError,
  limits,
  SessiondError,
  type Actor,
  type Approval,
  type ApprovalCause,
  type ApprovalOption,
  type SessionEvent,
  type SessionState,
} from "@sessiond/shared";
import type { Answer, Question } from "../agents/agent.ts";
import type { Clock } from "../clock.ts";
import { mintId } from "../ids.ts";
import type { ApprovalOutcome } from "./decided.ts";
import { PolicyTimer } from "./policy.ts";
import { allows, isSameRule, optionsFor, rememberable, optionOf, ruleFor, ruleOf, type Remembered, type WorkdirAnswers } from "./rules.ts";

/**
 * Questions that wait for a person, or for a rule, or for their time to be up. The question itself
 * is in the session's state; here are the agents that wait for its end. Every way out is one
 * `approval_resolved` with its cause.
 */
const refusals: Record<Exclude<ApprovalCause, "answer">, string> = {
  rule: "A remembered answer refuses it.",
  deadline: "Nobody answered in time, and no driver was seated.",
  interrupt: "The turn was interrupted.",
  stop: "The session was stopped.",
  restart: "Interrupted by restart.",
  failed: "The turn ended before the question was answered.",
  withdrawn: "The agent waited for it no more.",
};

export interface ApprovalsHost {
  readonly clock: Clock;
  readonly workdirAnswers: WorkdirAnswers;
  apply(event: SessionEvent): number;
  state(): SessionState;
  outcome(approvalId: string): ApprovalOutcome | undefined;
  /** False while the session cannot write, is over or at rest. */
  writable(): boolean;
  /** @throws SessiondError  what a call on the session is refused with now */
  mustLive(): void;
  durable(seq: number): Promise<void>;
}

export interface GivenAnswer {
  readonly approvalId: string;
  readonly optionId: string;
  readonly digest: string;
  readonly reason?: string;
}

export class Approvals {
  readonly #host: ApprovalsHost;
  readonly #policy: PolicyTimer;
  readonly #waiting = new Map<string, (answer: Answer | Promise<Answer>) => void>();
  /** Ends of questions of a parked turn that came before its agent has asked again. */
  readonly #early = new Map<string, Answer>();

  constructor(host: ApprovalsHost) {
    this.#host = host;
    this.#policy = new PolicyTimer({
      clock: host.clock,
      approvals: () => host.state().approvals,
      writable: () => host.writable(),
      expire: (approval) => this.#expire(approval),
    });
  }

  /** Raise a question, or join the one that is open for this tool call; resolves at its end. */
  ask(turnId: string, question: Question): Promise<Answer> {
    const key = callKey(turnId, question.toolCallId);
    const early = this.#early.get(key);
    // It answers one question: the next about this call is another one.
    this.#early.delete(key);
    if (early !== undefined) return Promise.resolve(early);
    const { approvals, rules } = this.#host.state();
    const open = this.#openOf(turnId, question.toolCallId);
    if (open !== undefined) return this.#wait(open.approval_id);
    const { tool } = question;
    const pattern = rememberable(question.pattern);
    const rule = pattern === null ? undefined : ruleFor([...rules, ...this.#host.workdirAnswers.all()], { tool, pattern, turnId });
    if (rule === undefined && approvals.length >= limits.approvals_pending_max)
      return refused(`Too many questions are open (limit ${limits.approvals_pending_max}); ask again when some are answered.`);
    if (rule === undefined && charsOf(question) + approvals.reduce((sum, each) => sum + charsOf(each), 0) > limits.approvals_open_chars_max)
      return refused(
        `The open questions hold too much with this one (limit ${limits.approvals_open_chars_max} characters), so nothing was run. Ask again when some are answered, or make a smaller change.`,
      );
    try {
      const approvalId = this.#raise(turnId, { ...question, pattern });
      if (rule === undefined) return this.#wait(approvalId);
      // In the same step, so that nobody is shown it as open.
      this.#host.apply({ type: "approval_resolved", approval_id: approvalId, cause: "rule", rule_id: rule.rule_id, option_id: optionOf(rule) });
      return rule.effect === "allow" ? Promise.resolve({ allowed: true, digest: question.digest }) : refused(refusals.rule);
    } catch (error) {
      if (!isSessiondError(error, "limit_reached")) throw error;
      return refused("The question is too large to be shown whole, so nothing was run. Make a smaller change.");
    }
  }

  /**
   * Resolves when the answer is on disk, and with it what it leaves behind.
   *
   * @param mustStillMay  looks again whether who answers may: there may be a wait before the decision
   * @returns the seq of the resolution
   * @throws SessiondError what `mustStillMay` throws; approval_gone with the outcome; conflict when another input was shown; bad_request for an
   *         unknown option; limit_reached; storage_failed: the question is open still, and nothing is remembered
   */
  async answer(given: GivenAnswer, actor: Actor, mustStillMay: () => void): Promise<number> {
    const { approval, option } = this.#offered(given);
    const rule = ruleOf(approval, option.kind, { actor, at: this.#host.clock.now() });
    if (rule?.scope !== "workdir") {
      const { rules } = this.#host.state();
      const added = rule === null || rules.some((kept) => isSameRule(kept, rule)) ? null : rule;
      if (added !== null && rules.length >= limits.rules_max)
        throw new SessiondError("limit_reached", { limit: "rules_max", value: limits.rules_max, unit: "rules" });
      const seq = this.#decide(given, actor);
      await this.#host.durable(added === null ? seq : this.#host.apply({ type: "rule_added", rule: added }));
      return seq;
    }
    // First what can fail without a trace: an answer that said it would be remembered, and was not, would be a lie.
    const remembered = await this.#host.workdirAnswers.add(rule);
    let seq = 0;
    try {
      this.#host.mustLive();
      mustStillMay();
      seq = this.#decide(given, actor);
      await this.#host.durable(seq);
    } catch (error) {
      // What was shown before the disk failed has happened: then both stand, and else neither.
      const stands = seq > 0 && this.#host.outcome(given.approvalId) !== undefined;
      if (stands) remembered.keep();
      else await this.#takeBack(remembered, rule.rule_id);
      throw error;
    }
    remembered.keep();
    return seq;
  }

  /** The turn is over: close every open question of the session. */
  closeAll(cause: Exclude<ApprovalCause, "answer">): void {
    this.#early.clear();
    for (const approval of this.#host.state().approvals) this.#close(approval, cause);
  }

  /** Its agent waits for it no more. Does nothing where it is answered already. */
  withdraw(turnId: string, toolCallId: string): void {
    const approval = this.#openOf(turnId, toolCallId);
    if (approval !== undefined && this.#host.writable()) this.#close(approval, "withdrawn");
  }

  /** Let go of waiting agents without an event: the session cannot write, or the turn is parked. */
  abandon(): void {
    this.#policy.stop();
    this.#early.clear();
    for (const approvalId of [...this.#waiting.keys()]) this.#settle(approvalId, { allowed: false, reason: refusals.restart });
  }

  /** A frame was applied: it may have begun or stopped a question's clock. */
  followPolicy(): void {
    this.#policy.follow();
  }

  /** After a start or a reopened journal. */
  catchUp(): void {
    this.#policy.catchUp();
  }

  #openOf(turnId: string, toolCallId: string): Approval | undefined {
    return this.#host.state().approvals.find((approval) => approval.tool_call_id === toolCallId && approval.turn_id === turnId);
  }

  #close({ approval_id }: Approval, cause: Exclude<ApprovalCause, "answer">): void {
    this.#host.apply({ type: "approval_resolved", approval_id, cause });
    this.#settle(approval_id, { allowed: false, reason: refusals[cause], cause });
  }

  #offered({ approvalId, optionId, digest }: GivenAnswer): { approval: Approval; option: ApprovalOption } {
    const approval = this.#host.state().approvals.find((open) => open.approval_id === approvalId);
    if (approval === undefined) throw new SessiondError("approval_gone", { ...this.#host.outcome(approvalId) });
    if (approval.digest !== digest) throw new SessiondError("conflict", { reason: "the digest is not that of the question as it stands" });
    const option = approval.options.find((offered) => offered.option_id === optionId);
    if (option === undefined)
      throw new SessiondError("bad_request", { reason: `option_id must be one of ${approval.options.map((offered) => offered.option_id).join(", ")}` });
    return { approval, option };
  }

  /** Looks once more: it may have been closed since. */
  #decide(given: GivenAnswer, by: Actor): number {
    const { approval, option } = this.#offered(given);
    const { approvalId, optionId, reason } = given;
    const seq = this.#host.apply({
      type: "approval_resolved",
      approval_id: approvalId,
      cause: "answer",
      option_id: optionId,
      by,
      ...(reason !== undefined && { reason }),
    });
    const chosen = { optionId, cause: "answer" } as const;
    this.#end(approval, {
      ...chosen,
      ...(allows(option.kind) ? { allowed: true, digest: approval.digest } : { allowed: false, reason: reason ?? "The user refused." }),
    });
    return seq;
  }

  async #takeBack(remembered: Remembered, ruleId: string): Promise<void> {
    try {
      await remembered.takeBack();
    } catch (cause) {
      throw new SessiondError(
        "storage_failed",
        { reason: `the answer was not taken, yet it is remembered as ${ruleId}, and that could not be undone`, rule_id: ruleId },
        { cause },
      );
    }
  }

  #expire(approval: Approval): void {
    this.#host.apply({ type: "approval_resolved", approval_id: approval.approval_id, cause: "deadline" });
    this.#end(approval, { allowed: false, reason: refusals.deadline, cause: "deadline" });
  }

  #raise(turnId: string, { toolCallId, tool, input, preview: raw, digest, pattern, options }: Question): string {
    const preview = escapeDeceptive(raw);
    if (preview.length > limits.preview_chars_max)
      throw new SessiondError("limit_reached", { limit: "preview_chars_max", value: limits.preview_chars_max, unit: "characters" });
    const approvalId = mintId("apr");
    this.#host.apply({
      type: "approval_requested",
      approval: {
        approval_id: approvalId,
        turn_id: turnId,
        tool_call_id: toolCallId,
        tool,
        input,
        preview,
        options: options === undefined ? optionsFor(tool, pattern, this.#host.state().workdir) : [...options],
        ...(pattern !== null && { pattern }),
        digest,
        asked_at: this.#host.clock.now(),
      },
    });
    return approvalId;
  }

  #wait(approvalId: string): Promise<Answer> {
    return new Promise((resolve) => this.#waiting.set(approvalId, resolve));
  }

  #end(approval: Approval, answer: Answer): void {
    if (!this.#waiting.has(approval.approval_id)) this.#early.set(callKey(approval.turn_id, approval.tool_call_id), answer);
    this.#settle(approval.approval_id, answer);
  }

  #settle(approvalId: string, answer: Answer): void {
    const resolve = this.#waiting.get(approvalId);
    this.#waiting.delete(approvalId);
    // Who is given leave acts on it: first it must be on disk that it was given.
    resolve?.(
      answer.allowed
        ? this.#host.durable(this.#host.state().seq).then(
            () => answer,
            () => ({ allowed: false, reason: refusals.restart }),
          )
        : answer,
    );
  }
}

/** What a question puts into every snapshot, as it is shown. */
const charsOf = ({ input, preview }: Pick<Approval, "input" | "preview">): number => JSON.stringify(input).length + escapeDeceptive(preview).length;

const refused = (reason: string): Promise<Answer> => Promise.resolve({ allowed: false, reason });

const callKey = (turnId: string, toolCallId: string): string => `${turnId} ${toolCallId}`;
