import type { Approval, SessionEvent, SessionState } from "@sessiond/client";
import { clockWords } from "./policies.ts";
import { showQuestion, verdictOf } from "./question.ts";
import { ruleWords } from "./rule-words.ts";
import { foreignLine, type Screen } from "./screen.ts";

/** The questions of a transcript: each whole, with its clock, and how it ended. What can answer it is no part of this. */
export interface QuestionsOptions {
  readonly ownSeat: () => string | null;
  /** What the seat has received, which may be more than was shown. */
  readonly state?: () => SessionState;
  /** Of each that is shown, whole. */
  readonly onShown?: (approval: Approval) => void;
}

type Resolved = Extract<SessionEvent, { type: "approval_resolved" }>;

const closedBy: Readonly<Partial<Record<Resolved["cause"], string>>> = { failed: "the turn ended", withdrawn: "the agent waits for it no more" };

export class Questions {
  readonly #screen: Screen;
  readonly #options: QuestionsOptions;
  /** Those that are open, as far as was shown. */
  readonly #asked = new Map<string, { readonly approval: Approval; readonly shown: boolean }>();

  constructor(screen: Screen, options: QuestionsOptions) {
    this.#screen = screen;
    this.#options = options;
  }

  /** One that is closed already is shown when its end is; where a rule answered it, not at all. */
  asked(approval: Approval, at: number): void {
    const open = this.#open.find(({ approval_id }) => approval_id === approval.approval_id);
    if (open === undefined && this.#options.state !== undefined) return void this.#asked.set(approval.approval_id, { approval, shown: false });
    this.show(open ?? approval, at);
  }

  show(approval: Approval, at: number): void {
    this.#asked.set(approval.approval_id, { approval, shown: true });
    showQuestion(this.#screen, approval, clockWords(approval, at));
    this.#options.onShown?.(approval);
  }

  /** Who came or went may have set them going. */
  clocks(at: number): void {
    for (const approval of this.#open) {
      if (!this.#asked.has(approval.approval_id) || approval.deadline === undefined) continue;
      this.#screen.line(`  ${foreignLine(approval.tool)}: ${clockWords(approval, at)}`, "yellow");
    }
  }

  /** Its question may be one that was never shown. */
  resolved(event: Resolved): void {
    const { approval_id, cause } = event;
    const question = this.#asked.get(approval_id);
    if (question?.shown === false && cause !== "rule") this.show(question.approval, question.approval.asked_at);
    this.#asked.delete(approval_id);
    switch (cause) {
      case "answer":
        return this.#answered(event, question?.approval);
      case "rule":
        return this.#ruled(event);
      case "deadline":
        return this.#screen.line("  refused: nobody answered in time, and nobody drove", "red");
      default:
        return this.#screen.line(`  the question was closed: ${closedBy[cause] ?? cause}`, "dim");
    }
  }

  #answered({ option_id, reason, by }: Resolved, question: Approval | undefined): void {
    const option = question?.options.find((offered) => offered.option_id === option_id);
    const verdict = option === undefined ? (option_id?.startsWith("allow") === true ? "allowed" : "refused") : verdictOf(option);
    const who = by === undefined || by.seat_id === this.#options.ownSeat() ? "" : ` by ${foreignLine(by.label)}`;
    this.#screen.line(`  ${verdict}${who}${reason === undefined ? "" : `: ${foreignLine(reason)}`}`, verdict === "refused" ? "red" : "dim");
    // Of a rule for the directory no event tells: it is kept beside the session.
    if (option?.kind.endsWith("_always") && option.remembers !== null) this.#screen.line(`  remembered: ${foreignLine(option.remembers)}`, "dim");
  }

  /** What a rule for the directory is about is not in the session's state. */
  #ruled({ rule_id, option_id }: Resolved): void {
    const rule = this.#options.state?.().rules.find((each) => each.rule_id === rule_id);
    const allowed = option_id?.startsWith("allow") === true;
    const about = rule === undefined ? "; `sessiond rules list` shows it" : `: ${ruleWords(rule)}`;
    this.#screen.line(`  ${allowed ? "allowed" : "refused"} by rule ${rule_id?.slice(0, 12) ?? ""}${about}`, allowed ? "dim" : "red");
  }

  get #open(): readonly Approval[] {
    return this.#options.state?.().approvals ?? [];
  }
}
