import type { Command } from "commander";
import { isSessiondError, type DaemonStatus } from "@sessiond/client";
import { runDaemon } from "@sessiond/client/node";
import { exitCodes, Failure } from "../exit-codes.ts";
import { say } from "../notice.ts";
import { withExamples } from "../options.ts";
import { reach } from "../reach.ts";
import { foreignLine } from "../screen.ts";
import { bracketed, urlOf } from "../tcp-words.ts";

export function declare(command: Command): void {
  withExamples(
    command
      .option("--listen <address:port>", "beside its socket also on TCP, for API keys and tokens: 127.0.0.1:7717")
      .option("--foreground", "be the daemon, for a supervisor or to see why it does not start")
      .addHelpText("after", "\nStarted like this the daemon never leaves by itself. It keeps the environment of this shell: set a model's key first."),
    "sessiond up",
    "OPENAI_API_KEY=… sessiond up",
    "sessiond up --foreground",
    "sessiond up --listen 127.0.0.1:7717",
  ).action((options: UpOptions) => up(options));
}

interface UpOptions {
  readonly foreground?: true;
  readonly listen?: string;
}

async function up({ foreground, listen }: UpOptions): Promise<void> {
  const running = await statusOfRunning();
  if (running !== null) return already(running, listen);
  if (foreground) {
    say("the daemon runs in the foreground; Ctrl-C drains and ends it. Its log is daemon.log in the state directory");
    const code = await runDaemon({ env: process.env, listen });
    if (code !== 0) throw new Failure("failed", `The daemon ended with ${code}; what it wrote above, and daemon.log, say why.`);
    return;
  }
  const status = await (await reach("up", {}, { startedBy: "hand", listen })).status();
  // Another process may have started one in the same moment.
  if (status.started_by !== "hand" || !listensAt(status, listen)) return already(status, listen);
  process.stdout.write(`up, pid ${status.pid}\n`);
  if (status.tcp !== null) process.stdout.write(`listens on ${foreignLine(urlOf(status.tcp))}\n`);
}

function already(status: DaemonStatus, listen: string | undefined): void {
  const { pid, started_by } = status;
  if (!listensAt(status, listen)) {
    const taken = status.problems.find(({ what }) => status.tcp === null && listen !== undefined && what.includes(listen.toLowerCase()));
    if (taken !== undefined) throw new Failure("failed", `The daemon runs, pid ${pid}, on its socket alone: ${taken.what}. What helps: ${taken.mend}.`);
    const where = status.tcp === null ? "on its socket alone" : `on ${foreignLine(urlOf(status.tcp))}`;
    throw new Failure(
      "failed",
      `A daemon runs already, pid ${pid}, and listens ${where}. \`sessiond down\` ends it; then \`sessiond up --listen ${listen}\` starts one that listens there.`,
    );
  }
  process.stdout.write(`already up, pid ${pid}\n`);
  if (started_by === "client") say("a client started it, so it leaves when it has been idle; `sessiond down`, then `sessiond up`, makes it stay");
  process.exitCode = exitCodes.done;
}

/** Also by another name of the same place; port 0 is any. */
function listensAt({ tcp }: DaemonStatus, asked: string | undefined): boolean {
  if (asked === undefined) return true;
  const [, host = "", port = ""] = /^(.*):(\d+)$/.exec(asked.toLowerCase()) ?? [];
  if (tcp === null || (Number(port) !== 0 && Number(port) !== tcp.port)) return false;
  return host === bracketed(tcp.address) || tcp.hosts.includes(`${host}:${tcp.port}`);
}

async function statusOfRunning(): Promise<DaemonStatus | null> {
  try {
    return await (await reach("up", {}, { autoStart: false })).status();
  } catch (error) {
    if (isSessiondError(error, "daemon_unreachable") && error.detail["nobody"] === true) return null;
    throw error;
  }
}
