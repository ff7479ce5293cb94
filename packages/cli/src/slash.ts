import { isSessiondError } from "@sessiond/client";
import { Failure } from "./exit-codes.ts";
import type { Desk } from "./driving.ts";
import { foreignLine } from "./screen.ts";

/** What can be typed at the prompt besides prompts. */
interface Row {
  readonly takes: string;
  readonly summary: string;
  /** A word for it is needed: a prompt, a note. */
  readonly needs?: string;
  readonly act: (desk: Desk, rest: string) => Promise<"leave" | void>;
}

const commands: Readonly<Record<string, Row>> = {
  steer: {
    takes: "TEXT",
    summary: "into the running turn, before its next step",
    needs: "what to tell the agent",
    act: async ({ wheel }, rest) => void (await wheel.driver.sendPrompt(rest, { whenBusy: "steer" })),
  },
  interrupt: {
    takes: "[TEXT]",
    summary: "end the running turn; with a text, it runs next",
    act: async ({ wheel }, rest) => void (rest === "" ? await wheel.driver.interrupt() : await wheel.driver.sendPrompt(rest, { whenBusy: "interrupt" })),
  },
  note: {
    takes: "TEXT",
    summary: "a note in the transcript; the model never gets it",
    needs: "the note",
    act: async ({ wheel }, rest) => void (await wheel.driver.addSystemMessage(rest)),
  },
  title: {
    takes: "[TEXT]",
    summary: "name the session; without a text, take the name away",
    act: async ({ wheel }, rest) => void (await wheel.driver.configure({ title: rest === "" ? null : rest })),
  },
  yield: {
    takes: "[WHO]",
    summary: "give the wheel to who asks for it, or let go of it",
    act: async ({ wheel }, rest) => void (await wheel.yield(rest === "" ? undefined : rest)),
  },
  take: {
    takes: "[ask|force]",
    summary: "take the wheel if it is free, ask for it, or take it away",
    act: async ({ wheel }, rest) => {
      if (rest !== "" && rest !== "ask" && rest !== "force") throw new Failure("usage", "Write /take, /take ask or /take force.");
      if (wheel.drives) return;
      await wheel.take(rest === "" ? "if_free" : rest).catch((error: unknown) => {
        if (!isSessiondError(error, "driver_taken")) throw error;
        const holder = foreignLine(String(error.detail["driver"] ?? "Another client"));
        if (rest === "ask") throw new Failure("seat_taken", `${holder} did not give the wheel. /take ask asks again, /take force takes it.`);
        throw new Failure("seat_taken", `${holder} drives. /take ask asks for the wheel, /take force takes it.`);
      });
    },
  },
  detach: { takes: "", summary: "leave; the work goes on (Ctrl-D too)", act: async () => "leave" },
  help: {
    takes: "",
    summary: "show this",
    act: async ({ screen, wheel }) => {
      for (const [name, { takes, summary }] of Object.entries(commands)) screen.line(`  ${`/${name} ${takes}`.padEnd(20)} ${summary}`, "dim");
      const typed = wheel.drives ? "a prompt; while a turn runs it is queued" : "a prompt, once you drive: /take";
      screen.line(`  ${"anything else".padEnd(20)} ${typed}`, "dim");
    },
  },
};

export interface Slash {
  readonly name: string;
  readonly rest: string;
}

/** A line that is one of these; one that only begins with a slash, like a path, is a prompt. */
export function slashOf(line: string): Slash | null {
  const [, name, rest = ""] = /^\/([a-z]+)(?:\s+([^]*))?$/.exec(line.trimEnd()) ?? [];
  return name === undefined ? null : { name, rest: rest.trim() };
}

/** @throws Failure usage where there is no such command; what its verb throws */
export async function obey(desk: Desk, { name, rest }: Slash): Promise<"leave" | void> {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) throw new Failure("usage", `There is no /${foreignLine(name)}; /help lists what there is. A space before it makes it a prompt.`);
  if (command.needs !== undefined && rest === "") throw new Failure("usage", `/${name} needs ${command.needs}: /${name} ${command.takes}.`);
  return command.act(desk, rest);
}
