import type { Command } from "commander";
import type { Finding, VerifiedSession } from "@sessiond/shared";
import { exitCodes } from "../exit-codes.ts";
import { jsonOption, withExamples } from "../options.ts";
import { lookAfter, remains, showFinding } from "../recovery.ts";
import { colourOn, foreignLine, jsonLine, painted } from "../screen.ts";
import { homeShort, shortId } from "../which-session.ts";

export function declare(command: Command): void {
  withExamples(
    command
      .argument("[sessions...]", "ids, unique beginnings of ids, or directories (default: all sessions)")
      .addOption(jsonOption("print one object"))
      .addHelpText(
        "after",
        "\nReads every line of the journals and changes nothing: starts, wakes and locks nothing, beside a running daemon or without one. Exit code 0: whole, 1: something is damaged. What only a kill can leave behind, an unfinished last line that nobody was shown, is told and is no damage. Lines have no checksums: a letter changed into another one inside somebody's words may not be seen.",
      ),
    "sessiond verify",
    "sessiond verify ses_4fK2",
    "sessiond verify --json | jq '.sessions[] | select(.whole | not)'",
  ).action((names: string[], options: { readonly json?: true }) => verify(names, options));
}

async function verify(names: readonly string[], { json }: { readonly json?: true }): Promise<void> {
  const findings: Finding[] = [];
  const sessions: VerifiedSession[] = [];
  const bar = process.stderr.isTTY === true;
  await lookAfter(["verify", ...(bar ? ["--progress"] : []), "--", ...names], (line) => {
    if (bar) process.stderr.write(line.type === "progress" ? `\r\u001b[K${shortId(line.what)}  ${Math.floor((100 * line.done) / line.of)} %` : "\r\u001b[K");
    if (line.type === "finding") findings.push(line.finding);
    if (line.type === "session") sessions.push(line.session);
    if (json) return;
    if (line.type === "finding") showFinding(process.stdout, line.finding);
    if (line.type === "session") show(line.session);
  });
  if (bar) process.stderr.write("\r\u001b[K");
  const damaged = sessions.filter(({ whole }) => !whole).length;
  const whole = damaged === 0 && !findings.some(remains);
  if (json) process.stdout.write(jsonLine({ whole, findings, sessions }));
  else process.stdout.write(`${closing(sessions.length, damaged, whole)}\n`);
  process.exitCode = whole ? exitCodes.done : exitCodes.failed;
}

function show(session: VerifiedSession): void {
  const { session_id, workdir, whole, frames, segments, bytes, compacted_through, findings } = session;
  const colour = colourOn(process.stdout);
  const sign = painted(whole ? "ok     " : "damaged", whole ? "green" : "red", colour);
  const size = `${counted(frames, "frame")}, ${counted(segments, "segment")}, ${sized(bytes)}${compacted_through > 0 ? `, compacted up to ${compacted_through.toLocaleString("en-US")}` : ""}`;
  process.stdout.write(`${sign}  ${shortId(session_id)}  ${size}  ${painted(workdir === null ? "" : homeShort(foreignLine(workdir)), "dim", colour)}\n`);
  for (const finding of findings) showFinding(process.stdout, finding, "  ");
}

function closing(sessions: number, damaged: number, whole: boolean): string {
  if (sessions === 0) return whole ? "no sessions" : "no session could be read";
  if (damaged > 0) return `${counted(sessions, "session")}, ${damaged} damaged`;
  return `${counted(sessions, "session")}, ${whole ? "all whole" : "each whole by itself; see above"}`;
}

const counted = (n: number, one: string): string => `${n.toLocaleString("en-US")} ${one}${n === 1 ? "" : "s"}`;
const sized = (bytes: number): string => (bytes < 1_000_000 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`);
