import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { readToken, type Session } from "@sessiond/client";
import { takeSeat } from "../driving.ts";
import { Failure } from "../exit-codes.ts";
import { onGoodbye } from "../interrupts.ts";
import { say } from "../notice.ts";
import { addReachOptions, jsonOption, labelOption, sessionArgument, withExamples, workdirOption } from "../options.ts";
import { reach, reachSession, type ReachFlags } from "../reach.ts";
import { sitAsDriver, sitAsViewer } from "../sitting.ts";
import { existingSession } from "../which-session.ts";

interface AttachOptions extends ReachFlags {
  readonly workdir?: string;
  readonly view?: true;
  readonly json?: true;
  readonly tokenFile?: string;
  readonly label?: string;
}

export function declare(command: Command): void {
  withExamples(
    command
      .argument("[session]", sessionArgument)
      .addOption(workdirOption())
      .option("--view", "only look: nothing is ever sent")
      .addOption(labelOption())
      .addOption(jsonOption("print each event as one line of JSON"))
      .option("--token-file <file>", "use the token in that file instead of the host key; it names the session")
      .addHelpText(
        "after",
        "\nAs driver: type prompts, answer questions; /help lists what else can be typed. /detach or Ctrl-D leaves and the work goes on. `sessiond take` gets the wheel from another driver.",
      ),
    "sessiond attach",
    "sessiond attach --view ses_4fK2",
    "sessiond attach --view --token-file ./token",
    "sessiond attach --view --json | jq .frame.event.type",
  ).action((name: string | undefined, options: AttachOptions) => attach(name, options));
  addReachOptions(command);
}

async function attach(name: string | undefined, options: AttachOptions): Promise<void> {
  onGoodbye();
  const session = await open(name, options);
  const json = options.json === true;
  if (options.view) return sitAsViewer({ session, seat: await session.attach({ as: "viewer", label: options.label }), json });
  process.exitCode = await sitAsDriver({ session, seat: await takeSeat(session, "fail", say, options.label), json });
}

async function open(name: string | undefined, options: AttachOptions): Promise<Session> {
  if (options.tokenFile !== undefined) {
    if (name !== undefined || options.workdir !== undefined) throw new Failure("usage", "The token names the session; give no other name.");
    return reachSession("attach", tokenIn(options.tokenFile), options);
  }
  const host = await reach("attach", options);
  const listing = await existingSession(host, { session: name, workdir: options.workdir });
  return host.openSession(listing.session_id, { right: options.view ? "view" : "control" });
}

function tokenIn(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8").trim();
  } catch {
    throw new Failure("usage", `${file} cannot be read. \`sessiond token mint > ${file}\` makes one.`);
  }
  if (readToken(text) === null)
    throw new Failure("not_authorised", `${file} holds no whole token, and nothing else may stand in it. \`sessiond token mint > ${file}\` makes one.`);
  return text;
}
