import type { Command } from "commander";
import type { AgentInfo } from "@sessiond/client";
import { fewOf } from "../agent-words.ts";
import { addReachOptions, jsonOption, withExamples } from "../options.ts";
import { find, type ReachFlags } from "../reach.ts";
import { foreignLine, jsonLine } from "../screen.ts";
import { printTable } from "../table.ts";
import { homeShort } from "../which-session.ts";

const kinds: Readonly<Record<AgentInfo["kind"], string>> = { built_in: "built-in", acp: "ACP", served: "served" };

interface AgentsOptions extends ReachFlags {
  readonly json?: true;
}

export function declare(command: Command): void {
  withExamples(
    command
      .addOption(jsonOption())
      .addHelpText("after", "\nWhat the daemon has, by which command, and what each lacks. Only looks: starts no daemon (exit code 4 when none runs)."),
    "sessiond agents",
    "sessiond agents --json | jq -r .name",
  ).action((options: AgentsOptions) => agents(options));
  addReachOptions(command);
}

async function agents({ json, ...where }: AgentsOptions): Promise<void> {
  const there = await (await find("agents", where)).listAgents();
  if (json) return there.forEach((agent) => process.stdout.write(jsonLine(agent)));
  const rows = there.map(({ name, kind, default_model, models, capabilities, command }) => [
    foreignLine(name),
    kinds[kind],
    foreignLine(default_model) || "-",
    models !== null ? fewOf(models.map(foreignLine)) : kind === "built_in" ? "any that the provider knows" : "the agent's own",
    Object.entries(capabilities)
      .flatMap(([what, able]) => (able ? [what] : []))
      .join(", ") || "-",
    command === undefined ? "-" : homeShort(foreignLine(command)),
  ]);
  printTable(process.stdout, ["AGENT", "KIND", "MODEL", "MODELS", "CAN", "COMMAND"], rows);
  for (const { name, unavailable } of there) if (unavailable !== null) process.stdout.write(`! ${foreignLine(name)}: ${foreignLine(unavailable)}\n`);
}
