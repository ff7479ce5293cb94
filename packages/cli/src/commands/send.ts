import { resolve } from "node:path";
import { text as readAll } from "node:stream/consumers";
import { Option, type Command } from "commander";
import { takeSeat } from "../driving.ts";
import { Failure } from "../exit-codes.ts";
import { onGoodbye } from "../interrupts.ts";
import { say } from "../notice.ts";
import { jsonOption, sessionOption, withExamples, workdirOption } from "../options.ts";
import { reach } from "../reach.ts";
import { existingSession } from "../which-session.ts";

interface SendOptions {
  readonly session?: string;
  readonly workdir?: string;
  readonly whenBusy: "queue" | "reject";
  readonly json?: true;
  readonly model?: string;
}

export function declare(command: Command): void {
  withExamples(
    command
      .argument("<prompt>", "what to do; `-` reads it from stdin")
      .addOption(sessionOption())
      .addOption(workdirOption())
      .addOption(new Option("--when-busy <what>", "while a turn runs").choices(["queue", "reject"]).default("queue"))
      .option("--model <name>", "the model, where a life of the session begins")
      .addOption(jsonOption("print what became of it as one line of JSON")),
    'sessiond send "run the tests and fix what fails"',
    'sessiond send --session ses_4fK2 --when-busy reject "summarise"',
  ).action((prompt: string, options: SendOptions) => send(prompt, options));
}

async function send(given: string, options: SendOptions): Promise<void> {
  const prompt = given === "-" ? (await readAll(process.stdin)).trimEnd() : given;
  if (prompt.trim() === "") throw new Failure("usage", "The prompt is empty; say what to do.");
  onGoodbye();
  const host = await reach("send");
  const session =
    options.session === undefined
      ? await host.sessionForWorkdir(resolve(options.workdir ?? "."), { model: options.model })
      : await host.openSession((await existingSession(host, options)).session_id);
  const seat = await takeSeat(session, "fail", say);
  const sent = await seat.sendPrompt(prompt, { whenBusy: options.whenBusy });
  const held = seat.state.queue.some((queued) => queued.prompt_id === sent.promptId && queued.held);
  await seat.detach();
  if (options.json) {
    const { promptId, turnId, became, seq } = sent;
    process.stdout.write(`${JSON.stringify({ session_id: session.id, prompt_id: promptId, became, seq, ...(turnId !== undefined && { turn_id: turnId }) })}\n`);
    return;
  }
  const how = sent.became === "started" ? "started" : held ? "queued and held" : "queued";
  process.stdout.write(`${how} ${sent.promptId}\n`);
  if (process.stderr.isTTY) say("`sessiond attach` shows it; `sessiond attach --view` only looks");
}
