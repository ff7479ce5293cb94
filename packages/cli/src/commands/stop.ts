import { resolve } from "node:path";
import type { Command } from "commander";
import { addReachOptions, sessionArgument, withExamples, workdirOption } from "../options.ts";
import { reach, type ReachFlags } from "../reach.ts";
import { existingSession, shortId } from "../which-session.ts";

interface StopOptions extends ReachFlags {
  readonly workdir?: string;
}

export function declare(command: Command): void {
  withExamples(
    command.argument("[session]", sessionArgument).addOption(workdirOption()),
    "sessiond stop",
    "sessiond stop --workdir ~/app",
    "sessiond stop ses_4fK2",
  ).action((name: string | undefined, options: StopOptions) => stop(name, options));
  addReachOptions(command);
}

async function stop(name: string | undefined, { workdir, ...where }: StopOptions): Promise<void> {
  const host = await reach("stop", where);
  if (name === undefined && workdir !== undefined) {
    const { sessionId } = await host.stopWorkdirSession(resolve(workdir));
    return void process.stdout.write(`stopped ${shortId(sessionId)}; its conversation is kept\n`);
  }
  const listing = await existingSession(host, { session: name, workdir });
  await host.session(listing.session_id).stop();
  process.stdout.write(`stopped ${shortId(listing.session_id)}; its conversation is kept\n`);
}
