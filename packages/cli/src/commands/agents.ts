import type { Command } from "commander";
import { jsonOption, withExamples } from "../options.ts";
import { find } from "../reach.ts";
import { foreignLine } from "../screen.ts";
import { printTable } from "../table.ts";

export function declare(command: Command): void {
  withExamples(
    command
      .addOption(jsonOption())
      .addHelpText("after", "\nWhat the daemon has, and what each lacks. Only looks: starts no daemon (exit code 4 when none runs)."),
    "sessiond agents",
    "sessiond agents --json | jq -r .name",
  ).action((options: { readonly json?: true }) => agents(options));
}

async function agents({ json }: { readonly json?: true }): Promise<void> {
  const there = await (await find("agents")).listAgents();
  if (json) return there.forEach((agent) => process.stdout.write(`${JSON.stringify(agent)}\n`));
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
