import type { Command } from "commander";
import type { Approval, Host, SessionListing } from "@sessiond/client";
import { askPerson, takeSeat } from "../driving.ts";
import { Failure } from "../exit-codes.ts";
import { onGoodbye } from "../interrupts.ts";
import { Keyboard } from "../keyboard.ts";
import { say } from "../notice.ts";
import { sessionOption, withExamples, workdirOption } from "../options.ts";
import { reach } from "../reach.ts";
import { foreign, foreignLine, Screen } from "../screen.ts";
import { allSessions, existingSession } from "../which-session.ts";

interface ApproveOptions {
  readonly session?: string;
  readonly workdir?: string;
  readonly reject?: true;
  readonly reason?: string;
  readonly yes?: true;
}

export function declare(command: Command): void {
  withExamples(
    command
      .argument("[approval]", "the question's id, or a unique beginning of it (default: the only open one)")
      .addOption(sessionOption())
      .addOption(workdirOption())
      .option("--reject", "refuse instead")
      .option("--reason <text>", "why; the agent is told")
      .option("-y, --yes", "without an id, on a terminal: do not ask again")
      .addHelpText("after", "\nThe question is shown whole before it is answered. Needs the driver's seat: it is taken for a moment if it is free."),
    "sessiond approve",
    "sessiond approve apr_7Hq2",
    'sessiond approve apr_7Hq2 --reject --reason "not on main"',
  ).action((id: string | undefined, options: ApproveOptions) => approve(id, options));
}

async function approve(id: string | undefined, options: ApproveOptions): Promise<void> {
  onGoodbye();
  const host = await reach("approve");
  const { listing, approval } = await openQuestion(host, id, options);
  const session = await host.openSession(listing.session_id);
  const seat = await takeSeat(session, "fail", say);
  const screen = new Screen(process.stdout, process.stdout);
  show(screen, approval);
  let allow = options.reject !== true;
  let reason = options.reason;
  if (id === undefined && allow && !options.yes && process.stdin.isTTY && process.stdout.isTTY) {
    const closed = new AbortController();
    const answer = await askPerson(approval, new Keyboard(process.stdin, process.stdout), closed.signal);
    allow = answer?.allow ?? false;
    reason ??= answer?.reason;
  }
  await seat.approve(approval, { kind: allow ? "allow_once" : "reject_once", reason });
  screen.line(allow ? "  allowed" : "  refused", allow ? "green" : "red");
}

async function openQuestion(host: Host, id: string | undefined, options: ApproveOptions): Promise<{ listing: SessionListing; approval: Approval }> {
  const named = options.session !== undefined || options.workdir !== undefined;
  // A question's id is unique everywhere: it is found from any directory.
  const sessions =
    id !== undefined && !named ? (await allSessions(host)).filter((each) => each.life_state !== "stopped") : [await existingSession(host, options)];
  const found: { listing: SessionListing; approval: Approval }[] = [];
  for (const listing of sessions) {
    if (listing.pending_approvals === 0) continue;
    const { approvals } = await host.session(listing.session_id).info();
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

function show(screen: Screen, approval: Approval): void {
  screen.line(`? ${foreignLine(approval.tool)} asks for permission (${approval.approval_id})`, "yellow");
  screen.write({ key: approval.approval_id, to: "aside", prefix: "  │ " }, foreign(approval.preview));
  screen.close();
}
