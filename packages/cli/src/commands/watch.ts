import { resolve } from "node:path";
import type { Command } from "commander";
import { exitCodes } from "../exit-codes.ts";
import { HostWords } from "../host-words.ts";
import { onGoodbye, onInterrupt } from "../interrupts.ts";
import { say } from "../notice.ts";
import { addReachOptions, jsonOption, withExamples } from "../options.ts";
import { find, type ReachFlags } from "../reach.ts";
import { jsonLine } from "../screen.ts";
import { existingSession } from "../which-session.ts";

interface WatchOptions extends ReachFlags {
  readonly workdir?: string;
  readonly json?: true;
}

export function declare(command: Command): void {
  withExamples(
    command
      .argument("[sessions...]", "only these: ids, unique beginnings, directories (default: all)")
      .option("-C, --workdir <dir>", "only sessions of that directory, also those that come")
      .addOption(jsonOption("print each event as one line of JSON; the first line is the list"))
      .addHelpText(
        "after",
        "\nFirst what there is, then a line an event, until Ctrl-C. That something happened and where, never what was said: `sessiond attach --view` shows that. Starts no daemon.",
      ),
    "sessiond watch",
    "sessiond watch --workdir .",
    "sessiond watch --json | jq -c 'select(.frame.event.type == \"approval_pending\")'",
  ).action((names: readonly string[], options: WatchOptions) => watch(names, options));
  addReachOptions(command);
}

async function watch(names: readonly string[], { workdir, json, ...where }: WatchOptions): Promise<void> {
  onGoodbye();
  onInterrupt(() => false, exitCodes.done);
  const host = await find("watch", where);
  const listings = await Promise.all(names.map((name) => existingSession(host, { session: name })));
  const sessionIds = listings.length === 0 ? undefined : listings.map(({ session_id }) => session_id);
  const watching = host.observe().watch({ sessionIds, workdir: workdir === undefined ? undefined : resolve(workdir) });
  const words = new HostWords();
  let lost = false;
  watching.onChange(() => {
    // Before its first list it connects for the first time.
    if (!watching.listed || lost === (watching.connection === "reconnecting")) return;
    lost = !lost;
    say(lost ? "… reconnecting" : "connected again");
  });
  for await (const event of watching.events) {
    if (json) process.stdout.write(jsonLine(event));
    else for (const line of event.type === "list" ? words.list(event.sessions) : words.event(event.frame)) process.stdout.write(`${line}\n`);
  }
}
