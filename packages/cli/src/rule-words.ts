import type { SessionInfo } from "@sessiond/client";
import { foreignLine } from "./screen.ts";

/** A remembered answer in words. */
export type Rule = SessionInfo["rules"][number];

const scopes: Readonly<Record<Rule["scope"], string>> = { turn: "this turn", session: "this session", workdir: "always here" };

export const scopeWords = ({ scope }: Rule): string => scopes[scope];

/** `allow shell: npm test, in /home/me/app`, on one line. */
export function ruleWords({ effect, tool, pattern }: Rule): string {
  const about =
    pattern.type === "path"
      ? pattern.path
      : `${pattern.command}, in ${pattern.directory}${pattern.sandbox === undefined ? "" : ` (sandbox ${pattern.sandbox})`}`;
  return foreignLine(`${effect} ${tool}: ${about}`);
}
