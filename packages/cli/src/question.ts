import type { Approval, ApprovalOption } from "@sessiond/client";
import { foreign, foreignLine, type Screen } from "./screen.ts";

/** A question as a person sees it: whole, then one key for each answer that it offers. */
export type AnswerKind = ApprovalOption["kind"];

/** `label`: the daemon's own; where an agent offers its own answers, they are named in its words. */
const keys: Readonly<Record<AnswerKind, { readonly key: string; readonly words: string; readonly label: string }>> = {
  allow_once: { key: "y", words: "once", label: "Allow once" },
  allow_turn: { key: "t", words: "this turn", label: "Allow in this turn" },
  allow_session: { key: "s", words: "this session", label: "Allow in this session" },
  allow_always: { key: "a", words: "always here", label: "Allow in this directory" },
  reject_once: { key: "n", words: "no", label: "Reject" },
  reject_always: { key: "N", words: "never", label: "Reject in this directory" },
  other: { key: "o", words: "other", label: "" },
};

export interface Offer {
  readonly key: string;
  readonly words: string;
  readonly option: ApprovalOption;
  /** The agent offers it, in words of its own. */
  readonly isAgents: boolean;
}

export const allows = ({ kind }: ApprovalOption): boolean => kind.startsWith("allow");
export const rejects = ({ kind }: ApprovalOption): boolean => kind.startsWith("reject");

/** What an answer came to; of one that nobody here knows the meaning of, its label says all that is known. */
export const verdictOf = (option: ApprovalOption): string =>
  allows(option) ? "allowed" : rejects(option) ? "refused" : `answered “${foreignLine(option.label)}”`;

/** In the order of the question; a second option of one kind gets a digit. Every option has a key, and no two have the same. */
export function offersOf({ options }: Approval): Offer[] {
  const taken = new Set<string>();
  let digit = 0;
  return options.map((option) => {
    const { key, words, label } = keys[option.kind];
    const isAgents = option.label !== label;
    const first = !taken.has(key);
    taken.add(key);
    return { key: first ? key : String(++digit), words: isAgents ? foreignLine(option.label) : words, option, isAgents };
  });
}

/** A typed line, as one of the offers; `Y`, `yes` and `no` are understood, and an answer's id. */
export function offerTyped(offers: readonly Offer[], text: string): Offer | undefined {
  const typed = text.trim();
  const exact = offers.find(({ key }) => key === typed) ?? offers.find(({ option }) => option.option_id === typed);
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
  // Sentences of the agent's, each on a line of its own.
  if (offers.some(({ isAgents }) => isAgents)) return explainOffers(screen, offers);
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
  for (const { key, words, option, isAgents } of offers) {
    const remembers = option.remembers === null ? null : foreignLine(option.remembers);
    screen.line(`  ${key}  ${remembers === null ? words : isAgents ? `${words}. ${remembers}` : remembers}`, "dim");
  }
}

/** `Allowed in this session: exactly this command …` is how long, then what for; of an agent's own it is a sentence. */
function aboutOf({ remembers }: ApprovalOption): string {
  const text = foreignLine(remembers ?? "");
  const at = text.indexOf(": ");
  return at < 0 ? "" : text.slice(at + 2);
}
