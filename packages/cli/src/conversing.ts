import { isSessiondError, SessiondError, type StopReason } from "@sessiond/client";
import { answerQuestion, type Desk } from "./driving.ts";
import { exitCodes, exitOf, sentenceOf } from "./exit-codes.ts";
import { onInterrupt } from "./interrupts.ts";
import { foreignLine } from "./screen.ts";

/**
 * Prompts line by line, from a person or a pipe, until the lines end. While a turn runs nothing
 * is asked for but answers; a line begun before that is kept for the next prompt.
 *
 * @returns the exit code of the last turn
 */
export async function converse({ answering = "ask", ...desk }: Desk & { readonly answering?: "ask" | "approve" | "reject" }): Promise<number> {
  const { seat, follower, keyboard, notice } = desk;
  interruptible(desk);
  let refusal: number | null = null;
  let prompted = false;
  const lastCode = (): number => refusal ?? (prompted ? stopCode(seat.state.last_turn?.stop_reason) : exitCodes.done);
  for (;;) {
    await follower.until(() => follower.question !== undefined || (follower.caughtUp && isIdle(desk)));
    if (follower.end !== undefined) {
      if (follower.end.error !== null) throw follower.end.error;
      return lastCode();
    }
    if (follower.question !== undefined) {
      await answerQuestion(follower.question, answering, desk);
      continue;
    }
    const typed = await keyboard.line("> ", workBegins(desk));
    if (typed.type === "eof" || (typed.type === "line" && typed.text.trim() === "/detach")) return lastCode();
    if (typed.type === "aborted" || typed.text.trim() === "") continue;
    try {
      const sent = await seat.sendPrompt(typed.text);
      await follower.until(() => seat.state.seq >= sent.seq);
      refusal = null;
      prompted = true;
    } catch (error) {
      // A refusal of one prompt does not end the conversation; a seat that is over does.
      if (!(error instanceof SessiondError) || follower.end !== undefined || isSessiondError(error, "not_driver") || isSessiondError(error, "not_attached"))
        throw error;
      notice(foreignLine(sentenceOf(error)));
      refusal = exitCodes[exitOf(error)];
    }
  }
}

const stopCode = (stop: StopReason | undefined): number =>
  stop === "end_turn" || stop === undefined ? exitCodes.done : stop === "cancelled" ? exitCodes.interrupted : exitCodes.failed;

const isIdle = ({ seat }: Desk): boolean => seat.state.turn === null && seat.state.queue.every((prompt) => prompt.held);

/** Aborts when there is something else to do than to wait for a line. */
function workBegins(desk: Desk): AbortSignal {
  const begun = new AbortController();
  const { follower } = desk;
  void follower.until(() => !follower.caughtUp || !isIdle(desk) || follower.question !== undefined).then(() => begun.abort());
  return begun.signal;
}

/** Ctrl-C ends the running turn; where none runs, and the second time, it leaves. */
function interruptible({ seat, notice }: Desk): void {
  let asked: string | null = null;
  onInterrupt(() => {
    const turnId = seat.state.turn?.turn_id;
    if (turnId === undefined || turnId === asked) return false;
    asked = turnId;
    notice("interrupting; Ctrl-C again leaves at once");
    seat.interrupt({ turnId }).catch((error: unknown) => notice(foreignLine(sentenceOf(error))));
    return true;
  });
}
