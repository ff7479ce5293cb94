import type { Command } from "commander";
import { isSessiondError } from "@sessiond/client";
import { parseDuration, spoken } from "../duration.ts";
import { Failure } from "../exit-codes.ts";
import { onInterrupt } from "../interrupts.ts";
import { addReachOptions, jsonOption, sessionArgument, withExamples, workdirOption } from "../options.ts";
import { find, handleOf, type ReachFlags } from "../reach.ts";
import { foreignLine, jsonLine } from "../screen.ts";
import { existingSession } from "../which-session.ts";

const conditions = ["idle", "approval", "stopped"] as const;
type Condition = (typeof conditions)[number];

interface WaitOptions extends ReachFlags {
  readonly timeout?: number;
  readonly workdir?: string;
  readonly json?: true;
}

export function declare(command: Command): void {
  withExamples(
    command
      .argument("[what]", "idle: no turn runs and none waits to (the default); approval: a question is open; stopped: its life has ended")
      .argument("[session]", sessionArgument)
      .addOption(workdirOption())
      .option("--timeout <duration>", "give up after that long: 30s, 10m (exit code 7)", parseDuration)
      .addOption(jsonOption("print how it is then as one line of JSON"))
      .addHelpText("after", "\nOnly looks: starts no daemon and sends nothing. Ends at once where it is so already."),
    "sessiond wait && notify-send done",
    "sessiond wait approval --timeout 30s",
    "sessiond wait stopped ses_4fK2",
  ).action((what: string | undefined, name: string | undefined, options: WaitOptions) => wait(what, name, options));
  addReachOptions(command);
}

async function wait(what: string | undefined, given: string | undefined, { timeout, workdir, json, ...where }: WaitOptions): Promise<void> {
  const named = conditions.find((condition) => condition === what);
  if (what !== undefined && named === undefined && given !== undefined)
    throw new Failure("usage", `\`${what}\` is nothing to wait for; there are: ${conditions.join(", ")}.`);
  const condition: Condition = named ?? "idle";
  const name = named === undefined ? what : given;
  onInterrupt(() => false);
  const host = await find("wait", where);
  const session = await handleOf(host, (await existingSession(host, { session: name, workdir })).session_id, "view");
  const found = await session.waitFor(condition, { timeoutMs: timeout }).catch(async (error: unknown) => {
    if (!isSessiondError(error, "timeout")) throw error;
    const { life_state, status } = await session.info();
    const now = life_state === "stopped" ? "stopped" : status.replaceAll("_", " ");
    throw new Failure("timed_out", `Not ${past[condition]} within ${spoken(timeout ?? 0)}; it is ${now}. Nothing was changed.`);
  });
  if (json) return void process.stdout.write(jsonLine(found));
  if (condition !== "approval") return void process.stdout.write(`${condition}\n`);
  for (const { approval_id, tool } of found.approvals) process.stdout.write(`approval ${approval_id} ${foreignLine(tool)}\n`);
}

const past: Readonly<Record<Condition, string>> = { idle: "idle", approval: "asked anything", stopped: "stopped" };
