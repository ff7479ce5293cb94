import { text as readAll } from "node:stream/consumers";
import type { Command } from "commander";
import type { Sandbox } from "@sessiond/client";
import { addAttachmentOptions, withAttachments, type AttachmentFlags } from "../attachments.ts";
import { takeSeat } from "../driving.ts";
import { Failure } from "../exit-codes.ts";
import { onGoodbye } from "../interrupts.ts";
import { say } from "../notice.ts";
import {
  addReachOptions,
  addBusyOptions,
  jsonOption,
  policyOption,
  sandboxOption,
  sessionOption,
  titleOption,
  whenBusyOf,
  withExamples,
  workdirOption,
  type BusyFlags,
} from "../options.ts";
import type { Policy } from "../policies.ts";
import { reach, type ReachFlags } from "../reach.ts";
import { jsonLine } from "../screen.ts";
import { startedSession } from "../starting.ts";
import { existingSession } from "../which-session.ts";

interface SendOptions extends AttachmentFlags, BusyFlags, ReachFlags {
  readonly session?: string;
  readonly workdir?: string;
  readonly reject?: true;
  readonly json?: true;
  readonly model?: string;
  readonly title?: string;
  readonly policy?: Policy;
  readonly sandbox?: Sandbox;
}

export function declare(command: Command): void {
  withExamples(
    addBusyOptions(
      addAttachmentOptions(command.argument("<prompt>", "what to do; `-` reads it from stdin").addOption(sessionOption()).addOption(workdirOption())),
    )
      .option("--reject", "while a turn runs: refuse it")
      .option("--model <name>", "the model, where a life of the session begins")
      .addOption(titleOption())
      .addOption(policyOption())
      .addOption(sandboxOption())
      .addOption(jsonOption("print what became of it as one line of JSON")),
    'sessiond send "run the tests and fix what fails"',
    'sessiond send --steer "leave the generated files alone"',
    'sessiond send --session ses_4fK2 --reject "summarise"',
    'sessiond send --image screen.png "why does the button sit there?"',
  ).action((prompt: string, options: SendOptions) => send(prompt, options));
  addReachOptions(command);
}

async function send(given: string, options: SendOptions): Promise<void> {
  const prompt = given === "-" ? (await readAll(process.stdin)).trimEnd() : given;
  if (prompt.trim() === "") throw new Failure("usage", "The prompt is empty; say what to do.");
  const whenBusy = whenBusyOf(options, options.reject);
  const parts = withAttachments(prompt, options);
  onGoodbye();
  const host = await reach("send", options);
  const session =
    options.session === undefined ? await startedSession(host, options) : await host.openSession((await existingSession(host, options)).session_id);
  const seat = await takeSeat(session, "fail", say);
  const sent = await seat.sendPrompt(parts, { whenBusy });
  const held = seat.state.queue.some((queued) => queued.prompt_id === sent.promptId && queued.held);
  await seat.detach();
  if (options.json) {
    const { promptId, turnId, became, seq } = sent;
    process.stdout.write(jsonLine({ session_id: session.id, prompt_id: promptId, became, seq, ...(turnId !== undefined && { turn_id: turnId }) }));
    return;
  }
  const how = sent.became !== "queued" ? sent.became : held ? "queued and held" : "queued";
  process.stdout.write(`${how} ${sent.promptId}\n`);
  if (process.stderr.isTTY) say("`sessiond attach` shows it; `sessiond attach --view` only looks");
}
