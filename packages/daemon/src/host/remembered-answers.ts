import { limits, schemas, SessiondError, type Rule } from "@sessiond/shared";
import { z } from "zod";
import type { WorkdirAnswers } from "../session/rules.ts";
import { isSameRule } from "../session/rules.ts";
import type { DurableStore } from "./durable-store.ts";

/**
 * `rules.json`: answers that are remembered for a directory, by its real path, for every session
 * of it and for no other directory, also none above or below it.
 */
export const rulesFile = z.strictObject({ version: z.literal(1), workdirs: z.record(z.string(), z.array(schemas.rule)) });
export type RulesFile = z.infer<typeof rulesFile>;

export class RememberedAnswers {
  readonly #store: DurableStore<RulesFile>;

  constructor(store: DurableStore<RulesFile>) {
    this.#store = store;
  }

  /** @param workdir  real path */
  of(workdir: string): WorkdirAnswers {
    const rulesIn = (file: Readonly<RulesFile>): readonly Rule[] => (Object.hasOwn(file.workdirs, workdir) ? (file.workdirs[workdir] ?? []) : []);
    return {
      all: () => rulesIn(this.#store.data),
      add: async (rule) => {
        // Looked at where changes stand in line: another session may be adding one too.
        let added = false;
        await this.#store.update((file) => {
          const rules = rulesIn(file);
          if (rules.some((kept) => isSameRule(kept, rule))) return;
          if (rules.length >= limits.rules_max) throw new SessiondError("limit_reached", { limit: "rules_max", value: limits.rules_max, unit: "rules" });
          file.workdirs[workdir] = [...rules, rule];
          added = true;
        });
        return added;
      },
      remove: async (ruleId) => {
        if (!rulesIn(this.#store.data).some((rule) => rule.rule_id === ruleId)) return false;
        let removed = false;
        await this.#store.update((file) => {
          const rules = rulesIn(file);
          const left = rules.filter((rule) => rule.rule_id !== ruleId);
          removed = left.length < rules.length;
          if (left.length > 0) file.workdirs[workdir] = left;
          else delete file.workdirs[workdir];
        });
        return removed;
      },
    };
  }
}
