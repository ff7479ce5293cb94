import type { Command } from "commander";
import type { SessionInfo } from "@sessiond/client";
import { fewOf, modeWords, optionWords, useWords, whoAnswers } from "../agent-words.ts";
import { spoken } from "../duration.ts";
import { planNow, planSum } from "../plan-words.ts";
import { clockWords, policyWords } from "../policies.ts";
import { addReachOptions, jsonOption, sessionArgument, withExamples, workdirOption } from "../options.ts";
import { find, handleOf, type ReachFlags } from "../reach.ts";
import { ruleWords, scopeWords } from "../rule-words.ts";
import { foreignLine, jsonLine } from "../screen.ts";
import { clip, printFacts } from "../table.ts";
import { existingSession, homeShort } from "../which-session.ts";
import { promptWords } from "./queue.ts";

interface InfoOptions extends ReachFlags {
  readonly workdir?: string;
  readonly json?: true;
}

export function declare(command: Command): void {
  withExamples(
    command
      .argument("[session]", sessionArgument)
      .addOption(workdirOption())
      .addOption(jsonOption("print it as one line of JSON"))
      .addHelpText("after", "\nEverything but the conversation, and since when each thing waits. Starts no daemon."),
    "sessiond info",
    "sessiond info ses_4fK2 --json | jq .usage",
  ).action((name: string | undefined, options: InfoOptions) => info(name, options));
  addReachOptions(command);
}

async function info(name: string | undefined, { workdir, json, ...where }: InfoOptions): Promise<void> {
  const host = await find("info", where);
  const facts = await (await handleOf(host, (await existingSession(host, { session: name, workdir })).session_id, "view")).info();
  if (json) return void process.stdout.write(jsonLine(facts));
  printFacts(process.stdout, factsOf(facts, Date.now()));
}

type Fact = readonly [name: string, value: string];
const valueChars = 100;
const sandboxWords = {
  off: "off: commands run as the account that owns the daemon",
  no_network: "no_network: commands write in the workdir alone, and reach no network",
  network: "network: commands write in the workdir alone",
};

function factsOf(facts: SessionInfo, now: number): Fact[] {
  const ago = (at: number): string => `${spoken(Math.max(0, now - at))} ago`;
  const state = facts.life_state === "live" ? facts.status.replaceAll("_", " ") : facts.life_state;
  const { active_tool, last_turn, turn, fault } = facts;
  return [
    ["session", `${facts.session_id}${facts.stable ? "" : " (extra)"}`],
    ["title", `${facts.starred ? "★ " : ""}${facts.title === null ? "-" : foreignLine(facts.title)}`],
    ["workdir", homeShort(foreignLine(facts.workdir))],
    ["agent", facts.agent === "openai" ? `openai, ${whoAnswers(facts)}` : whoAnswers(facts).replace(/^agent /, "")],
    ...agentFacts(facts),
    ["state", `${state}, for ${spoken(Math.max(0, now - facts.status_since))}`],
    ...(fault === undefined ? [] : [["fault", `cannot write its journal: ${foreignLine(fault.reason)}, for ${spoken(now - fault.since)}`] as const]),
    ["tool", active_tool === null ? "-" : `${foreignLine(active_tool.title)}, for ${spoken(Math.max(0, now - active_tool.since))}`],
    ["turns", `${facts.turns}${turn === null ? "" : `, one runs for ${spoken(now - turn.started_at)}`}`],
    ...(last_turn === null ? [] : [["last turn", `${last_turn.stop_reason}, ${ago(last_turn.ended_at)}`] as const]),
    ["tokens", `${facts.usage.input_tokens} in, ${facts.usage.output_tokens} out`],
    ["policy", policyWords(facts.policy)],
    ["sandbox", sandboxWords[facts.sandbox]],
    ...many("questions", facts.approvals, (each) => {
      const clock = clockWords(each, now);
      return `${each.approval_id.slice(0, 12)}  ${foreignLine(each.tool)}, asked ${ago(each.asked_at)}${clock === null ? "" : `; ${clock}`}`;
    }),
    ...many("queue", facts.queue, (each) => `${each.prompt_id.slice(0, 12)}  ${promptWords(each, now)}`),
    ...many(
      "seats",
      facts.seats,
      ({ role, label, connected, since }) => `${role}  ${foreignLine(label)}, ${connected ? "here" : "away"} for ${spoken(now - since)}`,
    ),
    ...many(
      "asking",
      facts.driver_requests,
      ({ label, at, lapses_at }) => `${foreignLine(label)}, ${ago(at)}; lapses in ${spoken(Math.max(0, lapses_at - now))}`,
    ),
    ...many("rules", facts.rules, (rule) => `${rule.rule_id.slice(0, 12)}  ${scopeWords(rule)}: ${clip(ruleWords(rule), valueChars)}`),
    ...many("files", facts.files, ({ path, at }) => `${foreignLine(path)}, ${ago(at)}`),
    ...(facts.env_names.length === 0 ? [] : [["env", facts.env_names.join(", ")] as const]),
    ["cursor", facts.cursor],
    ["created", ago(facts.created_at)],
  ];
}

/** What the agent told of itself; of one that tells of nothing, nothing. */
function agentFacts({ agent_facts: told, plan }: SessionInfo): Fact[] {
  const use = useWords(told);
  const now = planNow(plan);
  const modes = told.modes.length === 0 ? "" : `  (${foreignLine(fewOf(told.modes.map(({ id }) => id)))})`;
  return [
    ...(told.mode === null && told.modes.length === 0 ? [] : [["mode", `${modeWords(told)}${modes}`] as const]),
    ...(told.options.length === 0 ? [] : many("options", told.options, optionWords)),
    ...(told.commands.length === 0 ? [] : [["commands", foreignLine(fewOf(told.commands.map(({ name }) => `/${name}`)))] as const]),
    ...(plan.length === 0 ? [] : [["plan", `${planSum(plan)}${now === null ? "" : `; ${now}`}`] as const]),
    ...(use === null ? [] : [["context", use] as const]),
  ];
}

/** One line an item, under one name. */
const many = <T>(name: string, items: readonly T[], words: (item: T) => string): Fact[] =>
  items.length === 0 ? [[name, "-"]] : items.map((item, at): Fact => [at === 0 ? name : "", words(item)]);
