import type { Command } from "commander";
import type { Approval, Host, SessionListing } from "@sessiond/client";
import { askPerson, leftOpen, offerNamed, offerOf, takeSeat, type PersonsAnswer } from "../driving.ts";
import { Failure } from "../exit-codes.ts";
import { onGoodbye } from "../interrupts.ts";
import { Keyboard } from "../keyboard.ts";
import { say } from "../notice.ts";
import { addReachOptions, sessionOption, withExamples, workdirOption } from "../options.ts";
import { clockWords } from "../policies.ts";
import { allows, rejects, showQuestion, verdictOf, type AnswerKind } from "../question.ts";
import { handleOf, reach, type ReachFlags } from "../reach.ts";
import { foreignLine, Screen } from "../screen.ts";
import { allSessions, existingSession } from "../which-session.ts";

interface ApproveOptions extends Scopes, ReachFlags {
  readonly session?: string;
  readonly workdir?: string;
  readonly option?: string;
  readonly reason?: string;
  readonly yes?: true;
}

interface Scopes {
  readonly forTurn?: true;
  readonly forSession?: true;
  readonly always?: true;
  readonly reject?: true;
  readonly never?: true;
}

export function declare(command: Command): void {
  withExamples(
    command
      .argument("[approval]", "the question's id, or a unique beginning of it (default: the only open one)")
      .addOption(sessionOption())
      .addOption(workdirOption())
      .option("--for-turn", "allow it, and the same again in this turn")
      .option("--for-session", "… in this session")
      .option("--always", "… in this directory, also in later sessions")
      .option("--reject", "refuse instead")
      .option("--never", "refuse it, and the same again in this directory")
      .option("--option <answer>", "one of its answers by id or kind, for those that an agent words itself")
      .option("--reason <text>", "why; the agent is told")
      .option("-y, --yes", "without an id, on a terminal: do not ask again")
      .addHelpText(
        "after",
        "\nThe question is shown whole before it is answered, with what the answer will be remembered for; `sessiond rules` lists and forgets that. Needs the driver's seat: it is taken for a moment if it is free.",
      ),
    "sessiond approve",
    "sessiond approve apr_7Hq2 --for-session",
    "sessiond approve apr_7Hq2 --option allow_once_2",
    'sessiond approve apr_7Hq2 --reject --reason "not on main"',
  ).action((id: string | undefined, options: ApproveOptions) => approve(id, options));
  addReachOptions(command);
}

async function approve(id: string | undefined, options: ApproveOptions): Promise<void> {
  const { option: name } = options;
  const kind = kindOf(options);
  if (name !== undefined && kind !== null) throw new Failure("usage", "--option names the answer; give no other one beside it.");
  onGoodbye();
  const host = await reach("approve", options);
  const { listing, approval } = await openQuestion(host, id, options);
  const session = await host.openSession(listing.session_id);
  const seat = await takeSeat(session, "fail", say);
  const screen = new Screen(process.stdout, process.stdout);
  show(screen, approval);
  const asks = id === undefined && name === undefined && kind === null && !options.yes && process.stdin.isTTY && process.stdout.isTTY;
  const { offer, reason } = asks
    ? await typedAnswer(approval, screen)
    : { offer: name === undefined ? offerOf(approval, [kind ?? "allow_once"]) : offerNamed(approval, name), reason: undefined };
  const { option } = offer;
  await seat.approve(approval, { optionId: option.option_id, reason: options.reason ?? reason });
  screen.line(`  ${verdictOf(option)}`, allows(option) ? "green" : rejects(option) ? "red" : "plain");
  if (option.remembers !== null) screen.line(`  ${offer.isAgents ? "" : `remembered ${offer.words}: `}${foreignLine(option.remembers)}`, "dim");
}

/** @throws Failure refused, where none is given: anything else is no answer, and least of all a yes */
async function typedAnswer(approval: Approval, screen: Screen): Promise<PersonsAnswer> {
  const keyboard = new Keyboard(process.stdin, process.stdout, screen);
  const typed = await askPerson(approval, { keyboard, screen }, new AbortController().signal);
  if (typed === null || !("offer" in typed)) throw leftOpen(approval);
  return typed;
}

async function openQuestion(host: Host, id: string | undefined, options: ApproveOptions): Promise<{ listing: SessionListing; approval: Approval }> {
  const named = options.session !== undefined || options.workdir !== undefined;
  // A question's id is unique everywhere: it is found from any directory.
  const sessions =
    id !== undefined && !named ? (await allSessions(host)).filter((each) => each.life_state !== "stopped") : [await existingSession(host, options)];
  const found: { listing: SessionListing; approval: Approval }[] = [];
  for (const listing of sessions) {
    if (listing.approvals?.length === 0) continue;
    const { approvals } = await (await handleOf(host, listing.session_id, "view")).info();
    for (const approval of approvals) if (id === undefined || approval.approval_id.startsWith(id)) found.push({ listing, approval });
  }
  const [only, second] = found;
  if (only === undefined)
    throw new Failure(
      "usage",
      id === undefined
        ? "No question is open here. `sessiond ls` shows where one is."
        : `No open question's id begins with ${id}; it may be answered already. \`sessiond ls\` shows where one is open.`,
    );
  if (second === undefined) return only;
  const screen = new Screen(process.stdout, process.stdout);
  for (const { approval } of found) show(screen, approval);
  throw new Failure("usage", `${found.length} questions are open; name one of them by its id.`);
}

const show = (screen: Screen, approval: Approval): void => showQuestion(screen, approval, clockWords(approval, Date.now()));

/** The one answer that was asked for; null: none in particular. @throws Failure usage */
function kindOf({ forTurn, forSession, always, never, reject }: Scopes): AnswerKind | null {
  const asked: AnswerKind[] = [
    ...(forTurn ? (["allow_turn"] as const) : []),
    ...(forSession ? (["allow_session"] as const) : []),
    ...(always ? (["allow_always"] as const) : []),
    ...(never ? (["reject_always"] as const) : []),
    ...(reject ? (["reject_once"] as const) : []),
  ];
  if (asked.length > 1) throw new Failure("usage", "Choose one of --for-turn, --for-session, --always, --reject and --never.");
  return asked[0] ?? null;
}
