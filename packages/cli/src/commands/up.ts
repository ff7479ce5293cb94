import type { Command } from "commander";
import { isSessiondError } from "@sessiond/client";
import { runDaemon } from "@sessiond/client/node";
import { exitCodes, Failure } from "../exit-codes.ts";
import { say } from "../notice.ts";
import { withExamples } from "../options.ts";
import { reach } from "../reach.ts";

export function declare(command: Command): void {
  withExamples(
    command
      .option("--foreground", "be the daemon's parent and wait for it, for a supervisor or to see why it does not start")
      .addHelpText("after", "\nStarted like this the daemon never leaves by itself. It keeps the environment of this shell: set a model's key first."),
    "sessiond up",
    "OPENAI_API_KEY=… sessiond up",
    "sessiond up --foreground",
  ).action((options: { readonly foreground?: true }) => up(options));
}

async function up({ foreground }: { readonly foreground?: true }): Promise<void> {
  const running = await pidOfRunning();
  if (running !== null) return already(running);
  if (foreground) {
    say("the daemon runs in the foreground; Ctrl-C drains and ends it. Its log is daemon.log in the state directory");
    const code = await runDaemon({ env: process.env });
    if (code !== 0) throw new Failure("failed", `The daemon ended with ${code}; what it wrote above, and daemon.log, say why.`);
    return;
  }
  const host = await reach("up", { startedBy: "hand" });
  const { pid, started_by } = await host.status();
  // Another process may have started one in the same moment.
  if (started_by !== "hand") return already({ pid, started_by });
  process.stdout.write(`up, pid ${pid}\n`);
}

function already({ pid, started_by }: { readonly pid: number; readonly started_by: "client" | "hand" }): void {
  process.stdout.write(`already up, pid ${pid}\n`);
  if (started_by === "client") say("a client started it, so it leaves when it has been idle; `sessiond down`, then `sessiond up`, makes it stay");
  process.exitCode = exitCodes.done;
}

async function pidOfRunning(): Promise<{ pid: number; started_by: "client" | "hand" } | null> {
  try {
    return await (await reach("up", { autoStart: false })).status();
  } catch (error) {
    if (isSessiondError(error, "daemon_unreachable") && error.detail["nobody"] === true) return null;
    throw error;
  }
}
