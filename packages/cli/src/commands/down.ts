import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { Command } from "commander";
import { isSessiondError } from "@sessiond/client";
import { limits } from "@sessiond/shared";
import { spoken } from "../duration.ts";
import { Failure } from "../exit-codes.ts";
import { say } from "../notice.ts";
import { wholeNumber, withExamples } from "../options.ts";
import { find } from "../reach.ts";

export function declare(command: Command): void {
  withExamples(
    command
      .option("--wait <ms>", `how long running turns may take to end (default: ${limits.drain_wait_ms})`, wholeNumber)
      .addHelpText(
        "after",
        "\nA turn that waits for an answer is kept as it is; every other that has not ended by then is interrupted. Returns when the process is gone.",
      ),
    "sessiond down",
    "sessiond down --wait 60000",
  ).action((options: { readonly wait?: number }) => down(options));
}

/** Beyond the turns' own time: killing tools, writing journals, closing. */
const closingMs = 15_000;
const sayEveryMs = 5_000;

async function down({ wait }: { readonly wait?: number }): Promise<void> {
  const host = await find("down", {}, { olderToo: true });
  const { pid, turns_running, pending_approvals } = await host.status();
  const waitMs = wait ?? limits.drain_wait_ms;
  await host.shutDown({ waitMs }).catch((error: unknown) => {
    // It may be gone before its answer is here; whether it goes is seen below.
    if (!isSessiondError(error, "daemon_unreachable")) throw error;
  });
  const busy = turns_running - pending_approvals;
  if (busy > 0) say(`${busy} ${busy === 1 ? "turn has" : "turns have"} up to ${spoken(waitMs)} to end`);
  await host.close();
  const begun = performance.now();
  let told = 0;
  while (isRunning(pid)) {
    const since = performance.now() - begun;
    if (since > waitMs + closingMs)
      throw new Failure(
        "timed_out",
        `Process ${pid} still runs ${spoken(since)} after it was told to end. \`kill ${pid}\` asks again; its sessions are on disk either way.`,
      );
    if (since - told > sayEveryMs) {
      told = since;
      say(`still ending, ${spoken(since)}`);
    }
    await pause(30);
  }
  process.stdout.write(`down, pid ${pid} is gone\n`);
}

/** A process that nobody has reaped yet runs no more. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
  try {
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return process.platform !== "linux";
  }
}
