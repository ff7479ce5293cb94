import { isSessiondError, type Approval, type DriverSeat, type Session } from "@sessiond/client";
import { Failure } from "./exit-codes.ts";
import type { Follower } from "./follower.ts";
import type { Keyboard } from "./keyboard.ts";
import type { Notice } from "./notice.ts";
import { foreignLine } from "./screen.ts";

/** What a driver does besides prompting: take the seat, answer questions, interrupt. */
export type Answering = "ask" | "approve" | "reject";

/** @throws SessiondError driver_taken, unless told to wait */
export async function takeSeat(session: Session, whenDriven: "wait" | "fail", notice: Notice): Promise<DriverSeat> {
  for (;;) {
    try {
      return await session.attach({ as: "driver" });
    } catch (error) {
      if (whenDriven === "fail" || !isSessiondError(error, "driver_taken")) throw error;
      notice(`waiting for the driver's seat; ${foreignLine(String(error.detail["driver"] ?? "another client"))} has it`);
    }
    const viewer = await session.attach({ as: "viewer" });
    while (viewer.connection !== "ended" && viewer.state.seats.some((seat) => seat.role === "driver")) await viewer.changed();
    await viewer.detach();
  }
}

export interface Desk {
  readonly seat: DriverSeat;
  readonly follower: Follower;
  readonly keyboard: Keyboard;
  readonly notice: Notice;
}

/**
 * Answers the oldest open question, or sees it answered by someone else.
 *
 * @throws Failure refused, when nobody is here to answer; the question stays open
 */
export async function answerQuestion(question: Approval, how: Answering, { seat, follower, keyboard }: Desk): Promise<void> {
  const done = new AbortController();
  void follower.until(() => !follower.isOpen(question.approval_id)).then(() => done.abort());
  const answer = how === "ask" ? await askPerson(question, keyboard, done.signal) : { allow: how === "approve", reason: undefined };
  if (answer === null) return;
  try {
    await seat.approve(question, { kind: answer.allow ? "allow_once" : "reject_once", reason: answer.reason });
  } catch (error) {
    if (!isSessiondError(error, "approval_gone")) throw error;
  }
  await follower.until(() => !follower.isOpen(question.approval_id));
}

/** @returns null when it was closed meanwhile */
export async function askPerson(question: Approval, keyboard: Keyboard, signal: AbortSignal): Promise<{ allow: boolean; reason: string | undefined } | null> {
  for (;;) {
    const typed = await keyboard.answer("  Allow this? [y/n] ", signal);
    if (typed.type === "aborted") return null;
    if (typed.type === "eof") throw leftOpen(question);
    const word = typed.text.trim().toLowerCase();
    if (word === "y" || word === "yes") return { allow: true, reason: undefined };
    if (word !== "n" && word !== "no") continue;
    const reason = await keyboard.line("  Why not? The agent is told (Enter for no reason): ", signal);
    if (reason.type === "aborted") return null;
    return { allow: false, reason: (reason.type === "line" && reason.text.trim()) || undefined };
  }
}

export const leftOpen = ({ approval_id, tool }: Approval): Failure =>
  new Failure(
    "refused",
    `${foreignLine(tool)} waits for permission and nobody is here to give it. Answer with \`sessiond approve ${approval_id}\`, add --reject to refuse, or run \`sessiond attach\`.`,
  );
