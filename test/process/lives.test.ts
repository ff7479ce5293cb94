import { wordsOf } from "@sessiond/shared";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { DriverSeat, Host, Session } from "@sessiond/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { SeenFrames } from "../support/seen-frames.ts";

/** What outlives a daemon: the session of a directory, its conversation, its open question; and what ends with it. */
let home: DaemonHome;
beforeEach(() => {
  home = new DaemonHome();
});
afterEach(() => home.close());

const ran = (): string[] => (existsSync(join(home.workdir, "ran")) ? readFileSync(join(home.workdir, "ran"), "utf8").trimEnd().split("\n") : []);

async function driving(label = "driver"): Promise<{ host: Host; session: Session; seat: DriverSeat; seen: SeenFrames }> {
  const host = await home.connect({ clientName: label });
  const session = await host.sessionForWorkdir(home.workdir);
  const seat = await session.attach({ as: "driver" });
  return { host, session, seat, seen: new SeenFrames(seat) };
}

/** Send a prompt whose command is asked about. @returns the question */
async function ask(seat: DriverSeat, seen: SeenFrames, command: string) {
  const asked = seen.next((event) => event.type === "approval_requested");
  await seat.sendPrompt(`run ${command}`);
  await asked;
  const [question] = seat.state.approvals;
  if (question === undefined) throw new Error("no question is open");
  return question;
}

test("B37 a question that was open at kill -9 is open after it under the same id; answered, its command runs once and the turn goes on", async () => {
  const { seat, seen } = await driving();
  const question = await ask(seat, seen, "echo once >> ran");
  const turnId = seat.state.turn?.turn_id;
  const back = seen.back();
  await home.kill(await home.daemon());
  await back;
  expect(seat.state.approvals).toEqual([question]);
  expect(seat.state.turn?.turn_id).toBe(turnId);
  expect(ran()).toEqual([]);
  const ended = seen.next((event) => event.type === "turn_ended");
  await seat.approve(question, { kind: "allow_once" });
  expect((await ended).event).toMatchObject({ turn_id: turnId, stop_reason: "end_turn" });
  expect(ran()).toEqual(["once"]);
  // Nor does a further start run it again, or ask again.
  const backAgain = seen.back();
  await home.kill(await home.daemon());
  await backAgain;
  expect(seat.state).toMatchObject({ turn: null, approvals: [], status: "idle" });
  expect(ran()).toEqual(["once"]);
  seen.check();
});

test("B37 B39 a command that ran at kill -9 dies with the daemon, is told as interrupted and never run again; what it had hidden is reaped by the next start", async () => {
  const { seat, seen } = await driving();
  const question = await ask(seat, seen, "echo begun >> ran; setsid sleep 300 & sleep 300; echo ended >> ran");
  await seat.approve(question, { kind: "allow_once" });
  await eventually("the command runs, and its child in a session of its own", () => ran().length > 0 && home.tools().length >= 3);
  await seat.sendPrompt("say afterwards");
  const back = seen.back();
  const ended = seen.next((event) => event.type === "turn_ended");
  await home.kill(await home.daemon());
  await back;
  expect((await ended).event).toMatchObject({ stop_reason: "interrupted" });
  // The next start listens only when it has looked for orphans.
  expect(home.tools()).toEqual([]);
  expect(home.logged("listening").at(-1)).toMatchObject({ orphans_ended: expect.any(Number) });
  expect(Number(home.logged("listening").at(-1)?.["orphans_ended"])).toBeGreaterThanOrEqual(1);
  const results = home.journal(seat.sessionId).flatMap(({ event }) => (event.type === "tool_call_update" && "result" in event ? [event["result"]] : []));
  expect(results).toEqual(["interrupted by restart"]);
  // Its queue is held until it is released.
  await seen.until(({ queue }) => queue.every(({ held }) => held));
  expect(seat.state.queue).toMatchObject([{ held: true }]);
  expect(seat.state.turn).toBe(null);
  const next = seen.next((event) => event.type === "turn_ended");
  await seat.releaseQueue();
  expect((await next).event).toMatchObject({ stop_reason: "end_turn" });
  expect(ran()).toEqual(["begun"]);
  seen.check();
});

test("B11 the session of a directory keeps its id and its whole conversation across stop, restart and kill -9", async () => {
  const { host, session, seat } = await driving();
  await seat.prompt("say first");
  const before = () => home.journal(session.id).map(({ text }) => text);
  let kept = before();
  const expectKept = (): void => {
    expect(before().slice(0, kept.length)).toEqual(kept);
    kept = before();
  };
  const again = async (word: string, created: boolean): Promise<void> => {
    const next = await (await home.connect()).sessionForWorkdir(home.workdir);
    expect([next.id, next.created]).toEqual([session.id, created]);
    expectKept();
    const driver = await next.attach({ as: "driver" });
    await driver.prompt(`say ${word}`);
    await driver.detach();
    await next.close();
  };
  // kill -9
  await seat.detach();
  await home.kill(await home.daemon());
  await again("second", false);
  // stop: the next life is the same conversation
  await host.session(session.id).stop();
  await again("third", true);
  // a restart, with words
  const pid = await home.daemon();
  await host.shutDown({ waitMs: 0 });
  await home.gone(pid);
  await again("fourth", false);
  // stopped and restarted
  await host.session(session.id).stop();
  await home.kill(await home.daemon());
  await again("fifth", true);
  const said = await (await home.connect()).session(session.id).data();
  const words = said.frames.flatMap(({ event }) => (event.type === "prompt_accepted" ? event.parts.map((part) => wordsOf([part])) : []));
  expect(words).toEqual(["say first", "say second", "say third", "say fourth", "say fifth"]);
  expect((await (await home.connect()).listSessions()).sessions).toHaveLength(1);
});

test("B36 an unfinished last line, as a crash of the machine leaves it, is cut off and reported; everything before it stays", async () => {
  await home.startByHand();
  const host = await home.connect({ autoStart: false });
  const session = await host.sessionForWorkdir(home.workdir);
  const seat = await session.attach({ as: "driver" });
  await seat.prompt("say whole");
  await home.kill(await home.daemon());
  const whole = home.journal(session.id);
  appendFileSync(
    home.journalPath(session.id),
    `{"seq":${whole.length + 1},"at":17,"event":{"type":"notice","code":"restarted","text":"${"half ".repeat(2_000)}`,
  );
  await home.startByHand();
  const reader = (await home.connect({ autoStart: false })).session(session.id);
  // The notice is written like any frame, while the session already answers.
  const after = await eventually("frames follow those of before", async () => {
    const page = await reader.data();
    return page.frames.length > whole.length ? page : null;
  });
  expect(after.frames.slice(0, whole.length).map((frame) => JSON.stringify(frame))).toEqual(whole.map(({ text }) => text));
  expect(after.frames[whole.length]?.event).toMatchObject({ type: "notice", code: "journal_cut", text: expect.stringContaining("unfinished last line") });
  // Still a journal: every line whole, every seq once.
  expect(home.journalText(session.id)).toMatch(/\}\n$/);
  expect(home.journal(session.id).map(({ seq }) => seq)).toEqual(home.journal(session.id).map((_, index) => index + 1));
});
