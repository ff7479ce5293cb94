import { isSessiondError, SessiondError, type StopReason } from "@sessiond/client";
import { answerQuestion, type Answering, type Desk } from "./driving.ts";
import { exitCodes, exitOf, Failure, sentenceOf } from "./exit-codes.ts";
import { onInterrupt } from "./interrupts.ts";
import type { Typed } from "./keyboard.ts";
import { foreignLine } from "./screen.ts";
import { obey, slashOf, type Slash } from "./slash.ts";

/**
 * Lines from a person or a pipe, until they end: prompts, and commands that begin with a slash.
 * A pipe's next line waits until the turn before it has ended; a person may type while a turn
 * runs, and while another drives. Who loses the wheel goes on as viewer.
 *
 * @returns the exit code of the last turn
 * @throws SessiondError not_driver, when lines come from a pipe and somebody took the wheel
 */
export async function converse({ answering = "ask", ...desk }: Desk & { readonly answering?: Answering }): Promise<number> {
  const { wheel, follower, keyboard } = desk;
  interruptible(desk);
  const outcome: Outcome = { prompted: false, refusal: null };
  const lastCode = (): number => outcome.refusal ?? (outcome.prompted ? stopCode(wheel.seat.state.last_turn?.stop_reason) : exitCodes.done);
  for (;;) {
    if (!keyboard.isPerson) await follower.until(() => mayAnswer(desk) || mayPrompt(desk) || !wheel.drives);
    if (follower.end !== undefined) {
      if (follower.end.error !== null) throw follower.end.error;
      return lastCode();
    }
    let typed: Typed | Slash | null;
    if (follower.question !== undefined && mayAnswer(desk)) {
      typed = await answerQuestion(follower.question, answering, desk);
    } else if (keyboard.isPerson || wheel.drives) {
      typed = await nextLine(desk);
    } else {
      throw wheel.lost();
    }
    if (typed === null) continue;
    if ("name" in typed || typed.type === "line") {
      if ((await act(desk, "name" in typed ? typed : typed.text, outcome)) === "leave") return lastCode();
    } else if (typed.type === "eof") return lastCode();
  }
}

interface Outcome {
  prompted: boolean;
  /** The exit code of a line that was refused, until one is not. */
  refusal: number | null;
}

/** A refusal of one line does not end the conversation; a seat that is over does. */
async function act(desk: Desk, line: Slash | string, outcome: Outcome): Promise<"leave" | void> {
  const { wheel, follower, keyboard, notice } = desk;
  const slash = typeof line === "string" ? slashOf(line) : line;
  if (typeof line === "string" && line.trim() === "") return;
  try {
    if (slash !== null) {
      if ((await obey(desk, slash)) === "leave") return "leave";
      await follower.until(() => follower.caughtUp);
    } else if (typeof line === "string") {
      const { seq } = await wheel.driver.sendPrompt(line);
      await follower.until(() => wheel.seat.state.seq >= seq);
      outcome.prompted = true;
    }
    outcome.refusal = null;
  } catch (error) {
    const known = error instanceof SessiondError || error instanceof Failure;
    const lost = isSessiondError(error, "not_driver");
    if (!known || follower.end !== undefined || isSessiondError(error, "not_attached") || (lost && !keyboard.isPerson)) throw error;
    notice(foreignLine(lost ? `${sentenceOf(error)} /take, /take ask or /take force gets the wheel.` : sentenceOf(error)));
    // A person has read it; whoever wrote a script looks at the exit code.
    if (!keyboard.isPerson) outcome.refusal = exitCodes[exitOf(error)];
  }
}

/** At the prompt where a prompt would run at once, beside the work where not. */
function nextLine(desk: Desk): Promise<Typed> {
  const { keyboard } = desk;
  if (mayPrompt(desk))
    return keyboard.line(
      "> ",
      when(desk, () => !mayPrompt(desk)),
    );
  return keyboard.aside(
    "> ",
    when(desk, () => mayAnswer(desk) || mayPrompt(desk)),
  );
}

const stopCode = (stop: StopReason | undefined): number =>
  stop === "end_turn" || stop === undefined ? exitCodes.done : stop === "cancelled" ? exitCodes.interrupted : exitCodes.failed;

const mayAnswer = ({ wheel, follower }: Desk): boolean => follower.question !== undefined && wheel.drives;

function mayPrompt({ wheel, follower }: Desk): boolean {
  const { turn, queue } = wheel.seat.state;
  return wheel.drives && follower.caughtUp && follower.question === undefined && turn === null && queue.every((prompt) => prompt.held);
}

/** Aborts when there is something else to do than to wait for a line. */
function when({ follower }: Desk, holds: () => boolean): AbortSignal {
  const begun = new AbortController();
  void follower.until(holds).then(() => begun.abort());
  return begun.signal;
}

/** Ctrl-C ends the running turn; where none runs, another drives, and the second time, it leaves. */
function interruptible({ wheel, notice }: Desk): void {
  let asked: string | null = null;
  onInterrupt(() => {
    const turnId = wheel.seat.state.turn?.turn_id;
    if (turnId === undefined || turnId === asked || !wheel.drives) return false;
    asked = turnId;
    notice("interrupting; Ctrl-C again leaves at once");
    wheel.driver.interrupt({ turnId }).catch((error: unknown) => notice(foreignLine(sentenceOf(error))));
    return true;
  });
}
