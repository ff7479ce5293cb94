import {
  isSessiondError,
  limits,
  SessiondError,
  type Approval,
  type ApprovalOption,
  type Became,
  type ContentPart,
  type OptionValues,
  type Policy,
  type VerbOutput,
  type WhenBusy,
} from "@sessiond/shared";
import { callLimit, orAborted, type CallOptions } from "./call-limit.ts";
import { editPrompt } from "./edit-prompt.ts";
import { newPromptId } from "./ids.ts";
import { ViewerSeat, type SeatParts } from "./seat.ts";
import type { InterruptOutcome } from "./session-handle.ts";
import { TurnWaits, type Turn } from "./turn-waits.ts";

export interface PromptOptions extends CallOptions {
  /**
   * What to do while a turn runs: `queue` for one of its own (unless told otherwise), `steer` the
   * running one, `interrupt` it and run then, or `reject` with `turn_in_progress`.
   */
  readonly whenBusy?: WhenBusy | undefined;
  /** `prm_` and 22 base62 characters. The same id with the same content runs once; made here unless given. */
  readonly promptId?: string | undefined;
}

/** What became of a prompt when it was durable. */
export interface SentPrompt {
  readonly seq: number;
  readonly became: Became;
  readonly promptId: string;
  readonly turnId?: string;
}

/** One of the question's options, by its id or by what it does; the reason goes to the model. */
export type ApprovalAnswer = ({ readonly optionId: string } | { readonly kind: ApprovalOption["kind"] }) & { readonly reason?: string | undefined };

export interface ConfigureRequest {
  /** Null takes the title away. */
  readonly title?: string | null | undefined;
  readonly starred?: boolean | undefined;
  /** From the next turn on. */
  readonly model?: string | undefined;
  /** What decides about a question while no driver is seated. */
  readonly policy?: Policy | undefined;
  /** One of `state.agent_facts.modes` by its id. */
  readonly mode?: string | undefined;
  /** Settings of the agent's own by their ids, as `state.agent_facts.options` has them: one of the choices' ids, or true and false. */
  readonly options?: OptionValues | undefined;
}

/** The values that there are now, and the seq from which they count. */
export type Configured = VerbOutput<"configure_session">;

/**
 * A place in a session that may act. A session has one at most. The wheel can be taken from
 * it: `role` is then `viewer`, `onChange` tells, what only a driver may do fails with
 * `not_driver`, and prompts under way are still waited for. `takeDriver` gets it back.
 */
export class DriverSeat extends ViewerSeat {
  readonly #turns: TurnWaits;

  constructor(parts: SeatParts) {
    super(parts);
    this.#turns = new TurnWaits(parts.stream, this.transcript);
  }

  /**
   * Sends a prompt and waits until the turn that runs it, or that it steers, has ended: however long, across
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
    const { seq, became, turn_id } = await calls.call(
      "send_prompt",
      { session_id: sessionId, prompt_id: promptId, parts: partsOf(content), when_busy: whenBusy },
      auth,
      options,
    );
    return { seq, became, promptId, ...(turn_id !== undefined && { turnId: turn_id }) };
  }

  /**
   * Gives a queued prompt another content, whole.
   *
   * @throws SessiondError `prompt_gone` when it already ran or ended, `queue_full`, …
   */
  editPrompt(promptId: string, content: string | readonly ContentPart[], options: CallOptions = {}): Promise<{ seq: number }> {
    return editPrompt(this.parts, { promptId, parts: partsOf(content) }, options);
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

  /**
   * All of what is given, or nothing. An agent that refuses a mode or an option later says so by a notice, and
   * `state.agent_facts` has what holds.
   *
   * @throws SessiondError `model_unknown`, `unsupported` for a mode or an option that the agent has not told of, …
   */
  configure({ title, starred, model, policy, mode, options }: ConfigureRequest, call: CallOptions = {}): Promise<Configured> {
    const { calls, auth, sessionId } = this.parts;
    return calls.call("configure_session", { session_id: sessionId, title, starred, model, policy, mode, options }, auth, call);
  }

  /** A note in the transcript, which the model never gets. Never repeated by the library: after a lost link the error says that it may have happened. */
  addSystemMessage(text: string, options: CallOptions = {}): Promise<{ seq: number }> {
    const { calls, auth, sessionId } = this.parts;
    return calls.call("add_system_message", { session_id: sessionId, text }, auth, options);
  }

  /**
   * Gives the wheel to a seat that asked: the first, or the one named; to nobody where none
   * asked. The seat stays, as viewer, and what it has queued and been asked stays as it is.
   *
   * @returns the same seat, as one that may look
   * @throws SessiondError `not_driver` when it was taken before, `not_found` when the seat named has not asked
   */
  async yieldDriver({ to, ...options }: CallOptions & { readonly to?: string | undefined } = {}): Promise<ViewerSeat> {
    const { stream, calls, auth, sessionId, handles } = this.parts;
    const limit = callLimit(options.timeoutMs ?? limits.call_timeout_ms, options.signal);
    const alreadyDone = ({ code }: SessiondError): VerbOutput<"yield_driver"> | undefined => (code === "not_driver" ? { seq: 0, driver: null } : undefined);
    try {
      const { seq } = await calls.call("yield_driver", { session_id: sessionId, to }, auth, { signal: limit.signal, alreadyDone });
      // Until the seat's own state says so too: who yielded must not still look like the driver.
      while (stream.state.seq < seq && stream.end === undefined) await orAborted(stream.changed(), limit.signal);
      return handles.viewer;
    } finally {
      limit.release();
    }
  }
}

const partsOf = (content: string | readonly ContentPart[]): ContentPart[] => (typeof content === "string" ? [{ type: "text", text: content }] : [...content]);
