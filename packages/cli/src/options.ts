import { Option, type Command } from "commander";
import { Failure } from "./exit-codes.ts";

/** Options and help that several commands share, so that they read alike. */
export function withExamples(command: Command, ...examples: readonly string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${examples.map((example) => `  $ ${example}`).join("\n")}`);
}

export const sessionOption = (): Option => new Option("-s, --session <id>", "the session, by its id or a unique beginning of it");
export const workdirOption = (): Option => new Option("-C, --workdir <dir>", "the session of that directory (default: this one)");
export const jsonOption = (what = "print JSON, one object a line"): Option => new Option("--json", what);

export function wholeNumber(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number)) throw new Failure("usage", `\`${text}\` is no whole number of milliseconds.`);
  return number;
}
