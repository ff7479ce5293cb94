import type { Command } from "commander";
import type { DriverSeat, Host, QueuedPrompt } from "@sessiond/client";
import { takeSeat } from "../driving.ts";
import { Failure } from "../exit-codes.ts";
import { say } from "../notice.ts";
import { jsonOption, sessionOption, withExamples, workdirOption } from "../options.ts";
import { reach } from "../reach.ts";
import { foreignLine } from "../screen.ts";
import { existingSession, type SessionName } from "../which-session.ts";

export function declare(command: Command): void {
  const part = (name: string, summary: string): Command => command.command(name).description(summary).addOption(sessionOption()).addOption(workdirOption());
  withExamples(command, "sessiond queue list", "sessiond queue withdraw prm_8sJ1", "sessiond queue release");
  withExamples(part("list", "what waits, oldest first").addOption(jsonOption()), "sessiond queue list --json").action(
    (options: SessionName & { json?: true }) => list(options),
  );
  withExamples(part("withdraw", "take a queued prompt back").argument("<prompt>", "its id, or a unique beginning"), "sessiond queue withdraw prm_8sJ1").action(
    (id: string, options: SessionName) => withdraw(id, options),
  );
  withExamples(part("release", "let held prompts run"), "sessiond queue release").action((options: SessionName) => release(options));
}

async function list({ json, ...name }: SessionName & { json?: true }): Promise<void> {
  const host = await reach("queue");
  const { queue } = await host.session((await existingSession(host, name)).session_id).info();
  if (json) return queue.forEach((prompt) => process.stdout.write(`${JSON.stringify(prompt)}\n`));
  if (queue.length === 0) return say("nothing is queued");
  for (const prompt of queue) process.stdout.write(`${prompt.prompt_id}  ${prompt.held ? "held   " : "waiting"}  ${titleOf(prompt)}\n`);
}

async function withdraw(id: string, name: SessionName): Promise<void> {
  const seat = await drive(await reach("queue"), name);
  const matching = seat.state.queue.filter((prompt) => prompt.prompt_id.startsWith(id));
  const [only, second] = matching;
  if (only === undefined)
    throw new Failure("usage", `No queued prompt's id begins with ${id}; it may have run already. \`sessiond queue list\` shows what waits.`);
  if (second !== undefined) throw new Failure("usage", `${matching.length} queued prompts' ids begin with ${id}; give more of it.`);
  await seat.withdrawPrompt(only.prompt_id);
  process.stdout.write(`withdrawn ${only.prompt_id}\n`);
}

async function release(name: SessionName): Promise<void> {
  const { released } = await (await drive(await reach("queue"), name)).releaseQueue();
  process.stdout.write(released.length === 0 ? "nothing was held\n" : released.map((id) => `released ${id}\n`).join(""));
}

async function drive(host: Host, name: SessionName): Promise<DriverSeat> {
  return takeSeat(await host.openSession((await existingSession(host, name)).session_id), "fail", say);
}

const titleChars = 80;
function titleOf({ parts }: QueuedPrompt): string {
  const title = foreignLine(parts.map((part) => part.text).join("\n"));
  return title.length > titleChars ? `${title.slice(0, titleChars - 1)}…` : title;
}
