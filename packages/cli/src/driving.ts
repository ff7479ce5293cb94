import { isSessiondError, type Approval, type DriverSeat, type Session } from "@sessiond/client";
import { Failure, sentenceOf } from "./exit-codes.ts";
import type { Follower } from "./follower.ts";
import type { Keyboard } from "./keyboard.ts";
import type { Notice } from "./notice.ts";
import { explainOffers, offersOf, offerTyped, rejects, showOffers, type AnswerKind, type Offer } from "./question.ts";
import { foreignLine, type Screen } from "./screen.ts";
import { slashOf, type Slash } from "./slash.ts";
import type { Wheel } from "./wheel.ts";

/** What a driver does besides prompting: take the seat, answer questions, interrupt. */
export type Answering = "ask" | "approve" | "reject";

/** @throws SessiondError driver_taken, unless told to wait */
export async function takeSeat(session: Session, whenDriven: "wait" | "fail", notice: Notice, label?: string): Promise<DriverSeat> {
  for (;;) {
    try {
      return await session.attach({ as: "driver", label });
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
  readonly wheel: Wheel;
  readonly follower: Follower;
  readonly keyboard: Keyboard;
  readonly screen: Screen;
  readonly notice: Notice;
}

/**
 * Answers the oldest open question, or sees it answered by someone else. An answer that may not
 * be given is told, and the question stays.
 *
 * @returns what was typed instead of an answer, where it begins with a slash
 * @throws Failure refused, when nobody is here to answer; the question stays open
 */
export async function answerQuestion(question: Approval, how: Answering, desk: Desk): Promise<Slash | null> {
  const { wheel, follower, notice } = desk;
  const done = new AbortController();
  void follower.until(() => !follower.isOpen(question.approval_id) || !wheel.drives).then(() => done.abort());
  const answer = how === "ask" ? await askPerson(question, desk, done.signal) : unasked(question, how);
  if (answer !== null && "name" in answer) return answer;
  if (answer === null || !wheel.drives) return null;
  try {
    await wheel.driver.approve(question, { optionId: answer.offer.option.option_id, reason: answer.reason });
  } catch (error) {
    if (how === "ask" && (isSessiondError(error, "role_too_small") || isSessiondError(error, "bad_request"))) {
      notice(foreignLine(sentenceOf(error)));
      return null;
    }
    if (!isSessiondError(error, "approval_gone")) throw error;
  }
  await follower.until(() => !follower.isOpen(question.approval_id) || !wheel.drives);
  return null;
}

export interface PersonsAnswer {
  readonly offer: Offer;
  readonly reason: string | undefined;
}

/** @returns null when it was closed meanwhile */
export async function askPerson(
  question: Approval,
  { keyboard, screen }: Pick<Desk, "keyboard" | "screen">,
  signal: AbortSignal,
): Promise<PersonsAnswer | Slash | null> {
  const offers = offersOf(question);
  if (keyboard.isPerson) showOffers(screen, offers);
  const remembering = offers.some(({ option }) => option.remembers !== null);
  const keys = [...offers.map(({ key }) => key), ...(remembering ? ["?"] : [])].join("/");
  for (let first = true; ; first = false) {
    // What follows a wrong key was typed after the question.
    const typed = await keyboard[first ? "answer" : "further"](`  Allow this? [${keys}] `, signal);
    if (typed.type === "aborted") return null;
    if (typed.type === "eof") throw leftOpen(question);
    const offer = offerTyped(offers, typed.text);
    if (offer === undefined) {
      if (typed.text.trim() === "?") explainOffers(screen, offers);
      const slash = slashOf(typed.text);
      if (slash !== null) return slash;
      continue;
    }
    if (!rejects(offer.option)) return { offer, reason: undefined };
    const reason = await keyboard.further("  Why not? The agent is told (Enter for no reason): ", signal);
    if (reason.type === "aborted") return null;
    return { offer, reason: (reason.type === "line" && reason.text.trim()) || undefined };
  }
}

const unasked = (question: Approval, how: "approve" | "reject"): PersonsAnswer => ({
  offer: offerOf(question, how === "approve" ? ["allow_once", "allow_turn"] : ["reject_once"]),
  reason: undefined,
});

/** The first of these kinds that the question offers. @throws Failure refused */
export function offerOf(question: Approval, kinds: readonly AnswerKind[]): Offer {
  const offers = offersOf(question);
  for (const kind of kinds) {
    const offer = offers.find(({ option }) => option.kind === kind);
    if (offer !== undefined) return offer;
  }
  throw new Failure("refused", `This question has no such answer; it offers: ${answersOf(offers)}. \`sessiond approve ${question.approval_id}\` answers it.`);
}

/** An answer by its id, its kind or its label: of a kind that is there twice, the first. @throws Failure usage */
export function offerNamed(question: Approval, name: string): Offer {
  const offers = offersOf(question);
  const by = (of: (option: Offer["option"]) => string): Offer | undefined => offers.find(({ option }) => of(option) === name);
  const offer = by(({ option_id }) => option_id) ?? by(({ kind }) => kind) ?? by(({ label }) => label);
  if (offer !== undefined) return offer;
  throw new Failure("usage", `This question has no answer \`${foreignLine(name)}\`; it offers: ${answersOf(offers)}.`);
}

/** `allow_once (Allow once), …`: what to type, and what it says. */
const answersOf = (offers: readonly Offer[]): string =>
  offers.map(({ option }) => `${foreignLine(option.option_id)} (${foreignLine(option.label)})`).join(", ");

export const leftOpen = ({ approval_id, tool }: Approval): Failure =>
  new Failure(
    "refused",
    `${foreignLine(tool)} waits for permission and nobody is here to give it. Answer with \`sessiond approve ${approval_id}\`, add --reject to refuse, or run \`sessiond attach\`.`,
  );
