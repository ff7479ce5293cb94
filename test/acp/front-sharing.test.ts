import { existsSync } from "node:fs";
import { join } from "node:path";
import type { DriverSeat, Session } from "@sessiond/client";
import { afterEach, expect, test } from "vitest";
import { words, type AcpClient } from "../support/acp-client.ts";
import { FrontRig } from "../support/acp-front-rig.ts";
import type { DaemonHome } from "../support/daemon-home.ts";

const rig = new FrontRig();
afterEach(() => rig.end());

const question = (editor: AcpClient, from = 0) => editor.until("a question", (came) => (came.method === "session/request_permission" ? came : undefined), from);
const begun = async (editor: AcpClient, { workdir }: DaemonHome): Promise<string> =>
  (await editor.must("session/new", { cwd: workdir, mcpServers: [] })).sessionId;

/** Somebody in a terminal, in the same session. */
async function terminal(home: DaemonHome, sessionId: string): Promise<Session> {
  const host = await home.connect({ clientName: "terminal" });
  return host.openSession(sessionId, { label: "terminal" });
}

const approval = async (seat: DriverSeat) => {
  while (seat.state.approvals.length === 0) await seat.changed();
  return seat.state.approvals[0]!;
};

test("B14 while another drives a prompt is refused with who it is and how to take over; the editor holds the seat only while its prompt runs", async () => {
  const home = rig.home();
  const editor = await rig.met(home, { name: "zed" });
  const sessionId = await begun(editor, home);
  const other = await terminal(home, sessionId);
  // Open and idle, the editor is in nobody's way.
  const driver = await other.attach({ as: "driver", label: "bo in a terminal" });
  expect(driver.state.seats.map(({ role, label }) => [role, label])).toEqual([
    ["viewer", "zed 1.0"],
    ["driver", "bo in a terminal"],
  ]);
  const { error } = await editor.ask("session/prompt", words(sessionId, "hello"));
  expect(error).toMatchObject({ data: { code: "driver_taken" } });
  expect(error?.message).toContain("bo in a terminal drives");
  expect(error?.message).toContain(`sessiond yield ${sessionId}`);
  expect(error?.message).toContain(`sessiond take --force ${sessionId}`);
  await driver.detach();
  expect(await editor.must("session/prompt", words(sessionId, "hello"))).toEqual({ stopReason: "end_turn" });
  // Answered: the seat is free at once.
  const again = await other.attach({ as: "driver" });
  expect((await again.prompt("hello")).stopReason).toBe("end_turn");
});

/** An editor that was killed in the middle of its turn: its seat drives until its grace is over. */
async function killedEditor(graceMs: number) {
  const home = rig.home(`[model]\nname = "practice"\n[limits]\nseat_grace_ms = ${graceMs}\n`);
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  void editor.ask("session/prompt", words(sessionId, "write notes.txt: hello")).catch(() => undefined);
  await question(editor);
  const viewer = await (await terminal(home, sessionId)).attach({ as: "viewer" });
  await editor.kill();
  const next = await rig.met(home, { permit: () => "allow_once", flags: ["--observe", "all"] });
  while (viewer.state.seats.some(({ role, connected }) => role === "driver" && connected)) await viewer.changed();
  await next.must("session/resume", { sessionId, cwd: home.workdir });
  return { home, next, sessionId };
}

test("B14 the prompt of an editor that comes back waits while the daemon still waits for the link that was lost; then it drives, and the open question is its", async () => {
  const { home, next, sessionId } = await killedEditor(1_500);
  expect(await next.must("session/prompt", words(sessionId, "say after"))).toEqual({ stopReason: "end_turn" });
  expect(next.questions()).toHaveLength(1);
  expect(existsSync(join(home.workdir, "notes.txt"))).toBe(true);
});

test("a prompt that waits for a lost link is cancelled at once", async () => {
  const { next, sessionId } = await killedEditor(600_000);
  const answer = next.must("session/prompt", words(sessionId, "say after"));
  next.tell("session/cancel", { sessionId });
  expect(await answer).toEqual({ stopReason: "cancelled" });
});

test("B22 a cancel of a prompt that waits for a lost link is honoured at once, also where a change of mode waits for it before", async () => {
  const { next, sessionId } = await killedEditor(600_000);
  void next.ask("session/set_mode", { sessionId, modeId: "plan" }).catch(() => undefined);
  const answer = next.must("session/prompt", words(sessionId, "say after"));
  next.tell("session/cancel", { sessionId });
  expect(await answer).toEqual({ stopReason: "cancelled" });
});

test("B26 an idle editor that allows everything never answers a question of another driver's prompt", async () => {
  const home = rig.home();
  const eager = await rig.met(home, { permit: () => "allow_once", flags: ["--observe", "all"] });
  const sessionId = await begun(eager, home);
  await eager.must("session/prompt", words(sessionId, "hello"));
  const seat = await (await terminal(home, sessionId)).attach({ as: "driver" });
  const turn = seat.prompt("write secret.txt: 1");
  await approval(seat);
  // Also when that driver leaves with his question open, and when the editor begins to look only then.
  const late = await rig.met(home, { permit: () => "allow_once" });
  await late.must("session/load", { sessionId, cwd: home.workdir, mcpServers: [] });
  await eager.until("the call, seen", ({ params }) => (params?.["update"]?.title === "write secret.txt" ? true : undefined));
  void turn.catch(() => undefined);
  const info = () => home.connect().then((host) => host.session(sessionId).info());
  await seat.detach();
  while ((await info()).seats.some(({ role }) => role === "driver")) await eager.must("session/list");
  await eager.must("session/list");
  await late.must("session/list");
  expect([...eager.questions(), ...late.questions()]).toEqual([]);
  expect((await info()).approvals).toHaveLength(1);
  expect(existsSync(join(home.workdir, "secret.txt"))).toBe(false);
});

/** The editor, which is shown everything, has read all that happened, and has had time to ask the daemon for the wheel and the user for an answer. */
async function unanswered(home: DaemonHome, { sessionId, editor, asked }: { sessionId: string; editor: AcpClient; asked: number }): Promise<void> {
  const session = await (await home.connect()).openSession(sessionId);
  const from = editor.came.length;
  // Nobody drives: fails where the editor has taken the wheel.
  const mark = await session.attach({ as: "driver" });
  await mark.addSystemMessage("a mark");
  await editor.until("the mark", ({ params }) => (params?.["update"]?.content?.text?.includes("a mark") === true ? true : undefined), from);
  await mark.detach();
  for (let asks = 0; asks < 5; asks++) await editor.must("session/list");
  expect(editor.questions()).toHaveLength(asked);
  expect((await session.info()).approvals).toHaveLength(1);
}

test("B26 a new thread with --workdir never answers a question of a driver who has left", async () => {
  const home = rig.home();
  const session = await (await home.connect({ clientName: "terminal" })).sessionForWorkdir(home.workdir);
  const seat = await session.attach({ as: "driver" });
  void seat.prompt("write secret.txt: 1").catch(() => undefined);
  await approval(seat);
  await seat.detach();
  const eager = await rig.met(home, { permit: () => "allow_once", flags: ["--workdir", home.workdir, "--observe", "all"] });
  expect((await eager.must("session/new", { cwd: home.workdir, mcpServers: [] })).sessionId).toBe(session.id);
  await unanswered(home, { sessionId: session.id, editor: eager, asked: 0 });
  expect(existsSync(join(home.workdir, "secret.txt"))).toBe(false);
});

test("B26 an idle editor that came while a lost driver was waited for does not answer for him, not even when he never comes back", async () => {
  const { home, next, sessionId } = await killedEditor(6_000);
  const session = (await home.connect()).session(sessionId);
  expect((await session.info()).seats.some(({ role }) => role === "driver")).toBe(true);
  while ((await session.info()).seats.some(({ role }) => role === "driver")) await next.must("session/list");
  await unanswered(home, { sessionId, editor: next, asked: 0 });
});

test("B26 an orphaned turn that an editor answers for is somebody else's as soon as he drives, and is not asked again when he has gone", async () => {
  const home = rig.home();
  const before = await rig.met(home);
  const sessionId = await begun(before, home);
  void before.ask("session/prompt", words(sessionId, "write notes.txt: hello")).catch(() => undefined);
  await question(before);
  await before.end();
  const editor = await rig.met(home, { flags: ["--observe", "all"] });
  await editor.must("session/resume", { sessionId, cwd: home.workdir });
  await question(editor);
  const seat = await (await (await terminal(home, sessionId)).attach({ as: "viewer" })).takeDriver({ how: "force" });
  await editor.until("the withdrawal", ({ method }) => (method === "$/cancel_request" ? true : undefined));
  await seat.detach();
  await unanswered(home, { sessionId, editor, asked: 1 });
});

/** A prompt that runs, one that waits, and somebody who took the wheel from the editor. */
async function takenFrom(home: DaemonHome) {
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  const runs = editor.must("session/prompt", words(sessionId, "write one.txt: 1"));
  await question(editor);
  const waits = editor.ask("session/prompt", words(sessionId, "write two.txt: 2"));
  const viewer = await (await terminal(home, sessionId)).attach({ as: "viewer", label: "bo in a terminal" });
  while (viewer.state.queue.length === 0) await viewer.changed();
  return { editor, sessionId, runs, waits, seat: await viewer.takeDriver({ how: "force" }) };
}

test("B23 a prompt that waits, held, while another drives is not called cancelled: the editor is told that it waits and who drives", async () => {
  const home = rig.home();
  const { runs, waits, seat, sessionId } = await takenFrom(home);
  await seat.interrupt();
  expect(await runs).toEqual({ stopReason: "cancelled" });
  const { error } = await waits;
  expect(error).toMatchObject({ data: { code: "driver_taken" } });
  expect(error?.message).toContain("bo in a terminal drives this session, so this prompt could not be taken back: it still waits in the queue, held");
  expect(error?.message).toContain(`sessiond yield ${sessionId}`);
  // And so it does: it runs once, for him who lets it run.
  expect(seat.state.queue).toMatchObject([{ held: true }]);
  await seat.releaseQueue();
  await seat.approve(await approval(seat), { kind: "allow_once" });
  while (seat.state.turn !== null) await seat.changed();
  expect(existsSync(join(home.workdir, "two.txt"))).toBe(true);
});

test("B23 session/cancel while another drives ends the turn, and of a prompt that still waits it says so", async () => {
  const { editor, runs, waits, seat, sessionId } = await takenFrom(rig.home());
  editor.tell("session/cancel", { sessionId });
  expect(await runs).toEqual({ stopReason: "cancelled" });
  expect(await waits).toMatchObject({ error: { message: expect.stringContaining("it still waits in the queue"), data: { code: "driver_taken" } } });
  while (seat.state.turn !== null) await seat.changed();
  expect(seat.state.queue).toMatchObject([{ held: true }]);
});

test("a question that is settled elsewhere is withdrawn, and the late answer counts for nothing", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  const answer = editor.must("session/prompt", words(sessionId, "write notes.txt: hello"));
  const asked = await question(editor);
  const viewer = await (await terminal(home, sessionId)).attach({ as: "viewer" });
  const seat = await viewer.takeDriver({ how: "force" });
  // With the wheel goes the question.
  await editor.until("the withdrawal", ({ method, params }) => (method === "$/cancel_request" && params?.["requestId"] === asked.id ? true : undefined));
  editor.answer(asked, "allow_once");
  await editor.must("session/list");
  expect(seat.state.approvals).toHaveLength(1);
  await seat.approve(await approval(seat), { kind: "reject_once" });
  // Its turn is still the editor's to hear of.
  expect(await answer).toEqual({ stopReason: "end_turn" });
  expect(existsSync(join(home.workdir, "notes.txt"))).toBe(false);
});

test("a question whose driver gives the wheel back is asked in the editor again", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  const answer = editor.must("session/prompt", words(sessionId, "write notes.txt: hello"));
  await question(editor);
  const count = editor.came.length;
  const seat = await (await (await terminal(home, sessionId)).attach({ as: "viewer" })).takeDriver({ how: "force" });
  await editor.until("the withdrawal", ({ method }) => (method === "$/cancel_request" ? true : undefined));
  await seat.yieldDriver();
  editor.answer(await question(editor, count), "allow_once");
  expect(await answer).toEqual({ stopReason: "end_turn" });
  expect(existsSync(join(home.workdir, "notes.txt"))).toBe(true);
});

test("turns of others are shown with --observe all and not otherwise; their words are told as the user's", async () => {
  const home = rig.home();
  const [all, own] = [await rig.met(home, { flags: ["--observe", "all"] }), await rig.met(home)];
  const sessionId = await begun(all, home);
  await own.must("session/resume", { sessionId, cwd: home.workdir });
  const seat = await (await terminal(home, sessionId)).attach({ as: "driver" });
  await seat.prompt("hello from a terminal");
  await seat.detach();
  await all.update("agent_message_chunk");
  expect(all.text("user_message_chunk")).toBe("hello from a terminal");
  // A turn of its own is the proof that what came before it was not shown.
  await own.must("session/prompt", words(sessionId, "hello from the editor"));
  const first = own.updates(sessionId).find(({ sessionUpdate }) => sessionUpdate === "agent_message_chunk");
  expect(own.text("user_message_chunk")).toBe("");
  expect(first?.["content"].text).toBeDefined();
  expect(new Set(own.updates().flatMap(({ messageId }) => (messageId === undefined ? [] : [messageId.split("/")[0]]))).size).toBe(1);
  await all.until("the editor's prompt, seen by the other", ({ params }) => (params?.["update"]?.content?.text === "hello from the editor" ? true : undefined));
});

test("--viewer looks and never drives", async () => {
  const home = rig.home();
  const editor = await rig.met(home);
  const sessionId = await begun(editor, home);
  const viewer = await rig.met(home, { flags: ["--viewer", "--observe", "all"], permit: () => "allow_once" });
  await viewer.must("session/load", { sessionId, cwd: home.workdir, mcpServers: [] });
  const answer = editor.must("session/prompt", words(sessionId, "write notes.txt: hello"));
  const asked = await question(editor);
  expect(await viewer.ask("session/prompt", words(sessionId, "hello"))).toMatchObject({ error: { code: -32600, message: /only looks/ } });
  expect(await viewer.ask("session/set_mode", { sessionId, modeId: "plan" })).toMatchObject({ error: { message: /only looks/ } });
  viewer.tell("session/cancel", { sessionId });
  await viewer.update("tool_call");
  expect(viewer.questions()).toEqual([]);
  editor.answer(asked, "allow_once");
  expect(await answer).toEqual({ stopReason: "end_turn" });
});
