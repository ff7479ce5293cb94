import { Option, type Command } from "commander";
import type { PromptOptions } from "@sessiond/client";
import { Failure } from "./exit-codes.ts";
import { parsePolicy } from "./policies.ts";

type WhenBusy = NonNullable<PromptOptions["whenBusy"]>;

/** Options and help that several commands share, so that they read alike. */
export function withExamples(command: Command, ...examples: readonly string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${examples.map((example) => `  $ ${example}`).join("\n")}`);
}

export const sessionOption = (): Option => new Option("-s, --session <id>", "the session, by its id or a unique beginning of it");
export const workdirOption = (): Option => new Option("-C, --workdir <dir>", "the session of that directory (default: this one)");
export const jsonOption = (what = "print JSON, one object a line"): Option => new Option("--json", what);

export const labelOption = (): Option => new Option("--label <text>", "how others see this seat");
export const titleOption = (): Option => new Option("--title <text>", "what lists call the session, where a life of it begins");
export const policyOption = (): Option =>
  new Option("--policy <policy>", "questions while nobody drives: hold, or reject-after=10m; likewise").argParser(parsePolicy);
export const sandboxOption = (): Option =>
  new Option("--sandbox <which>", "in what its commands run: off is none; likewise").choices(["off", "no_network", "network"]);
export const sessionArgument = "id, unique beginning of an id, or directory (default: this directory's session)";

/** Of an option that may be given again: all of its values. */
export const gathered = (value: string, before: readonly string[] = []): string[] => [...before, value];

/** For what is done on a daemon elsewhere too: see reach.ts. */
export const addReachOptions = (command: Command): Command =>
  command
    .option("--url <url>", "a daemon elsewhere: wss://host:port")
    .option("--api-key-file <file>", "with --url: the file of an API key, readable by you alone")
    .option("--ca <file>", "with --url: the certificate of a private authority, as PEM");

/** What the session does with a prompt while a turn runs. @throws Failure usage where two are asked for */
export interface BusyFlags {
  readonly steer?: true;
  readonly queue?: true;
  readonly interrupt?: true;
  readonly whenBusy?: WhenBusy;
}

/** Where they stand in the list of options is where this is called. */
export const addBusyOptions = (command: Command): Command =>
  command
    .option("--queue", "while a turn runs: wait for a turn of its own (the default)")
    .option("--steer", "while a turn runs: into it, before the agent's next step")
    .option("--interrupt", "while a turn runs: end it, then run")
    .addOption(new Option("--when-busy <what>", "the same by name").choices(["queue", "steer", "interrupt", "reject"]));

export function whenBusyOf({ steer, queue, interrupt, whenBusy }: BusyFlags, reject = false): WhenBusy {
  const asked = new Set<WhenBusy>([
    ...(queue ? (["queue"] as const) : []),
    ...(steer ? (["steer"] as const) : []),
    ...(interrupt ? (["interrupt"] as const) : []),
    ...(reject ? (["reject"] as const) : []),
    ...(whenBusy === undefined ? [] : [whenBusy]),
  ]);
  if (asked.size > 1) throw new Failure("usage", `Choose one of ${[...asked].map((name) => `--${name}`).join(", ")}.`);
  return [...asked][0] ?? "queue";
}

export function wholeNumber(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number)) throw new Failure("usage", `\`${text}\` is no whole number of milliseconds.`);
  return number;
}
