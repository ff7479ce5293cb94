import { escapeDeceptive, limits, type Actor, type Approval, type ApprovalOption, type Rule, type RulePattern } from "@sessiond/shared";
import { mintId } from "../ids.ts";

/**
 * Remembered answers: what may be remembered of a question, in which words that is offered, and
 * which rule answers the next one. A rule counts for its tool and its pattern as they are, letter
 * for letter: nothing is widened, by prefix, case or otherwise.
 *
 * Rules of a turn and of the session are in its state; those of the workdir belong to all of its
 * sessions, and are kept by the host.
 */
export interface WorkdirAnswers {
  all(): readonly Rule[];
  /**
   * Resolves when it, or the same, is on disk; it counts for nobody until it is kept.
   *
   * @throws SessiondError limit_reached, storage_failed; nothing is remembered then
   */
  add(rule: Rule): Promise<Remembered>;
  /** @returns false when it is not there. @throws SessiondError storage_failed; it still counts then */
  remove(ruleId: string): Promise<boolean>;
}

/** A rule on disk whose answer is not there yet. */
export interface Remembered {
  /** The answer was given: from now on it counts. */
  keep(): void;
  /** It was not given; what another answer asked for too, stays. @throws SessiondError storage_failed; it counts then */
  takeBack(): Promise<void>;
}

/** What a question is about. */
interface Asked {
  readonly tool: string;
  readonly pattern: RulePattern;
  readonly turnId: string;
}

/** The rule that answers the question: one that rejects before one that allows. */
export function ruleFor(rules: readonly Rule[], { tool, pattern, turnId }: Asked): Rule | undefined {
  const counting = rules.filter((rule) => rule.tool === tool && isSamePattern(rule.pattern, pattern) && (rule.scope !== "turn" || rule.turn_id === turnId));
  return counting.find((rule) => rule.effect === "reject") ?? counting[0];
}

/** True when a second one would change nothing. */
export const isSameRule = (one: Rule, other: Rule): boolean =>
  one.effect === other.effect &&
  one.scope === other.scope &&
  one.turn_id === other.turn_id &&
  one.tool === other.tool &&
  isSamePattern(one.pattern, other.pattern);

/** The answer that was remembered, as the option that gave it. */
export const optionOf = ({ effect, scope }: Rule): string => (effect === "reject" ? "reject_always" : scope === "workdir" ? "allow_always" : `allow_${scope}`);

function isSamePattern(one: RulePattern, other: RulePattern): boolean {
  if (one.type === "path") return other.type === "path" && one.path === other.path;
  return other.type === "command" && one.command === other.command && one.directory === other.directory && one.sandbox === other.sandbox;
}

/** Null when the pattern is too large to be remembered. */
export function rememberable(pattern: RulePattern | null): RulePattern | null {
  if (pattern === null) return null;
  const chars = pattern.type === "path" ? pattern.path.length : pattern.command.length + pattern.directory.length;
  return chars > limits.rule_pattern_chars_max ? null : pattern;
}

const once: readonly ApprovalOption[] = [
  { option_id: "allow_once", kind: "allow_once", label: "Allow once", remembers: null },
  { option_id: "reject_once", kind: "reject_once", label: "Reject", remembers: null },
];

/** The answers that a question can be given, each with the words for what it leaves behind. */
export function optionsFor(tool: string, pattern: RulePattern | null, workdir: string): ApprovalOption[] {
  if (pattern === null) return [...once];
  const what =
    pattern.type === "command"
      ? `exactly this command in ${shown(pattern.directory)}${pattern.sandbox === undefined ? "" : ", in this sandbox alone"}: ${shown(pattern.command)}`
      : `${shown(tool)} of exactly this file, whatever the content: ${shown(pattern.path)}`;
  const everywhere = `in every session of ${shown(workdir)}, until it is forgotten:`;
  const [allowOnce, rejectOnce] = once as [ApprovalOption, ApprovalOption];
  return [
    allowOnce,
    { option_id: "allow_turn", kind: "allow_turn", label: "Allow in this turn", remembers: `Allowed until this turn ends: ${what}` },
    {
      option_id: "allow_session",
      kind: "allow_session",
      label: "Allow in this session",
      remembers: `Allowed in this session and its later lives, until it is forgotten: ${what}`,
    },
    { option_id: "allow_always", kind: "allow_always", label: "Allow in this directory", remembers: `Allowed ${everywhere} ${what}` },
    rejectOnce,
    { option_id: "reject_always", kind: "reject_always", label: "Reject in this directory", remembers: `Rejected ${everywhere} ${what}` },
  ];
}

const shown = (text: string): string => escapeDeceptive(text);

const scopes: Partial<Record<ApprovalOption["kind"], Rule["scope"]>> = {
  allow_turn: "turn",
  allow_session: "session",
  allow_always: "workdir",
  reject_always: "workdir",
};

export const allows = (kind: ApprovalOption["kind"]): boolean => kind.startsWith("allow_");

/** What answering with this option leaves behind; null: nothing. */
export function ruleOf(approval: Approval, kind: ApprovalOption["kind"], by: { readonly actor: Actor; readonly at: number }): Rule | null {
  const scope = scopes[kind];
  if (scope === undefined || approval.pattern === undefined) return null;
  return {
    rule_id: mintId("rul"),
    effect: allows(kind) ? "allow" : "reject",
    scope,
    tool: approval.tool,
    pattern: approval.pattern,
    ...(scope === "turn" && { turn_id: approval.turn_id }),
    by: by.actor,
    at: by.at,
  };
}
