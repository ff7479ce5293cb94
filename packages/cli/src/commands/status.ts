import { Option, type Command } from "commander";
import type { DaemonStatus } from "@sessiond/client";
import { spoken } from "../duration.ts";
import { jsonOption, withExamples } from "../options.ts";
import { find } from "../reach.ts";
import { colourOn, foreign, foreignLine, jsonLine, painted } from "../screen.ts";
import { urlOf } from "../tcp-words.ts";

export function declare(command: Command): void {
  withExamples(
    command
      .addOption(jsonOption("print it as one line of JSON"))
      .addOption(new Option("--metrics", "print the daemon's figures, as Prometheus reads them").conflicts("json"))
      .addHelpText("after", "\nOnly looks: starts no daemon (exit code 4 when none runs)."),
    "sessiond status",
    "sessiond status --json | jq .sessions.live",
    "sessiond status --metrics | grep sessiond_approvals_pending",
  ).action((options: Options) => status(options));
}

interface Options {
  readonly json?: true;
  readonly metrics?: true;
}

async function status({ json, metrics }: Options): Promise<void> {
  const host = await find("status");
  if (metrics) return void process.stdout.write(foreign(await host.metrics()));
  const facts = await host.status();
  if (json) return void process.stdout.write(jsonLine(facts));
  const { sessions } = facts;
  const lines: [string, string][] = [
    ["daemon", `${stateOf(facts)}, pid ${facts.pid}, version ${facts.version}, up ${spoken(Date.now() - facts.started_at)}`],
    ["started by", facts.started_by === "hand" ? "hand (stays until `sessiond down`)" : "a client (leaves when nobody has used it for a while)"],
    ["socket", facts.socket],
    ...(facts.tcp === null ? [] : [["tcp", `${urlOf(facts.tcp)}, goes by ${facts.tcp.hosts.join(", ")}`] as [string, string]]),
    ["state", facts.state_dir],
    ["sessions", `${sessions.live} live, ${sessions.resting} resting, ${sessions.stopped} stopped`],
    ["turns", `${facts.turns_running} running, ${facts.pending_approvals} ${facts.pending_approvals === 1 ? "question" : "questions"} open`],
    ["attached", `${facts.seats} ${facts.seats === 1 ? "seat" : "seats"}, ${facts.connections} ${facts.connections === 1 ? "connection" : "connections"}`],
  ];
  if (facts.orphans_ended > 0)
    lines.push(["orphans", `${facts.orphans_ended} ${facts.orphans_ended === 1 ? "process" : "processes"} of an earlier daemon ended at the start`]);
  const colour = colourOn(process.stdout);
  for (const [name, value] of lines) process.stdout.write(`${painted(name.padEnd(10), "dim", colour)}  ${foreignLine(value)}\n`);
  for (const { what, mend } of facts.problems) {
    process.stdout.write(`${painted("!", "yellow", colour)} ${foreignLine(what)}\n`);
    process.stdout.write(`  ${painted("mend:", "dim", colour)} ${foreignLine(mend)}\n`);
  }
}

function stateOf({ draining, ready }: DaemonStatus): string {
  if (draining) return "shutting down";
  return ready ? "running" : "starting (it still opens sessions)";
}
