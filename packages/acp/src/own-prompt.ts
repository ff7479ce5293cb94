import { isSessiondError, newPromptId, type Session, type Turn, type ViewerSeat } from "@sessiond/client";
import { AcpError, acpErrors, type AcpPromptResponse } from "@sessiond/shared/acp";
import { told } from "./errors.ts";

/** A prompt that this connection sent, until its turn has ended. */
export class OwnPrompt {
  readonly id = newPromptId();
  cancelled = false;
  /** Before that there is nothing to take back or to end. */
  sent = false;
  /** Ends the wait for its turn, not the turn. */
  readonly over = new AbortController();
  /** Why it could not be taken back. */
  #kept: unknown = null;

  /** How it is answered, when its turn has ended. @throws AcpError */
  answer({ stopReason, error }: Turn): AcpPromptResponse {
    if (this.cancelled) return { stopReason: "cancelled" };
    switch (stopReason) {
      case "failed":
        throw new AcpError(acpErrors.internal_error, error?.message ?? "The turn failed.", { code: error?.code ?? "failed" });
      case "interrupted":
        return { stopReason: "cancelled" };
      default:
        return { stopReason };
    }
  }

  /** … and when it never had one. @throws AcpError */
  failed(error: unknown, sessionId: string): AcpPromptResponse {
    if (this.#kept !== null) throw this.#kept;
    const withdrawn = isSessiondError(error, "prompt_gone") && error.detail["outcome"] === "withdrawn";
    if (this.cancelled || withdrawn || this.over.signal.aborted) return { stopReason: "cancelled" };
    throw told(error, sessionId);
  }

  /**
   * Takes it back where it waits, ends its turn where it runs; resolves when one of both is done, or it ended by itself.
   * Bounded: then it is answered, whatever the daemon does. Where another drives, what waits stays his, and is answered with that.
   */
  async cancel(session: Session, seat: ViewerSeat, waitMs: number): Promise<void> {
    if (this.cancelled) return;
    this.cancelled = true;
    if (!this.sent) return this.over.abort();
    const bound = setTimeout(() => this.over.abort(), waitMs);
    try {
      while (!this.over.signal.aborted && !(await this.#takenBack(session, seat))) await Promise.race([seat.changed(), aborted(this.over.signal)]);
    } catch (error) {
      if (isSessiondError(error, "driver_taken") || isSessiondError(error, "not_driver")) {
        const held = seat.state.queue.some((prompt) => prompt.prompt_id === this.id && prompt.held) ? ", held" : "";
        this.#kept = told(error, session.id, `so this prompt could not be taken back: it still waits in the queue${held}, and sent again it would run twice`);
      }
      this.over.abort();
    } finally {
      clearTimeout(bound);
    }
  }

  async #takenBack(session: Session, seat: ViewerSeat): Promise<boolean> {
    const { queue, turn } = seat.state;
    if (queue.some(({ prompt_id }) => prompt_id === this.id)) {
      const driver = await seat.takeDriver();
      return driver.withdrawPrompt(this.id).then(
        () => true,
        (error: unknown) => {
          if (isSessiondError(error, "prompt_gone")) return false; // it runs by now
          throw error;
        },
      );
    }
    if (turn?.prompt_ids.includes(this.id) !== true) return false;
    await session.interrupt({ turnId: turn.turn_id });
    return true;
  }
}

export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
