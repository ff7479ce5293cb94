import type { Command } from "commander";
import { sessionArgument, withExamples, workdirOption } from "../options.ts";
import { reach } from "../reach.ts";
import { existingSession, shortId } from "../which-session.ts";

export function declare(command: Command): void {
  withExamples(command.argument("[session]", sessionArgument).addOption(workdirOption()), "sessiond interrupt", "sessiond interrupt ses_4fK2").action(
    (name: string | undefined, options: { readonly workdir?: string }) => interrupt(name, options),
  );
}

async function interrupt(name: string | undefined, { workdir }: { readonly workdir?: string }): Promise<void> {
  const host = await reach("interrupt");
  const listing = await existingSession(host, { session: name, workdir });
  const { interrupted, queue } = await host.session(listing.session_id).interrupt();
  process.stdout.write(interrupted ? `interrupted ${shortId(listing.session_id)}\n` : `nothing was running in ${shortId(listing.session_id)}\n`);
  const held = queue.filter((prompt) => prompt.held).length;
  if (held > 0) process.stdout.write(`${held} queued ${held === 1 ? "prompt is" : "prompts are"} held; \`sessiond queue release\` lets them run\n`);
}
