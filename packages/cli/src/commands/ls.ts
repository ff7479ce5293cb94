import type { Command } from "commander";
import type { SessionListing } from "@sessiond/client";
import { say } from "../notice.ts";
import { addReachOptions, jsonOption, withExamples } from "../options.ts";
import { find, type ReachFlags } from "../reach.ts";
import { foreignLine, jsonLine } from "../screen.ts";
import { clip, printTable } from "../table.ts";
import { allSessions, homeShort, shortId } from "../which-session.ts";

interface LsOptions extends ReachFlags {
  readonly all?: true;
  readonly json?: true;
}

export function declare(command: Command): void {
  withExamples(
    command
      .option("-a, --all", "also stopped sessions")
      .addOption(jsonOption("print each session as one line of JSON"))
      .addHelpText("after", "\nOnly looks: starts no daemon (exit code 4 when none runs)."),
    "sessiond ls",
    "sessiond ls --all --json | jq -r .workdir",
  ).action((options: LsOptions) => ls(options));
  addReachOptions(command);
}

async function ls({ all, json, ...where }: LsOptions): Promise<void> {
  const host = await find("ls", where);
  const everything = await allSessions(host);
  const sessions = everything.filter((listing) => all || listing.life_state !== "stopped");
  if (json) return sessions.forEach((listing) => process.stdout.write(jsonLine(listing)));
  const hidden = everything.length - sessions.length;
  if (sessions.length === 0)
    return say(hidden > 0 ? `no session is live; ${hidden} stopped (--all shows them)` : 'no sessions yet; `sessiond run "…"` starts one');
  const rows = sessions.map(rowOf);
  printTable(process.stdout, ["SESSION", "STATE", "DRIVER", "WORKDIR"], rows);
}

const titleChars = 40;

function rowOf(listing: SessionListing): string[] {
  const { approvals = [], seats = 0, driver, fault, starred, title } = listing;
  const watchers = seats - (driver === undefined ? 0 : 1);
  const state = fault !== undefined ? "faulted" : listing.life_state === "live" ? (listing.status ?? "live").replaceAll("_", " ") : listing.life_state;
  return [
    shortId(listing.session_id),
    approvals.length > 1 ? `${state} (${approvals.length} questions)` : state,
    `${foreignLine(driver ?? "-")}${watchers > 0 ? ` +${watchers} watching` : ""}`,
    `${starred ? "★ " : ""}${homeShort(foreignLine(listing.workdir))}${listing.stable ? "" : " (extra)"}${title == null ? "" : `  “${clip(foreignLine(title), titleChars)}”`}`,
  ];
}
