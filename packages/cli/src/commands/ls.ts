import { homedir } from "node:os";
import type { Command } from "commander";
import type { SessionListing } from "@sessiond/client";
import { say } from "../notice.ts";
import { jsonOption, withExamples } from "../options.ts";
import { find } from "../reach.ts";
import { colourOn, foreignLine, painted } from "../screen.ts";
import { allSessions, shortId } from "../which-session.ts";

export function declare(command: Command): void {
  withExamples(
    command
      .option("-a, --all", "also stopped sessions")
      .addOption(jsonOption("print each session as one line of JSON"))
      .addHelpText("after", "\nOnly looks: starts no daemon (exit code 4 when none runs)."),
    "sessiond ls",
    "sessiond ls --all --json | jq -r .workdir",
  ).action((options: { readonly all?: true; readonly json?: true }) => ls(options));
}

async function ls({ all, json }: { readonly all?: true; readonly json?: true }): Promise<void> {
  const host = await find("ls");
  const everything = await allSessions(host);
  const sessions = everything.filter((listing) => all || listing.life_state !== "stopped");
  if (json) return sessions.forEach((listing) => process.stdout.write(`${JSON.stringify(listing)}\n`));
  const hidden = everything.length - sessions.length;
  if (sessions.length === 0)
    return say(hidden > 0 ? `no session is live; ${hidden} stopped (--all shows them)` : 'no sessions yet; `sessiond run "…"` starts one');
  const rows = sessions.map(rowOf);
  const heads = ["SESSION", "STATE", "DRIVER", "WORKDIR"];
  const widths = heads.map((head, column) => Math.max(head.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join("  ");
  process.stdout.write(`${painted(line(heads), "dim", colourOn(process.stdout))}\n`);
  for (const row of rows) process.stdout.write(`${line(row)}\n`);
}

function rowOf(listing: SessionListing): string[] {
  const { pending_approvals: asks = 0, seats = 0, driver, fault } = listing;
  const watchers = seats - (driver === undefined ? 0 : 1);
  const state = fault !== undefined ? "faulted" : listing.life_state === "live" ? (listing.status ?? "live").replaceAll("_", " ") : listing.life_state;
  return [
    shortId(listing.session_id),
    asks > 1 ? `${state} (${asks} questions)` : state,
    `${foreignLine(driver ?? "-")}${watchers > 0 ? ` +${watchers} watching` : ""}`,
    `${homeShort(foreignLine(listing.workdir))}${listing.stable ? "" : " (extra)"}`,
  ];
}

const homeShort = (path: string): string => {
  const home = homedir();
  return path === home || path.startsWith(`${home}/`) ? `~${path.slice(home.length)}` : path;
};
