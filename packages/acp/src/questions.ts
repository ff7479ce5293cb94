import { isSessiondError, type Approval, type DriverSeat, type ViewerSeat } from "@sessiond/client";
import { mustReadAcp, permissionResponse, type AcpPermissionRequest, type JsonRpcPeer } from "@sessiond/shared/acp";
import { askedCall, offered } from "./permission.ts";
import type { ToolCalls } from "./tool-calls.ts";
import type { Wheel } from "./wheel.ts";

export interface QuestionsParts {
  readonly peer: JsonRpcPeer;
  readonly seat: ViewerSeat;
  readonly wheel: Wheel;
  readonly calls: ToolCalls;
  /** The owner minted this connection's token. */
  readonly owner: boolean;
  /** A word to whoever sits before the editor. */
  readonly say: (text: string) => void;
}

interface Question {
  readonly approval: Approval;
  /** While the editor is asked. */
  asking: AbortController | null;
  /** What the editor has said: its choice, which is on its way, or that it makes none. */
  said: "choice" | "none" | null;
}

/**
 * Questions of turns that are this connection's own business. The editor is asked only while this connection drives: with
 * the wheel goes the question, and what was settled elsewhere is withdrawn. Where nobody drives the wheel is taken for it.
 * Where the editor makes no choice the question stays open, for other terminals and the session's policy, and the wheel is free.
 */
export class Questions {
  readonly #parts: QuestionsParts;
  readonly #open = new Map<string, Question>();
  #gripped = false;
  #gripping = false;

  constructor(parts: QuestionsParts) {
    this.#parts = parts;
  }

  opened(approval: Approval): void {
    if (this.#open.has(approval.approval_id)) return;
    this.#open.set(approval.approval_id, { approval, asking: null, said: null });
    this.reconsider();
  }

  closed(approvalId: string): void {
    const question = this.#open.get(approvalId);
    this.#open.delete(approvalId);
    question?.asking?.abort();
    this.reconsider();
  }

  /** Of those that are open here, others have been settled, or are no longer this connection's business. */
  only(kept: (approval: Approval) => boolean): void {
    for (const { approval } of [...this.#open.values()]) if (!kept(approval)) this.closed(approval.approval_id);
  }

  /** Also whenever the wheel may have changed hands. */
  reconsider(): void {
    const { wheel } = this.#parts;
    const questions = [...this.#open.values()];
    const waiting = questions.filter(({ said }) => said === null);
    if (wheel.drives) for (const question of waiting) void this.#ask(question);
    else {
      for (const question of waiting) {
        question.asking?.abort();
        question.asking = null;
      }
      if (waiting.length > 0 && wheel.free) void this.#grip();
    }
    if (questions.every(({ said }) => said === "none")) this.#letGo();
  }

  /** The connection or the session goes: nothing is asked any more. */
  close(): void {
    for (const { asking } of this.#open.values()) asking?.abort();
    this.#open.clear();
    this.#letGo();
  }

  async #grip(): Promise<void> {
    if (this.#gripping || this.#gripped) return;
    this.#gripping = true;
    try {
      await this.#parts.wheel.hold();
      this.#gripped = true;
    } catch {
      return; // somebody else was first, or we may not: it is theirs to answer
    } finally {
      this.#gripping = false;
    }
    this.reconsider();
  }

  #letGo(): void {
    if (!this.#gripped) return;
    this.#gripped = false;
    void this.#parts.wheel.release();
  }

  #leave(question: Question): void {
    question.said = "none";
    this.reconsider();
  }

  async #ask(question: Question): Promise<void> {
    if (question.asking !== null || question.said !== null) return;
    const { peer, seat, calls, owner, say } = this.#parts;
    const { approval } = question;
    const options = offered(approval, owner);
    if (options.length === 0) {
      this.#leave(question);
      return say(`${approval.tool} waits for an answer that can be given in a terminal only: \`sessiond approve --session ${seat.sessionId}\`.`);
    }
    const { signal } = (question.asking = new AbortController());
    const params: AcpPermissionRequest = { sessionId: seat.sessionId, toolCall: askedCall(approval, seat.state, calls), options };
    try {
      const { outcome } = mustReadAcp(permissionResponse, await peer.request("session/request_permission", params, { signal }));
      if (signal.aborted) return;
      const optionId = outcome.outcome === "selected" ? outcome.optionId : undefined;
      // An answer that was not offered is none.
      if (optionId === undefined || options.every((option) => option.optionId !== optionId)) return this.#leave(question);
      question.said = "choice";
      const driver: DriverSeat = await seat.takeDriver();
      await driver.approve(approval, { optionId });
    } catch (error) {
      // Withdrawn, or a client that cannot be asked: others may answer.
      if (signal.aborted) return;
      this.#leave(question);
      if (isSessiondError(error) && error.code !== "approval_gone") say(`The answer did not count: ${error.message}`);
    }
  }
}
