import { text as readAll } from "node:stream/consumers";
import { Option, type Command } from "commander";
import type { Sandbox } from "@sessiond/client";
import { whoAnswers } from "../agent-words.ts";
import { addAttachmentOptions, withAttachments, type AttachmentFlags } from "../attachments.ts";
import { converse } from "../conversing.ts";
import { takeSeat, type Answering, type Desk } from "../driving.ts";
import { parseDuration } from "../duration.ts";
import { exitCodes, exitOf, Failure, sentenceOf } from "../exit-codes.ts";
import { Follower } from "../follower.ts";
import { onGoodbye } from "../interrupts.ts";
import { Keyboard } from "../keyboard.ts";
import { noticeOn } from "../notice.ts";
import {
  addReachOptions,
  jsonOption,
  labelOption,
  policyOption,
  sandboxOption,
  titleOption,
  whenBusyOf,
  addBusyOptions,
  withExamples,
  workdirOption,
  type BusyFlags,
} from "../options.ts";
import type { Policy } from "../policies.ts";
import { judge, promptOnce } from "../prompting.ts";
import { reach, type ReachFlags } from "../reach.ts";
import { Screen } from "../screen.ts";
import { JsonLines } from "../shower.ts";
import { startedSession } from "../starting.ts";
import { Transcript } from "../transcript.ts";
import { Wheel } from "../wheel.ts";

interface RunOptions extends AttachmentFlags, BusyFlags, ReachFlags {
  readonly workdir?: string;
  readonly approve?: true;
  readonly reject?: true;
  readonly whenDriven: "wait" | "fail";
  readonly json?: true;
  readonly model?: string;
  readonly agent?: string;
  readonly timeout?: number;
  readonly title?: string;
  readonly policy?: Policy;
  readonly sandbox?: Sandbox;
  readonly label?: string;
}

export function declare(command: Command): void {
  withExamples(
    addBusyOptions(
      addAttachmentOptions(command.argument("[prompt]", "what to do; `-` reads it from stdin; none, on a terminal: line by line").addOption(workdirOption()))
        .option("--approve", "allow whatever the agent asks for in this prompt's turn")
        .option("--reject", "refuse whatever it asks for"),
    )
      .addOption(new Option("--when-driven <what>", "when another client drives the session").choices(["wait", "fail"]).default("fail"))
      .addOption(jsonOption("print each event as one line of JSON, and a last line with the outcome"))
      .option("--model <name>", "the model, where a life of the session begins; `practice` needs no key")
      .option("--agent <name>", "the agent, likewise")
      .addOption(titleOption())
      .addOption(policyOption())
      .addOption(sandboxOption())
      .addOption(labelOption())
      .option("--timeout <duration>", "stop waiting after that long; the turn goes on", parseDuration)
      .addHelpText("after", "\nThe agent's words go to stdout, everything else to stderr. Ctrl-C interrupts the turn; a second one leaves."),
    'sessiond run "why does the build fail?"',
    'sessiond run --model practice "read README.md"',
    "git diff | sessiond run --reject -",
    'sessiond run --steer "and update the changelog"',
    'sessiond run --file error.log "what went wrong here?"',
    'sessiond run --json --approve "run npm test" | jq -r .type',
  ).action((prompt: string | undefined, options: RunOptions) => run(prompt, options));
  addReachOptions(command);
}

async function run(given: string | undefined, options: RunOptions): Promise<void> {
  if (options.approve && options.reject) throw new Failure("usage", "Choose --approve or --reject, not both.");
  const whenBusy = whenBusyOf(options);
  const prompt = given === "-" || (given === undefined && !process.stdin.isTTY) ? await promptFromStdin() : given;
  if (prompt?.trim() === "") throw new Failure("usage", 'The prompt is empty. Say what to do: `sessiond run "read README.md"`.');
  if (prompt === undefined && options.json) throw new Failure("usage", "--json needs a prompt.");
  if (prompt === undefined && (options.file ?? options.image) !== undefined) throw new Failure("usage", "--file and --image need a prompt to go with.");
  const parts = prompt === undefined ? [] : withAttachments(prompt, options);
  onGoodbye();
  const host = await reach("run", options);
  const session = await startedSession(host, options);
  const screen = new Screen(process.stdout, process.stderr);
  const notice = noticeOn(screen);
  const json = options.json ? new JsonLines(process.stdout) : null;
  try {
    const seat = await takeSeat(session, options.whenDriven, notice, options.label);
    const talks = prompt === undefined;
    const transcript = json ?? new Transcript(screen, { history: 0, surroundings: talks, slash: talks, ownSeat: () => seat.seatId, state: () => seat.state });
    const follower = new Follower(seat, transcript, notice);
    const desk: Desk = { wheel: Wheel.of(seat), follower, keyboard: new Keyboard(process.stdin, process.stderr, screen), screen, notice };
    const answering: Answering = options.approve ? "approve" : options.reject ? "reject" : "ask";
    await follower.until(() => follower.caughtUp);
    if (prompt === undefined) {
      notice(`session of ${session.workdir}, ${whoAnswers(seat.state)}. Ctrl-D leaves, the work goes on; /help lists what can be typed`);
      process.exitCode = await converse({ ...desk, answering });
      return;
    }
    const turn = await promptOnce(desk, { parts, answering, timeoutMs: options.timeout, whenBusy });
    screen.close();
    let verdict: unknown = null;
    try {
      judge(turn, follower.refusedIn(turn.turnId));
    } catch (error) {
      verdict = error;
    }
    json?.line({
      type: "result",
      session_id: session.id,
      prompt_id: turn.promptId,
      turn_id: turn.turnId,
      stop_reason: turn.stopReason,
      ...(turn.error && { error: turn.error }),
      ...(turn.text !== undefined && { text: turn.text }),
      exit_code: verdict === null ? exitCodes.done : exitCodes[exitOf(verdict)],
    });
    if (verdict !== null) throw new Told(verdict);
  } catch (error) {
    screen.close();
    if (error instanceof Told) throw error.cause;
    json?.line({ type: "result", session_id: session.id, exit_code: exitCodes[exitOf(error)], error: { code: codeOf(error), message: sentenceOf(error) } });
    throw error;
  }
}

/** A failure whose line of JSON was printed already. */
class Told extends Error {
  constructor(cause: unknown) {
    super("told", { cause });
  }
}

const codeOf = (error: unknown): string => (error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : exitOf(error));

async function promptFromStdin(): Promise<string> {
  return (await readAll(process.stdin)).trimEnd();
}
