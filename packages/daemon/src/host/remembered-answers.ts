import { limits, schemas, SessiondError, type Rule } from "@sessiond/shared";
import { z } from "zod";
import { isSameRule, type Remembered, type WorkdirAnswers } from "../session/rules.ts";
import type { DurableStore } from "./durable-store.ts";

/**
 * `rules.json`: answers that are remembered for a directory, by its real path, for every session
 * of it and for no other directory, also none above or below it.
 */
export const rulesFile = z.strictObject({ version: z.literal(1), workdirs: z.record(z.string(), z.array(schemas.rule)) });
export type RulesFile = z.infer<typeof rulesFile>;

export class RememberedAnswers {
  readonly #store: DurableStore<RulesFile>;
  /** Rules on disk whose answers are not there yet, and how many those are. They count for nobody. */
  readonly #unsure = new Map<string, number>();

  constructor(store: DurableStore<RulesFile>) {
    this.#store = store;
  }

  /** @param workdir  real path */
  of(workdir: string): WorkdirAnswers {
    const sure = (): readonly Rule[] => rulesIn(this.#store.data, workdir).filter((rule) => !this.#unsure.has(rule.rule_id));
    return {
      all: sure,
      add: (rule) => this.#add(workdir, rule),
      remove: async (ruleId) => {
        if (!sure().some((rule) => rule.rule_id === ruleId)) return false;
        let removed = false;
        await this.#store.update((file) => void (removed = without(file, workdir, ruleId)));
        return removed;
      },
    };
  }

  async #add(workdir: string, rule: Rule): Promise<Remembered> {
    // Looked at where changes stand in line: another session may be adding one too.
    let id = rule.rule_id;
    let counted = false;
    const count = (): void => {
      this.#unsure.set(id, (this.#unsure.get(id) ?? 0) + 1);
      counted = true;
    };
    const update = this.#store.update((file) => {
      const rules = rulesIn(file, workdir);
      const same = rules.find((kept) => isSameRule(kept, rule));
      if (same !== undefined) {
        id = same.rule_id;
        if (this.#unsure.has(id)) count();
        return;
      }
      if (rules.length >= limits.rules_max) throw new SessiondError("limit_reached", { limit: "rules_max", value: limits.rules_max, unit: "rules" });
      file.workdirs[workdir] = [...rules, rule];
      count();
    });
    try {
      await update;
    } catch (error) {
      if (counted) this.#uncount(id);
      throw error;
    }
    return { keep: () => void this.#unsure.delete(id), takeBack: () => this.#takeBack(workdir, id) };
  }

  async #takeBack(workdir: string, id: string): Promise<void> {
    if (!this.#unsure.has(id)) return;
    let last = false;
    try {
      await this.#store.update((file) => {
        // Else another answer that asked for it is on its way, or was given meanwhile.
        last = this.#unsure.get(id) === 1;
        if (last) without(file, workdir, id);
        else this.#uncount(id);
      });
    } finally {
      if (last) this.#uncount(id);
    }
  }

  #uncount(id: string): void {
    const left = (this.#unsure.get(id) ?? 0) - 1;
    if (left > 0) this.#unsure.set(id, left);
    else this.#unsure.delete(id);
  }
}

const rulesIn = (file: Readonly<RulesFile>, workdir: string): readonly Rule[] => (Object.hasOwn(file.workdirs, workdir) ? (file.workdirs[workdir] ?? []) : []);

/** @returns false when it was not there */
function without(file: RulesFile, workdir: string, ruleId: string): boolean {
  const rules = rulesIn(file, workdir);
  const left = rules.filter((rule) => rule.rule_id !== ruleId);
  if (left.length > 0) file.workdirs[workdir] = left;
  else delete file.workdirs[workdir];
  return left.length < rules.length;
}
