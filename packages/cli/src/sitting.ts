import type { DriverSeat, Session, SessionState, ViewerSeat } from "@sessiond/client";
import { whoAnswers } from "./agent-words.ts";
import { converse } from "./conversing.ts";
import { Follower } from "./follower.ts";
import { onInterrupt } from "./interrupts.ts";
import { Keyboard } from "./keyboard.ts";
import { isLeaving } from "./leaving.ts";
import { noticeOn } from "./notice.ts";
import { foreignLine, Screen } from "./screen.ts";
import { JsonLines, type Shower } from "./shower.ts";
import { Transcript } from "./transcript.ts";
import { driverOf, Wheel, type How } from "./wheel.ts";

/** A terminal at a session for as long as somebody sits there: what came before, what happens, and a prompt for the driver. */
export interface Sitting {
  readonly session: Session;
  readonly seat: ViewerSeat;
  readonly json: boolean;
}

const historyMessages = 20;

/** @returns the exit code */
export async function sitAsDriver(sitting: Omit<Sitting, "seat"> & { readonly seat: DriverSeat }): Promise<number> {
  return drive(sitting, Wheel.of(sitting.seat));
}

/** As viewer first, and at the wheel when it is given. @throws SessiondError driver_taken where it is not */
export async function sitAndTake(sitting: Sitting, how: How): Promise<number> {
  return drive(sitting, new Wheel(sitting.seat, null), how);
}

async function drive({ session, seat, json }: Sitting, wheel: Wheel, how?: How): Promise<number> {
  const screen = new Screen(process.stdout, process.stdout);
  const notice = noticeOn(screen);
  if (!json) head(session, seat.state, screen, how === undefined ? "driving" : "watching");
  const follower = new Follower(seat, showerOf({ seat, json, screen, slash: true }), notice);
  if (how !== undefined) {
    const leaveAtOnce = onInterrupt(() => false);
    await follower.until(() => follower.caughtUp);
    await wheel.take(how);
    leaveAtOnce();
  }
  const keyboard = new Keyboard(process.stdin, json ? process.stderr : process.stdout, screen);
  return converse({ wheel, follower, keyboard, screen, notice });
}

/** Only looks, until the session's life or the seat ends; Ctrl-C leaves. */
export async function sitAsViewer({ session, seat, json }: Sitting): Promise<void> {
  onInterrupt(() => false, 0);
  const screen = new Screen(process.stdout, process.stdout);
  const notice = noticeOn(screen);
  if (!json) head(session, seat.state, screen, "watching");
  const follower = new Follower(seat, showerOf({ seat, json, screen, slash: false }), notice);
  await follower.until(() => false);
  if (follower.end?.error != null) throw follower.end.error;
  // Who leaves has ended the seat, and not the session.
  if (!json && !isLeaving()) notice("the session is stopped; `sessiond run` starts it again with its conversation");
}

function showerOf({ seat, json, screen, slash }: { seat: ViewerSeat; json: boolean; screen: Screen; slash: boolean }): Shower {
  if (json) return new JsonLines({ write: (text) => screen.put(process.stdout, text) });
  return new Transcript(screen, { history: historyMessages, surroundings: true, ownSeat: () => seat.seatId, state: () => seat.state, slash });
}

function head(session: Session, state: SessionState, screen: Screen, how: "driving" | "watching"): void {
  const driver = how === "driving" ? "" : `, driver: ${foreignLine(driverOf(state)?.label ?? "nobody")}`;
  const status = state.life_state === "stopped" ? "stopped" : state.status.replaceAll("_", " ");
  const title = state.title === null ? "" : ` “${foreignLine(state.title)}”`;
  screen.line(`— ${how} ${foreignLine(session.workdir)}${title} (${session.id.slice(0, 12)}, ${whoAnswers(state)}, ${status}${driver})`, "dim");
}
