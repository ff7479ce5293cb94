import type { Command } from "commander";
import { isSessiondError } from "@sessiond/client";
import { Failure } from "../exit-codes.ts";
import { onGoodbye } from "../interrupts.ts";
import { addReachOptions, jsonOption, labelOption, sessionArgument, withExamples, workdirOption } from "../options.ts";
import { reach, type ReachFlags } from "../reach.ts";
import { foreignLine } from "../screen.ts";
import { sitAndTake } from "../sitting.ts";
import { existingSession } from "../which-session.ts";
import type { How } from "../wheel.ts";

interface TakeOptions extends ReachFlags {
  readonly workdir?: string;
  readonly ask?: true;
  readonly force?: true;
  readonly json?: true;
  readonly label?: string;
}

export function declare(command: Command): void {
  withExamples(
    command
      .argument("[session]", sessionArgument)
      .addOption(workdirOption())
      .option("--ask", "ask whoever drives, and wait until they give it, or do not answer")
      .option("--force", "take it away from whoever drives; they go on as viewer")
      .addOption(labelOption())
      .addOption(jsonOption("print each event as one line of JSON"))
      .addHelpText(
        "after",
        "\nTakes the wheel of a session, and stays there as its driver, like `attach`. Without an option only if it is free (exit code 5 when not). The running turn, open questions and queued prompts are not touched.",
      ),
    "sessiond take",
    "sessiond take --ask --label bo",
    "sessiond take --force ses_4fK2",
  ).action((name: string | undefined, options: TakeOptions) => take(name, options));
  addReachOptions(command);
}

async function take(name: string | undefined, options: TakeOptions): Promise<void> {
  if (options.ask && options.force) throw new Failure("usage", "Choose --ask or --force, not both.");
  onGoodbye();
  const how: How = options.ask ? "ask" : options.force ? "force" : "if_free";
  const host = await reach("take", options);
  const listing = await existingSession(host, { session: name, workdir: options.workdir });
  const session = await host.openSession(listing.session_id);
  const seat = await session.attach({ as: "viewer", label: options.label });
  try {
    process.exitCode = await sitAndTake({ session, seat, json: options.json === true }, how);
  } catch (error) {
    if (how !== "ask" || !isSessiondError(error, "driver_taken")) throw error;
    throw new Failure(
      "seat_taken",
      `${foreignLine(String(error.detail["driver"] ?? "The driver"))} did not give the wheel. Ask again, or take it with \`sessiond take --force\`.`,
    );
  }
}
