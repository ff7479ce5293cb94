import type { Command } from "commander";
import { addReachOptions, jsonOption, withExamples } from "../options.ts";
import { find, type ReachFlags } from "../reach.ts";
import { foreignLine, jsonLine } from "../screen.ts";
import { printTable } from "../table.ts";

interface AgentsOptions extends ReachFlags {
  readonly json?: true;
}

export function declare(command: Command): void {
  withExamples(
    command
      .addOption(jsonOption())
      .addHelpText("after", "\nWhat the daemon has, and what each lacks. Only looks: starts no daemon (exit code 4 when none runs)."),
    "sessiond agents",
    "sessiond agents --json | jq -r .name",
  ).action((options: AgentsOptions) => agents(options));
  addReachOptions(command);
}

async function agents({ json, ...where }: AgentsOptions): Promise<void> {
  const there = await (await find("agents", where)).listAgents();
  if (json) return there.forEach((agent) => process.stdout.write(jsonLine(agent)));
  const rows = there.map(({ name, default_model, models, capabilities }) => [
    foreignLine(name),
    foreignLine(default_model) || "-",
    models === null ? "any that the provider knows" : models.map(foreignLine).join(", "),
    Object.entries(capabilities)
      .flatMap(([what, able]) => (able ? [what] : []))
      .join(", ") || "-",
  ]);
  printTable(process.stdout, ["AGENT", "MODEL", "MODELS", "CAN"], rows);
  for (const { name, unavailable } of there) if (unavailable !== null) process.stdout.write(`! ${foreignLine(name)}: ${foreignLine(unavailable)}\n`);
}
