import { text as readAll } from "node:stream/consumers";
import type { Command } from "commander";
import type { DriverSeat, Host, QueuedPrompt } from "@sessiond/client";
import { takeSeat } from "../driving.ts";
import { Failure } from "../exit-codes.ts";
import { say } from "../notice.ts";
import { addReachOptions, jsonOption, sessionOption, withExamples, workdirOption } from "../options.ts";
import { handleOf, reach, type ReachFlags } from "../reach.ts";
import { spoken } from "../duration.ts";
import { promptText } from "../prompt-text.ts";
import { foreignLine, jsonLine } from "../screen.ts";
import { clip } from "../table.ts";
import { existingSession, type SessionName } from "../which-session.ts";

type NamedFlags = SessionName & ReachFlags;

export function declare(command: Command): void {
  const part = (name: string, summary: string): Command =>
    addReachOptions(command.command(name).description(summary).addOption(sessionOption()).addOption(workdirOption()));
  withExamples(command, "sessiond queue list", 'sessiond queue edit prm_8sJ1 "only the tests"', "sessiond queue withdraw prm_8sJ1", "sessiond queue release");
  withExamples(part("list", "what waits, oldest first: how, and since when").addOption(jsonOption()), "sessiond queue list --json").action(
    (options: NamedFlags & { json?: true }) => list(options),
  );
  withExamples(
    part("edit", "give a queued prompt another text")
      .argument("<prompt>", "its id, or a unique beginning")
      .argument("<text>", "the new text; `-` reads it from stdin"),
    'sessiond queue edit prm_8sJ1 "only the tests"',
  ).action((id: string, text: string, options: NamedFlags) => edit(id, text, options));
  withExamples(part("withdraw", "take a queued prompt back").argument("<prompt>", "its id, or a unique beginning"), "sessiond queue withdraw prm_8sJ1").action(
    (id: string, options: NamedFlags) => withdraw(id, options),
  );
  withExamples(part("release", "let held prompts run"), "sessiond queue release").action((options: NamedFlags) => release(options));
}

async function list({ json, ...name }: NamedFlags & { json?: true }): Promise<void> {
  const host = await reach("queue", name);
  const { queue } = await (await handleOf(host, (await existingSession(host, name)).session_id, "view")).info();
  if (json) return queue.forEach((prompt) => process.stdout.write(jsonLine(prompt)));
  if (queue.length === 0) return say("nothing is queued");
  const now = Date.now();
  for (const prompt of queue) process.stdout.write(`${prompt.prompt_id}  ${promptWords(prompt, now)}\n`);
}

async function edit(id: string, given: string, name: NamedFlags): Promise<void> {
  const text = given === "-" ? (await readAll(process.stdin)).trimEnd() : given;
  if (text.trim() === "") throw new Failure("usage", "The text is empty; `sessiond queue withdraw` takes a prompt back.");
  const seat = await drive(await reach("queue", name), name);
  const prompt = queued(seat, id);
  await seat.editPrompt(prompt.prompt_id, text);
  process.stdout.write(`edited ${prompt.prompt_id}\n`);
}

async function withdraw(id: string, name: NamedFlags): Promise<void> {
  const seat = await drive(await reach("queue", name), name);
  const only = queued(seat, id);
  await seat.withdrawPrompt(only.prompt_id);
  process.stdout.write(`withdrawn ${only.prompt_id}\n`);
}

async function release(name: NamedFlags): Promise<void> {
  const { released } = await (await drive(await reach("queue", name), name)).releaseQueue();
  process.stdout.write(released.length === 0 ? "nothing was held\n" : released.map((id) => `released ${id}\n`).join(""));
}

async function drive(host: Host, name: NamedFlags): Promise<DriverSeat> {
  return takeSeat(await host.openSession((await existingSession(host, name)).session_id), "fail", say);
}

/** @throws Failure usage */
function queued(seat: DriverSeat, id: string): QueuedPrompt {
  const matching = seat.state.queue.filter((prompt) => prompt.prompt_id.startsWith(id));
  const [only, second] = matching;
  if (only === undefined)
    throw new Failure("usage", `No queued prompt's id begins with ${id}; it may have run already. \`sessiond queue list\` shows what waits.`);
  if (second !== undefined) throw new Failure("usage", `${matching.length} queued prompts' ids begin with ${id}; give more of it.`);
  return only;
}

const titleChars = 60;

/** How it waits, since when, and how it begins. */
export function promptWords({ parts, held, when_busy, at }: QueuedPrompt, now: number): string {
  const how = held ? "held" : when_busy === "steer" ? "steers" : when_busy === "interrupt" ? "next" : "waits";
  return `${how.padEnd(6)}  ${spoken(Math.max(0, now - at)).padEnd(8)}  ${clip(foreignLine(promptText(parts)), titleChars)}`;
}
