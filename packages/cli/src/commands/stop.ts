import { resolve } from "node:path";
import type { Command } from "commander";
import { sessionArgument, withExamples, workdirOption } from "../options.ts";
import { reach } from "../reach.ts";
import { existingSession, shortId } from "../which-session.ts";

export function declare(command: Command): void {
  withExamples(
    command.argument("[session]", sessionArgument).addOption(workdirOption()),
    "sessiond stop",
    "sessiond stop --workdir ~/app",
    "sessiond stop ses_4fK2",
  ).action((name: string | undefined, options: { readonly workdir?: string }) => stop(name, options));
}

async function stop(name: string | undefined, { workdir }: { readonly workdir?: string }): Promise<void> {
  const host = await reach("stop");
  if (name === undefined && workdir !== undefined) {
    const { sessionId } = await host.stopWorkdirSession(resolve(workdir));
    return void process.stdout.write(`stopped ${shortId(sessionId)}; its conversation is kept\n`);
  }
  const listing = await existingSession(host, { session: name, workdir });
  await host.session(listing.session_id).stop();
  process.stdout.write(`stopped ${shortId(listing.session_id)}; its conversation is kept\n`);
}
