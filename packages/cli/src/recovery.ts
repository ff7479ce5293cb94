import { runEntry } from "@sessiond/client/node";
import { holdsSecret, type Finding, type RecoveryLine } from "@sessiond/shared";
import { Failure } from "./exit-codes.ts";
import { colourOn, foreignLine, painted, type Sink, type Style } from "./screen.ts";
import { homeShort } from "./which-session.ts";

/**
 * What `doctor`, `verify` and `audit` have in common: they have the daemon's bundle look, as a process of its
 * own that needs no daemon, and show what it found.
 */
export async function lookAfter(words: readonly string[], told: (line: RecoveryLine) => void | Promise<void>): Promise<void> {
  // It would stand in the arguments of one process more.
  if (words.some(holdsSecret)) throw new Failure("usage", "There is a token or key in the place of a name, and nothing is named by one.");
  let ended = false;
  let refused: string | null = null;
  const code = await runEntry(process.env, words, (text) => {
    const line = parsed(text);
    if (line === null) return;
    if (line.type === "end") ended = true;
    else if (line.type === "refused") refused = line.reason;
    else return told(line);
  });
  if (refused !== null)
    throw new Failure("usage", `${String(refused)}. \`sessiond ${words[0]}\` without a name ${words[0] === "audit" ? "shows all of it" : "reads them all"}.`);
  if (!ended) throw new Failure("failed", `The look at the daemon's files ended early, with ${code}; what it found until then is not all there is.`);
}

/** Null for what is no line of ours: then it was not our entry that ran, and no end comes either. */
function parsed(text: string): RecoveryLine | null {
  try {
    return JSON.parse(text) as RecoveryLine;
  } catch {
    return null;
  }
}

const signs: Readonly<Record<"wrong" | "note" | "done", readonly [sign: string, style: Style]>> = {
  wrong: ["!", "yellow"],
  note: ["·", "dim"],
  done: ["✓", "green"],
};

/** A finding as a person reads it: what, where, what happens by itself, how to mend it. */
export function showFinding(sink: Sink, finding: Finding, indent = ""): void {
  const { what, path, line, offset, next_start, mend, fix, weight } = finding;
  const colour = colourOn(sink);
  const [sign, style] = signs[fix === "done" ? "done" : weight];
  const row = (name: string, text: string): void => void sink.write(`${indent}  ${painted(`${name}:`, "dim", colour)} ${foreignLine(text)}\n`);
  sink.write(`${indent}${painted(sign, style, colour)} ${foreignLine(what)}\n`);
  const at = [
    path !== undefined && !what.includes(path) ? homeShort(path) : "",
    line === undefined ? "" : `line ${line}`,
    offset === undefined ? "" : `byte ${offset}`,
  ];
  if (at.some(Boolean)) row("at", at.filter(Boolean).join(", "));
  if (fix === "done") return row("mended", "by --fix");
  if (next_start !== undefined) row("next start", next_start);
  row("mend", fix === "after_down" ? `${mend} (not beside a running daemon: \`sessiond down\` first)` : mend);
}

/** Something is wrong that nobody has mended. */
export const remains = ({ weight, fix }: Finding): boolean => weight === "wrong" && fix !== "done";
