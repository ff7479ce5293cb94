import type { Command } from "commander";
import { spoken } from "../duration.ts";
import { Failure } from "../exit-codes.ts";
import { say } from "../notice.ts";
import { addReachOptions, jsonOption, sessionArgument, withExamples, workdirOption } from "../options.ts";
import { handleOf, reach, type ReachFlags } from "../reach.ts";
import { ruleWords, scopeWords } from "../rule-words.ts";
import { jsonLine } from "../screen.ts";
import { clip, printTable } from "../table.ts";
import { existingSession, shortId } from "../which-session.ts";

interface RulesOptions extends ReachFlags {
  readonly workdir?: string;
  readonly json?: true;
}

export function declare(command: Command): void {
  withExamples(command, "sessiond rules list", "sessiond rules forget rul_8sJ1");
  withExamples(
    addReachOptions(
      command
        .command("list")
        .description("the answers that are remembered here")
        .argument("[session]", sessionArgument)
        .addOption(workdirOption())
        .addOption(jsonOption()),
    ),
    "sessiond rules list",
    "sessiond rules list --json | jq -r .pattern.command",
  ).action((name: string | undefined, options: RulesOptions) => list(name, options));
  withExamples(
    addReachOptions(
      command
        .command("forget")
        .description("forget one; it is asked again from then on")
        .argument("<rule>", "its id, or a unique beginning")
        .argument("[session]", sessionArgument)
        .addOption(workdirOption()),
    ),
    "sessiond rules forget rul_8sJ1",
  ).action((id: string, name: string | undefined, options: RulesOptions) => forget(id, name, options));
}

const wordsChars = 100;

async function list(name: string | undefined, { workdir, json, ...where }: RulesOptions): Promise<void> {
  const host = await reach("rules", where);
  const { rules } = await (await handleOf(host, (await existingSession(host, { session: name, workdir })).session_id, "view")).info();
  if (json) return rules.forEach((rule) => process.stdout.write(jsonLine(rule)));
  if (rules.length === 0) return say("nothing is remembered; every question is asked");
  const rows = rules.map((rule) => [shortId(rule.rule_id), scopeWords(rule), `${spoken(Date.now() - rule.at)} ago`, clip(ruleWords(rule), wordsChars)]);
  printTable(process.stdout, ["RULE", "COUNTS", "GIVEN", "ANSWER"], rows);
}

async function forget(id: string, name: string | undefined, { workdir, ...where }: RulesOptions): Promise<void> {
  const host = await reach("rules", where);
  const session = await handleOf(host, (await existingSession(host, { session: name, workdir })).session_id, "control");
  const matching = (await session.info()).rules.filter((rule) => rule.rule_id.startsWith(id));
  const [only, second] = matching;
  if (only === undefined) throw new Failure("usage", `No rule's id begins with ${id}. \`sessiond rules list\` shows them.`);
  if (second !== undefined) throw new Failure("usage", `${matching.length} rules' ids begin with ${id}; give more of it.`);
  await session.forgetRule(only.rule_id);
  process.stdout.write(`forgotten ${only.rule_id}: ${ruleWords(only)}\n`);
}
