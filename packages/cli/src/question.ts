import type { Approval, ApprovalOption } from "@sessiond/client";
import { foreign, foreignLine, type Screen } from "./screen.ts";

/** A question as a person sees it: whole, then one key for each answer that it offers. */
export type AnswerKind = ApprovalOption["kind"];

const keys: Readonly<Record<AnswerKind, readonly [key: string, words: string]>> = {
  allow_once: ["y", "once"],
  allow_turn: ["t", "this turn"],
  allow_session: ["s", "this session"],
  allow_always: ["a", "always here"],
  reject_once: ["n", "no"],
  reject_always: ["N", "never"],
  other: ["o", "as the agent offers it"],
};

export interface Offer {
  readonly key: string;
  readonly words: string;
  readonly option: ApprovalOption;
}

export const allows = ({ kind }: ApprovalOption): boolean => kind.startsWith("allow");

/** In the order of the question; a second option of one kind gets a digit and its own label. */
export function offersOf({ options }: Approval): Offer[] {
  const taken = new Set<string>();
  let digit = 0;
  return options.map((option) => {
    const [key, words] = keys[option.kind];
    const first = !taken.has(key);
    taken.add(key);
    return first ? { key, words, option } : { key: String(++digit), words: foreignLine(option.label), option };
  });
}

/** A typed line, as one of the offers; `Y`, `yes` and `no` are understood. */
export function offerTyped(offers: readonly Offer[], text: string): Offer | undefined {
  const typed = text.trim();
  const exact = offers.find(({ key }) => key === typed);
  if (exact !== undefined) return exact;
  const word = typed.toLowerCase();
  return offers.find(({ key }) => key === (word === "yes" ? "y" : word === "no" ? "n" : word));
}

export function showQuestion(screen: Screen, approval: Approval, clock: string | null): void {
  screen.line(`? ${foreignLine(approval.tool)} asks for permission (${approval.approval_id})`, "yellow");
  screen.write({ key: approval.approval_id, to: "aside", prefix: "  │ " }, foreign(approval.preview));
  screen.close();
  if (clock !== null) screen.line(`  ${clock}`, "yellow");
}

/** What can be typed, where it is more than yes and no, and what the answers count for: once, where that is the same for all. */
export function showOffers(screen: Screen, offers: readonly Offer[]): void {
  const remembering = offers.filter(({ option }) => option.remembers !== null);
  if (remembering.length === 0 && offers.length <= 2) return;
  screen.line(`  ${offers.map(({ key, words }) => `${key} ${words}`).join(" · ")}`, "dim");
  const [about, ...others] = new Set(remembering.map(({ option }) => aboutOf(option)));
  if (about === undefined) return;
  if (about === "" || others.length > 0) return explainOffers(screen, remembering);
  const keyed = remembering.map(({ key }) => key).join(", ");
  screen.line(`  ${keyed} ${remembering.length === 1 ? "counts" : "count"} for ${about}`, "dim");
}

/** Each answer with all that it will be remembered for. */
export function explainOffers(screen: Screen, offers: readonly Offer[]): void {
  for (const { key, words, option } of offers) screen.line(`  ${key}  ${option.remembers === null ? words : foreignLine(option.remembers)}`, "dim");
}

/** `Allowed in this session: exactly this command …` is how long, then what for. */
function aboutOf({ remembers }: ApprovalOption): string {
  const text = foreignLine(remembers ?? "");
  const at = text.indexOf(": ");
  return at < 0 ? "" : text.slice(at + 2);
}
