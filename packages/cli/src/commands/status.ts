import type { Command } from "commander";
import type { DaemonStatus } from "@sessiond/client";
import { spoken } from "../duration.ts";
import { jsonOption, withExamples } from "../options.ts";
import { find } from "../reach.ts";
import { colourOn, foreignLine, painted } from "../screen.ts";

export function declare(command: Command): void {
  withExamples(
    command.addOption(jsonOption("print it as one line of JSON")).addHelpText("after", "\nOnly looks: starts no daemon (exit code 4 when none runs)."),
    "sessiond status",
    "sessiond status --json | jq .sessions.live",
  ).action((options: { readonly json?: true }) => status(options));
}

async function status({ json }: { readonly json?: true }): Promise<void> {
  const host = await find("status");
  const facts = await host.status();
  if (json) return void process.stdout.write(`${JSON.stringify(facts)}\n`);
  const { sessions } = facts;
  const lines: [string, string][] = [
    ["daemon", `${facts.draining ? "shutting down" : "running"}, pid ${facts.pid}, version ${facts.version}, up ${spoken(Date.now() - facts.started_at)}`],
    ["started by", facts.started_by === "hand" ? "hand (stays until `sessiond down`)" : "a client (leaves when nobody has used it for a while)"],
    ["socket", foreignLine(facts.socket)],
    ["state", foreignLine(facts.state_dir)],
    ["sessions", `${sessions.live} live, ${sessions.resting} resting, ${sessions.stopped} stopped`],
    ["turns", `${facts.turns_running} running, ${facts.pending_approvals} ${facts.pending_approvals === 1 ? "question" : "questions"} open`],
    ["attached", `${facts.seats} ${facts.seats === 1 ? "seat" : "seats"}, ${facts.connections} ${facts.connections === 1 ? "connection" : "connections"}`],
  ];
  const colour = colourOn(process.stdout);
  for (const [name, value] of lines) process.stdout.write(`${painted(name.padEnd(10), "dim", colour)}  ${value}\n`);
  for (const trouble of troubles(facts)) process.stdout.write(`${painted("!", "yellow", colour)} ${trouble}\n`);
}

/** What is wrong, each with its remedy. */
function troubles({ faults, set_aside, audit }: DaemonStatus): string[] {
  return [
    ...faults.map(({ session_id, fault }) => `${session_id} cannot write its journal (${foreignLine(fault.reason)}); mend the disk, it reopens by itself`),
    ...set_aside.map(({ path, reason }) => `${foreignLine(path)} was unreadable (${foreignLine(reason)}) and was set aside; nothing was deleted`),
    ...(audit.failed > 0
      ? [`${audit.failed} audit lines could not be written (${foreignLine(audit.last_failure ?? "unknown reason")}); look at the disk`]
      : []),
  ];
}
