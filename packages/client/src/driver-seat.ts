import { isSessiondError, SessiondError, type Approval, type ContentPart } from "@sessiond/shared";
import type { CallOptions } from "./call-limit.ts";
import { newPromptId } from "./ids.ts";
import { ViewerSeat, type SeatParts } from "./seat.ts";
import type { InterruptOutcome } from "./session-handle.ts";
import { TurnWaits, type Turn } from "./turn-waits.ts";

export interface PromptOptions extends CallOptions {
  /** What to do while a turn runs: wait for one of its own (the default), or refuse with `turn_in_progress`. */
  readonly whenBusy?: "queue" | "reject" | undefined;
  /** `prm_` and 22 base62 characters. The same id with the same content runs once; made here unless given. */
  readonly promptId?: string | undefined;
}

/** What became of a prompt when it was durable. */
export interface SentPrompt {
  readonly seq: number;
  readonly became: "started" | "queued";
  readonly promptId: string;
  readonly turnId?: string;
}

/** One of the question's options, by its id or by what it does; the reason goes to the model. */
export type ApprovalAnswer = ({ readonly optionId: string } | { readonly kind: "allow_once" | "reject_once" }) & { readonly reason?: string | undefined };

/** A place in a session that may act. A session has one at most. */
export class DriverSeat extends ViewerSeat {
  readonly #turns: TurnWaits;

  constructor(parts: SeatParts) {
    super(parts);
    this.#turns = new TurnWaits(parts.stream, this.transcript);
  }

  /**
   * Sends a prompt and waits until the turn that runs it has ended: however long, across
   * reconnects and restarts, while the queue is held, and inside a loop over `events`.
   * `timeoutMs` bounds the sending, `signal` both; neither ends the turn (that is `interrupt`).
   *
   * @throws SessiondError `prompt_gone` when it was withdrawn or discarded, `cancelled`, the seat's own
   *         end, and what `sendPrompt` throws
   */
  async prompt(content: string | readonly ContentPart[], options: PromptOptions = {}): Promise<Turn> {
    const promptId = options.promptId ?? newPromptId();
    const wait = this.#turns.begin(promptId);
    const abort = (): void => wait.fail(new SessiondError("cancelled"));
    options.signal?.addEventListener("abort", abort, { once: true });
    try {
      const sent = this.sendPrompt(content, { ...options, promptId }).then(
        ({ seq }) => wait.accepted(seq),
        (error: unknown) => {
          // No answer, but its frames are here: it was accepted.
          if (!(wait.known() && (isSessiondError(error, "timeout") || isSessiondError(error, "daemon_unreachable")))) throw error;
        },
      );
      return await Promise.race([sent.then(() => wait.turn), wait.turn]);
    } finally {
      options.signal?.removeEventListener("abort", abort);
      wait.forget();
    }
  }

  /**
   * Gives the agent work; returns when the prompt is durable, long before its turn ends.
   *
   * @throws SessiondError `not_driver`, `turn_in_progress`, `queue_full`, `conflict`, `agent_unavailable`, `limit_reached`, …
   */
  async sendPrompt(
    content: string | readonly ContentPart[],
    { whenBusy = "queue", promptId = newPromptId(), ...options }: PromptOptions = {},
  ): Promise<SentPrompt> {
    const { calls, auth, sessionId } = this.parts;
    const parts: ContentPart[] = typeof content === "string" ? [{ type: "text", text: content }] : [...content];
    const { seq, became, turn_id } = await calls.call("send_prompt", { session_id: sessionId, prompt_id: promptId, parts, when_busy: whenBusy }, auth, options);
    return { seq, became, promptId, ...(turn_id !== undefined && { turnId: turn_id }) };
  }

  /** Takes a queued prompt back. @throws SessiondError `prompt_gone` when it already ran or ended */
  async withdrawPrompt(promptId: string, options: CallOptions = {}): Promise<{ seq: number }> {
    const { calls, auth, sessionId } = this.parts;
    const alreadyDone = (refusal: SessiondError): { seq: number } | undefined =>
      refusal.code === "prompt_gone" && refusal.detail["outcome"] === "withdrawn" ? { seq: this.state.seq } : undefined;
    return calls.call("withdraw_prompt", { session_id: sessionId, prompt_id: promptId }, auth, { ...options, alreadyDone });
  }

  /** Lets held prompts run. @returns their ids */
  async releaseQueue(options: CallOptions = {}): Promise<{ seq: number; released: string[] }> {
    const { calls, auth, sessionId } = this.parts;
    return calls.call("release_queue", { session_id: sessionId }, auth, options);
  }

  /**
   * Answers a question as it was shown (`state.approvals`); bound to it by its digest.
   *
   * @returns the option that counts, and the seq of the answer
   * @throws SessiondError `approval_gone` with the outcome, `bad_request` when no option is of that kind
   */
  async approve(approval: Approval, answer: ApprovalAnswer, options: CallOptions = {}): Promise<{ seq: number; optionId: string }> {
    const { calls, auth, sessionId } = this.parts;
    const optionId = "optionId" in answer ? answer.optionId : approval.options.find((option) => option.kind === answer.kind)?.option_id;
    if (optionId === undefined) throw new SessiondError("bad_request", { reason: "the question has no option of that kind" });
    const input = { session_id: sessionId, approval_id: approval.approval_id, option_id: optionId, digest: approval.digest, reason: answer.reason };
    const alreadyDone = ({ code, detail }: SessiondError): { seq: number; option_id: string } | undefined =>
      code === "approval_gone" && detail["option_id"] === optionId && detail["by_seat_id"] === this.seatId
        ? { seq: this.state.seq, option_id: optionId }
        : undefined;
    const { seq, option_id } = await calls.call("approve", input, auth, { ...options, alreadyDone });
    return { seq, optionId: option_id };
  }

  /** Ends the running turn, or the given one if it still runs; the queue is then held. */
  async interrupt({ turnId, ...options }: CallOptions & { readonly turnId?: string | undefined } = {}): Promise<InterruptOutcome> {
    const { calls, auth, sessionId } = this.parts;
    const current = turnId ?? this.state.turn?.turn_id;
    if (current === undefined) return { interrupted: false, seq: this.state.seq, queue: this.state.queue };
    return calls.call("interrupt", { session_id: sessionId, turn_id: current }, auth, options);
  }
}
