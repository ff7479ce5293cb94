import type { Command } from "commander";
import { agentSettings } from "../agent-settings.ts";
import { modeWords, settingWords } from "../agent-words.ts";
import { takeSeat } from "../driving.ts";
import { Failure } from "../exit-codes.ts";
import { say } from "../notice.ts";
import { addReachOptions, gathered, jsonOption, sessionArgument, withExamples, workdirOption } from "../options.ts";
import { parsePolicy, policyWords, type Policy } from "../policies.ts";
import { reach, type ReachFlags } from "../reach.ts";
import { foreignLine, jsonLine } from "../screen.ts";
import { printFacts } from "../table.ts";
import { existingSession } from "../which-session.ts";

interface SetOptions extends ReachFlags {
  readonly title?: string | false;
  readonly star?: true;
  readonly unstar?: true;
  readonly model?: string;
  readonly policy?: Policy;
  readonly mode?: string;
  readonly option?: readonly string[];
  readonly workdir?: string;
  readonly json?: true;
}

export function declare(command: Command): void {
  withExamples(
    command
      .argument("[session]", sessionArgument)
      .addOption(workdirOption())
      .option("--title <text>", "what lists call it")
      .option("--no-title", "take its title away")
      .option("--star", "mark it in lists")
      .option("--unstar", "take the mark away")
      .option("--model <name>", "the model, from the next turn on")
      .option("--policy <policy>", "questions while nobody drives: hold, or reject-after=10m", parsePolicy)
      .option("--mode <mode>", "how the agent works, where it has modes")
      .option("--option <name=value>", "a setting of the agent's own; may be given again", gathered)
      .addOption(jsonOption("print the values there are then as one line of JSON"))
      .addHelpText(
        "after",
        "\nAll of what is given, or nothing. `sessiond info` shows the agent's modes and options, once it has run. Needs the driver's seat: it is taken for a moment if it is free.",
      ),
    'sessiond set --title "the parser" --star',
    "sessiond set --policy reject-after=10m ses_4fK2",
    "sessiond set --mode plan --option effort=high",
  ).action((name: string | undefined, options: SetOptions) => set(name, options));
  addReachOptions(command);
}

async function set(name: string | undefined, { title, star, unstar, model, policy, mode, option = [], workdir, json, ...where }: SetOptions): Promise<void> {
  if (star && unstar) throw new Failure("usage", "Choose --star or --unstar, not both.");
  const change = {
    ...(title !== undefined && { title: title === false ? null : title }),
    ...((star || unstar) && { starred: star === true }),
    ...(model !== undefined && { model }),
    ...(policy !== undefined && { policy }),
  };
  if (Object.keys(change).length === 0 && mode === undefined && option.length === 0)
    throw new Failure("usage", "Say what to set: --title, --star, --model, --policy, --mode or --option. `sessiond info` shows what is.");
  const host = await reach("set", where);
  const session = await host.openSession((await existingSession(host, { session: name, workdir })).session_id);
  const seat = await takeSeat(session, "fail", say);
  const now = await seat.configure({ ...change, ...agentSettings({ mode, options: option }, seat.state.agent_facts) });
  const { modes } = seat.state.agent_facts;
  await seat.detach();
  if (json) {
    const { seq: _seq, ...values } = now;
    return void process.stdout.write(jsonLine({ session_id: session.id, ...values }));
  }
  printFacts(process.stdout, [
    ["title", now.title === null ? "-" : foreignLine(now.title)],
    ["starred", now.starred ? "yes" : "no"],
    ["model", foreignLine(now.model) || "not set"],
    ["policy", policyWords(now.policy)],
    ...(now.mode === null ? [] : [["mode", modeWords({ mode: now.mode, modes })] as const]),
    ...Object.entries(now.options).map(([id, value], at) => [at === 0 ? "options" : "", settingWords(id, value)] as const),
  ]);
}
