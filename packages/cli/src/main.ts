import { Command, CommanderError } from "commander";
import { escapeDeceptive, version, withoutSecrets } from "@sessiond/shared";
import { exitCodes, exitCodesHelp, exitOf, sentenceOf } from "./exit-codes.ts";
import { isLeaving, leave } from "./leaving.ts";
import { folded } from "./table.ts";

/**
 * The `sessiond` command. Only the file of the subcommand that was named is loaded, because
 * start-up time is felt; the others are known here by their sentence alone.
 */
export interface Declared {
  /** Adds options, examples and the action to its command. */
  declare(command: Command): void;
}

const subcommands: Readonly<Record<string, readonly [summary: string, load: () => Promise<Declared>]>> = {
  run: ["send a prompt to this directory's session, and watch", () => import("./commands/run.ts")],
  attach: ["come back to a session as its driver, or watch it with --view", () => import("./commands/attach.ts")],
  send: ["leave a prompt and go; the work happens without you", () => import("./commands/send.ts")],
  wait: ["wait until a session is idle, asks something, or is stopped", () => import("./commands/wait.ts")],
  approve: ["answer a question that waits for permission", () => import("./commands/approve.ts")],
  interrupt: ["end the running turn; the session stays", () => import("./commands/interrupt.ts")],
  stop: ["end a session; its conversation is kept", () => import("./commands/stop.ts")],
  take: ["become the driver: if free, by asking, or by force", () => import("./commands/take.ts")],
  yield: ["free the wheel of a session from another terminal", () => import("./commands/yield.ts")],
  queue: ["list, edit, withdraw or release queued prompts", () => import("./commands/queue.ts")],
  rules: ["list and forget remembered answers", () => import("./commands/rules.ts")],
  set: ["title, star, model, policy, mode and options of a session", () => import("./commands/set.ts")],
  note: ["leave a note in the transcript; the model never gets it", () => import("./commands/note.ts")],
  token: ["mint, list and revoke tokens of a session", () => import("./commands/token.ts")],
  key: ["give, rotate and end API keys, for callers who are not the owner", () => import("./commands/key.ts")],
  ls: ["list sessions", () => import("./commands/ls.ts")],
  info: ["everything about a session but its conversation", () => import("./commands/info.ts")],
  watch: ["see what happens in all sessions, a line an event", () => import("./commands/watch.ts")],
  acp: ["be the agent of an ACP editor, on stdin and stdout", () => import("./commands/acp.ts")],
  agents: ["list the agents that the daemon has", () => import("./commands/agents.ts")],
  status: ["say how the daemon is", () => import("./commands/status.ts")],
  doctor: ["say what is wrong here, with a daemon or without, and mend it with --fix", () => import("./commands/doctor.ts")],
  verify: ["read the journals and say whether they are whole", () => import("./commands/verify.ts")],
  audit: ["show what was called, by whom, and how it ended", () => import("./commands/audit.ts")],
  up: ["start the daemon by hand, to stay until `sessiond down`", () => import("./commands/up.ts")],
  down: ["end the daemon; sessions go on at its next start", () => import("./commands/down.ts")],
};

/** Wider than this nobody reads it well. */
const helpColumns = Math.min(process.stdout.columns ?? 80, 80);
const argv = process.argv.slice(2);
const named = argv.find((word) => !word.startsWith("-") && word !== "help");
const hinted = named !== undefined && Object.hasOwn(subcommands, named) ? `${named} ` : "";

async function main(): Promise<void> {
  const program = new Command("sessiond")
    .description("tmux for coding agents: one driver, any number of watchers, nothing lost.")
    .version(version, "-V, --version", "print the version")
    .helpCommand("help [command]", "show help for a command")
    .exitOverride()
    .showSuggestionAfterError()
    .configureOutput({ writeOut: (text) => void process.stdout.write(folded(text, helpColumns)), writeErr: () => undefined, outputError: () => undefined })
    .addHelpText("after", `\nExamples:\n  $ sessiond run "explain this project"\n  $ sessiond ls\n  $ sessiond help run\n\n${exitCodesHelp}`);
  for (const [name, [summary, load]] of Object.entries(subcommands)) {
    const command = program.command(name).description(summary).summary(summary);
    if (name === named) (await load()).declare(command);
  }
  if (argv.length === 0) return program.outputHelp();
  await program.parseAsync([...argv], { from: "user" });
}

function failed(error: unknown): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCodes.done;
    complain(`${error.message.replace(/^error: /, "").replace(/\n/g, " ")}. See \`sessiond ${hinted}--help\``);
    return exitCodes.usage;
  }
  if (!isLeaving()) complain(sentenceOf(error));
  return exitCodes[exitOf(error)];
}

function complain(sentence: string): void {
  // What was given is repeated in many a sentence, and a secret may have been given in a wrong place.
  const line = escapeDeceptive(
    withoutSecrets(sentence)
      .replace(/\s*\n\s*/g, " ")
      .replace(/(?<!\.)\.\.(?=\s|$)/g, ".") // a reason that is a sentence, within a sentence
      .trim(),
  );
  process.stderr.write(`sessiond: ${/[.!?]$/.test(line) ? line : `${line}.`}\n`);
}

/** Whoever reads our output has enough: go quietly, leaving the seat. Not a failure of ours. */
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => void leave(error.code === "EPIPE" ? exitCodes.done : exitCodes.failed));
}
process.on("uncaughtException", (error) => void leave(failed(error)));

// Nothing is under way any more, and it never came to an end: not to be taken for one.
process.once("beforeExit", () => process.exit(exitCodes.failed));
void main().then(
  () => leave(Number(process.exitCode ?? exitCodes.done)),
  (error: unknown) => leave(failed(error)),
);
