import { newPromptId, SessiondError, type ContentPart, type PromptOptions, type Turn } from "@sessiond/client";
import { answerQuestion, leftOpen, type Answering, type Desk } from "./driving.ts";
import { spoken } from "./duration.ts";
import { Failure } from "./exit-codes.ts";
import { onInterrupt } from "./interrupts.ts";
import { foreignLine } from "./screen.ts";
import { stopWords } from "./transcript.ts";

export interface OneShot {
  readonly parts: readonly ContentPart[];
  readonly answering: Answering;
  readonly timeoutMs: number | undefined;
  readonly whenBusy: NonNullable<PromptOptions["whenBusy"]>;
}

/**
 * One prompt, until the turn that ran it has ended and was shown.
 *
 * @throws Failure timed_out: the turn goes on; refused: a question is left open
 */
export async function promptOnce(desk: Desk, { parts, answering, timeoutMs, whenBusy }: OneShot): Promise<Turn> {
  const { wheel, follower, keyboard } = desk;
  const earlier = follower.question;
  // It would be held up behind a question that is not this command's to answer unseen.
  if (earlier !== undefined && whenBusy !== "interrupt" && !(answering === "ask" && keyboard.isPerson)) {
    const { message } = leftOpen(earlier);
    throw new Failure("refused", `An earlier question is open, so nothing was sent: ${message}`);
  }
  const promptId = newPromptId();
  let settled: { readonly turn: Turn } | { readonly error: unknown } | undefined;
  const settling = wheel.driver.prompt(parts, { promptId, whenBusy }).then(
    (turn) => void (settled = { turn }),
    (error: unknown) => void (settled = { error }),
  );
  interruptible(desk, promptId);
  const late = timeoutMs === undefined ? null : lateAfter(timeoutMs);
  try {
    while (settled === undefined) {
      if (late?.over) throw tooLate(timeoutMs);
      // Whose wheel was taken sees others answer.
      const question = wheel.drives ? follower.question : undefined;
      if (question === undefined) await Promise.race([settling, follower.changed(), ...(late === null ? [] : [late.reached])]);
      else await Promise.race([answerQuestion(question, answering, desk), ...(late === null ? [] : [late.reached])]);
    }
  } finally {
    late?.cancel();
  }
  if ("error" in settled) throw settled.error;
  await follower.until(() => follower.caughtUp);
  return settled.turn;
}

/** Ctrl-C ends the turn of this prompt, or takes the prompt back where it still waits. */
function interruptible({ wheel, notice }: Desk, promptId: string): void {
  let asked = false;
  onInterrupt(() => {
    if (asked) return false;
    asked = true;
    notice("interrupting; Ctrl-C again leaves at once");
    if (!wheel.drives) return false;
    const { turn, queue } = wheel.seat.state;
    // A turn that it was steered into does not name it.
    const ours = turn !== null && !queue.some((prompt) => prompt.prompt_id === promptId);
    const call = ours ? wheel.driver.interrupt({ turnId: turn.turn_id }) : wheel.driver.withdrawPrompt(promptId);
    call.catch((error: unknown) => notice(error instanceof SessiondError ? foreignLine(error.message) : "it could not be interrupted"));
    return true;
  });
}

function lateAfter(ms: number): { readonly over: boolean; readonly reached: Promise<void>; cancel(): void } {
  let over = false;
  let timer: NodeJS.Timeout | undefined;
  const reached = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      over = true;
      resolve();
    }, ms);
  });
  return {
    get over() {
      return over;
    },
    reached,
    cancel: () => clearTimeout(timer),
  };
}

const tooLate = (ms = 0): Failure =>
  new Failure("timed_out", `No end within ${spoken(ms)}; the turn goes on. \`sessiond attach\` shows it, \`sessiond interrupt\` ends it.`);

/** What a turn's end means for the exit code. @throws Failure when it is not a success */
export function judge(turn: Turn, refused: boolean): void {
  switch (turn.stopReason) {
    case "end_turn":
      if (refused) throw new Failure("refused", "The turn ended, but something it asked for was refused.");
      return;
    case "failed":
      throw new Failure("failed", `The turn failed: ${foreignLine(turn.error?.message ?? "no reason was given")}`);
    case "cancelled":
      throw new Failure("interrupted", "The turn was interrupted.");
    case "interrupted":
      throw new Failure("failed", "The turn was cut off by a restart of the daemon; what it had done is kept. Send the prompt again to go on.");
    default:
      throw new Failure("failed", `${stopWords[turn.stopReason]}.`);
  }
}
