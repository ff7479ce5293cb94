import { escapeDeceptive, limits, type ApprovalOption, type OwnAnswer } from "@sessiond/shared";

/**
 * An agent's own answers to a question as they are shown. Their ids are made here, by kind: the first of a kind has the
 * kind's own, by which the gate knows who may give it; a further one, and an `other`, only who drives by the owner's leave.
 */
export interface OwnAnswers {
  readonly options: readonly ApprovalOption[];
  /** The agent's own name for what was chosen. */
  nameOf(optionId: string): string | undefined;
}

export function ownAnswers(offered: readonly OwnAnswer[]): OwnAnswers {
  const seen = new Map<string, number>();
  const names = new Map<string, string>();
  const options = offered.map(({ id, kind, label }) => {
    const count = (seen.get(kind) ?? 0) + 1;
    seen.set(kind, count);
    const option_id = count === 1 ? kind : `${kind}_${count}`;
    names.set(option_id, id);
    return {
      option_id,
      kind,
      label: escapeDeceptive(label)
        .replaceAll(/[\n\t]/g, " ")
        .slice(0, limits.title_chars_max),
      remembers: null,
    };
  });
  return { options, nameOf: (optionId) => names.get(optionId) };
}
