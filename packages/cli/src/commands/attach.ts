import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { sessionFromToken } from "@sessiond/client/node";
import { readToken, type Session } from "@sessiond/client";
import { converse } from "../conversing.ts";
import { takeSeat } from "../driving.ts";
import { Failure } from "../exit-codes.ts";
import { Follower } from "../follower.ts";
import { onGoodbye, onInterrupt } from "../interrupts.ts";
import { Keyboard } from "../keyboard.ts";
import { onLeave } from "../leaving.ts";
import { noticeOn, type Notice } from "../notice.ts";
import { jsonOption, withExamples, workdirOption } from "../options.ts";
import { reach } from "../reach.ts";
import { foreignLine, Screen } from "../screen.ts";
import { JsonLines, type Shower } from "../shower.ts";
import { Transcript } from "../transcript.ts";
import { existingSession } from "../which-session.ts";

interface AttachOptions {
  readonly workdir?: string;
  readonly view?: true;
  readonly json?: true;
  readonly tokenFile?: string;
}

const historyMessages = 20;

export function declare(command: Command): void {
  withExamples(
    command
      .argument("[session]", "id, unique beginning of an id, or directory (default: this directory's session)")
      .addOption(workdirOption())
      .option("--view", "only look: nothing is ever sent")
      .addOption(jsonOption("print each event as one line of JSON"))
      .option("--token-file <file>", "use the token in that file instead of the host key; it names the session")
      .addHelpText("after", "\nAs driver: type prompts, answer questions; /detach or Ctrl-D leaves and the work goes on."),
    "sessiond attach",
    "sessiond attach --view ses_4fK2",
    "sessiond attach --view --token-file ./token",
    "sessiond attach --view --json | jq .frame.event.type",
  ).action((name: string | undefined, options: AttachOptions) => attach(name, options));
}

async function attach(name: string | undefined, options: AttachOptions): Promise<void> {
  onGoodbye();
  const session = await open(name, options);
  const screen = new Screen(process.stdout, process.stdout);
  const notice = noticeOn(screen);
  const ownSeat: { id: string | null } = { id: null };
  const shower: Shower = options.json
    ? new JsonLines(process.stdout)
    : new Transcript(screen, { history: historyMessages, surroundings: true, ownSeat: () => ownSeat.id });
  if (options.view) return view(session, shower, { notice, ownSeat, person: !options.json });
  const seat = await takeSeat(session, "fail", notice);
  ownSeat.id = seat.seatId;
  if (!options.json) head(session, seat.state, screen, "driving");
  const follower = new Follower(seat, shower, notice);
  process.exitCode = await converse({ seat, follower, keyboard: new Keyboard(process.stdin, options.json ? process.stderr : process.stdout), notice });
}

async function view(
  session: Session,
  shower: Shower,
  { notice, ownSeat, person }: { notice: Notice; ownSeat: { id: string | null }; person: boolean },
): Promise<void> {
  onInterrupt(() => false, 0);
  const seat = await session.attach({ as: "viewer" });
  ownSeat.id = seat.seatId;
  if (person) head(session, seat.state, new Screen(process.stdout, process.stdout), "watching");
  const follower = new Follower(seat, shower, notice);
  await follower.until(() => false);
  if (follower.end?.error != null) throw follower.end.error;
  if (person) notice("the session is stopped; `sessiond run` starts it again with its conversation");
}

function head(
  session: Session,
  state: { model: string; status: string; life_state: string; seats: readonly { role: string; label: string }[] },
  screen: Screen,
  how: string,
): void {
  const driver = how === "driving" ? "" : `, driver: ${foreignLine(state.seats.find((seat) => seat.role === "driver")?.label ?? "nobody")}`;
  const status = state.life_state === "stopped" ? "stopped" : state.status.replaceAll("_", " ");
  screen.line(
    `— ${how} ${foreignLine(session.workdir)} (${session.id.slice(0, 12)}, model ${foreignLine(state.model) || "not set"}, ${status}${driver})`,
    "dim",
  );
}

async function open(name: string | undefined, options: AttachOptions): Promise<Session> {
  if (options.tokenFile !== undefined) {
    if (name !== undefined || options.workdir !== undefined) throw new Failure("usage", "The token names the session; give no other name.");
    const session = await sessionFromToken(tokenIn(options.tokenFile), { clientName: `sessiond attach, pid ${process.pid}` });
    onLeave(() => session.close());
    return session;
  }
  const host = await reach("attach");
  const listing = await existingSession(host, { session: name, workdir: options.workdir });
  return host.openSession(listing.session_id, { right: options.view ? "view" : "control" });
}

function tokenIn(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8").trim();
  } catch {
    throw new Failure("usage", `${file} cannot be read. \`sessiond token mint > ${file}\` makes one.`);
  }
  if (readToken(text) === null)
    throw new Failure("not_authorised", `${file} holds no whole token, and nothing else may stand in it. \`sessiond token mint > ${file}\` makes one.`);
  return text;
}
