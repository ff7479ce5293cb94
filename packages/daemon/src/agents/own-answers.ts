import { escapeDeceptive, limits, type ApprovalOption, type OwnAnswer } from "@sessiond/shared";
import { line } from "./bounded.ts";

/**
 * An agent's own answers to a question as they are shown. Their ids are made here, by kind: the first of a kind has the
 * kind's own, by which the gate knows who may give it; a further one, and an `other`, only who drives by the owner's leave.
 * An agent's own ids could name any gate.
 */
export interface OwnAnswers {
  readonly options: readonly ApprovalOption[];
  /** The agent's own name for what was chosen. */
  nameOf(optionId: string): string | undefined;
}

/** @param agent  its name, for what people are told */
export function ownAnswers(offered: readonly OwnAnswer[], agent: string): OwnAnswers {
  const seen = new Map<string, number>();
  const names = new Map<string, string>();
  const options = offered.map(({ id, kind, label }): ApprovalOption => {
    const count = (seen.get(kind) ?? 0) + 1;
    seen.set(kind, count);
    const option_id = count === 1 ? kind : `${kind}_${count}`;
    names.set(option_id, id);
    return { option_id, kind, label: shown(label) || shown(id) || kind, remembers: kind.endsWith("_always") ? remembering(kind, agent) : null };
  });
  return { options, nameOf: (optionId) => names.get(optionId) };
}

const shown = (text: string): string => line(escapeDeceptive(text), limits.label_chars_max);

const remembering = (kind: OwnAnswer["kind"], agent: string): string =>
  `${kind === "allow_always" ? "Allowed" : "Refused"} from now on: the agent ${agent} remembers it by itself, in its own way; sessiond can neither list nor forget it`;
