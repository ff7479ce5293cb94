import type { Command } from "commander";
import { withExamples, workdirOption } from "../options.ts";
import { reach } from "../reach.ts";
import { existingSession, shortId } from "../which-session.ts";

export function declare(command: Command): void {
  withExamples(
    command.argument("[session]", "id, unique beginning of an id, or directory (default: this directory's session)").addOption(workdirOption()),
    "sessiond stop",
    "sessiond stop ~/app",
    "sessiond stop ses_4fK2",
  ).action((name: string | undefined, options: { readonly workdir?: string }) => stop(name, options));
}

async function stop(name: string | undefined, { workdir }: { readonly workdir?: string }): Promise<void> {
  const host = await reach("stop");
  const listing = await existingSession(host, { session: name, workdir });
  await host.session(listing.session_id).stop();
  process.stdout.write(`stopped ${shortId(listing.session_id)}; its conversation is kept\n`);
}
