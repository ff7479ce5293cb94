import { text as readAll } from "node:stream/consumers";
import type { Command } from "commander";
import { takeSeat } from "../driving.ts";
import { Failure } from "../exit-codes.ts";
import { say } from "../notice.ts";
import { addReachOptions, sessionOption, withExamples, workdirOption } from "../options.ts";
import { reach, type ReachFlags } from "../reach.ts";
import { existingSession, type SessionName } from "../which-session.ts";

export function declare(command: Command): void {
  withExamples(
    command
      .argument("<text>", "the note; `-` reads it from stdin")
      .addOption(sessionOption())
      .addOption(workdirOption())
      .addHelpText("after", "\nWhoever reads the transcript sees it; the model never gets it. Needs the driver's seat, for a moment."),
    'sessiond note "deployed at noon, look here first"',
    "git log -1 | sessiond note -",
  ).action((text: string, options: SessionName & ReachFlags) => note(text, options));
  addReachOptions(command);
}

async function note(given: string, options: SessionName & ReachFlags): Promise<void> {
  const text = given === "-" ? (await readAll(process.stdin)).trimEnd() : given;
  if (text.trim() === "") throw new Failure("usage", "The note is empty.");
  const host = await reach("note", options);
  const session = await host.openSession((await existingSession(host, options)).session_id);
  const seat = await takeSeat(session, "fail", say);
  await seat.addSystemMessage(text);
  await seat.detach();
  process.stdout.write("noted\n");
}
