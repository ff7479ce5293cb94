import type { Command } from "commander";
import { addReachOptions, sessionArgument, withExamples, workdirOption } from "../options.ts";
import { handleOf, reach, type ReachFlags } from "../reach.ts";
import { existingSession, shortId } from "../which-session.ts";

interface InterruptOptions extends ReachFlags {
  readonly workdir?: string;
}

export function declare(command: Command): void {
  withExamples(command.argument("[session]", sessionArgument).addOption(workdirOption()), "sessiond interrupt", "sessiond interrupt ses_4fK2").action(
    (name: string | undefined, options: InterruptOptions) => interrupt(name, options),
  );
  addReachOptions(command);
}

async function interrupt(name: string | undefined, { workdir, ...where }: InterruptOptions): Promise<void> {
  const host = await reach("interrupt", where);
  const listing = await existingSession(host, { session: name, workdir });
  const { interrupted, queue } = await (await handleOf(host, listing.session_id, "control")).interrupt();
  process.stdout.write(interrupted ? `interrupted ${shortId(listing.session_id)}\n` : `nothing was running in ${shortId(listing.session_id)}\n`);
  const held = queue.filter((prompt) => prompt.held).length;
  if (held > 0) process.stdout.write(`${held} queued ${held === 1 ? "prompt is" : "prompts are"} held; \`sessiond queue release\` lets them run\n`);
}
