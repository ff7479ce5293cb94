import { once } from "node:events";
import type { Command } from "commander";
import { auditHeads, auditWords, type Entry } from "../audit-words.ts";
import { exitCodes } from "../exit-codes.ts";
import { onGoodbye, onInterrupt } from "../interrupts.ts";
import { say } from "../notice.ts";
import { jsonOption, withExamples } from "../options.ts";
import { lookAfter } from "../recovery.ts";
import { colourOn, jsonLine, painted } from "../screen.ts";

interface AuditOptions {
  readonly session?: string;
  readonly follow?: true;
  readonly json?: true;
}

export function declare(command: Command): void {
  withExamples(
    command
      .option("-s, --session <id>", "only that session's: id, unique beginning, or directory")
      .option("-f, --follow", "go on with what comes, until Ctrl-C")
      .addOption(jsonOption("print the lines as they stand in the file"))
      .addHelpText(
        "after",
        "\nOne line for each call that changes something, each refusal, each attach, and each transcript read with a token: when, which verb, how it ended, on which session, by which seat, token or key. Never what was said, never a secret. Floods of refusals, and of calls or reads by one token or key, are counted. Reads the files themselves, oldest first, with a daemon running or without, and starts none; a line that a crash has torn is left out, and named.",
      ),
    "sessiond audit",
    "sessiond audit --follow --session ses_4fK2",
    "sessiond audit --json | jq -c 'select(.outcome != \"ok\")'",
  ).action((options: AuditOptions) => audit(options));
}

async function audit({ session, follow, json }: AuditOptions): Promise<void> {
  onGoodbye();
  onInterrupt(() => false, exitCodes.done);
  const colour = colourOn(process.stdout);
  let lines = 0;
  const show = async (text: string): Promise<void> => {
    lines += 1;
    // A file of many megabytes, and a pager that has not read that far.
    if (!process.stdout.write(text)) await once(process.stdout, "drain");
  };
  await lookAfter(["audit", ...(follow ? ["--follow"] : []), ...(session === undefined ? [] : [`--session=${session}`])], async (line) => {
    if (line.type === "torn") say(`line ${line.line} of ${line.file} is torn and left out`);
    if (line.type !== "audit") return;
    // It was looked at by who read it: an object.
    const entry = JSON.parse(line.entry) as Entry;
    if (json) return show(jsonLine(entry));
    if (lines === 0) await show(`${painted(auditHeads(), "dim", colour)}\n`);
    const { text, style } = auditWords(entry);
    await show(`${painted(text, style, colour)}\n`);
  });
  if (lines === 0) say(session === undefined ? "nothing has been written to the audit file yet" : "the audit file has no line of that session");
}
