import { afterEach, expect, test } from "vitest";
import { limits, type VerbInput } from "@sessiond/shared";
import { endRigs, eventsOf, Rig, type TestSeat } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** What a session is set to, and notes in its transcript. */
afterEach(endRigs);
const secret = "editor".padEnd(24, "_");
const script = { knows: (model: string) => model !== "nonesuch" };

type Settings = Omit<VerbInput<"configure_session">, "session_id">;
/** Of every session, whatever its agent. */
type OfSession = Required<Omit<Settings, "mode" | "options">>;
const configure = (seat: TestSeat, settings: Settings) => seat.rig.daemon.call("configure_session", { session_id: seat.rig.sessionId, ...settings }, seat.auth);
const note = (seat: TestSeat, text: string) => seat.rig.daemon.call("add_system_message", { session_id: seat.rig.sessionId, text }, seat.auth);
const set = async (rig: Rig) => {
  const { title, starred, model, policy } = await rig.info();
  return { title, starred, model, policy };
};
const untouched = { title: null, starred: false, model: "script", policy: { type: "hold" } };
const all: OfSession = { title: "the parser", starred: true, model: "other", policy: { type: "reject_after", ms: 5_000 } };

test("B44 all that is given counts together, in one frame, for everybody, and after a restart; the reply states it", async () => {
  const rig = await Rig.start({ script });
  const driver = await rig.driver("editor", { secret });
  const watcher = await rig.attach("watcher");
  expect(await configure(driver, all)).toEqual({ seq: expect.any(Number), ...all, mode: null, options: {} });
  expect(eventsOf(await rig.journal(), "session_configured")).toEqual([
    { type: "session_configured", ...all, by: { seat_id: driver.seatId, label: "editor" } },
  ]);
  await watcher.event("session_configured");
  expect(watcher.state).toMatchObject(all);
  expect(await configure(driver, { starred: false })).toMatchObject({ ...all, starred: false });
  expect(await set(await rig.crash())).toEqual({ ...all, starred: false });
});

test("B44 nothing given changes nothing, and is told what there is", async () => {
  const rig = await Rig.start({ script });
  const driver = await rig.driver();
  const before = await rig.lines();
  expect(await configure(driver, {})).toMatchObject(untouched);
  expect(await rig.lines()).toEqual(before);
});

test("B44 a title that is null is cleared; title and star outlive the life", async () => {
  const rig = await Rig.start({ script });
  const driver = await rig.driver();
  await configure(driver, { title: "one", starred: true });
  await rig.stop();
  await rig.startSession();
  expect(await set(rig)).toEqual({ ...untouched, title: "one", starred: true });
  expect(await configure(await rig.driver(), { title: null })).toMatchObject({ title: null, starred: true });
});

test("B44 a model that there is not changes nothing at all: title, star, policy, agent, journal and transcript are as they were", async () => {
  const rig = await Rig.start({ script });
  const driver = await rig.driver();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.say("hello");
  await driver.event("agent_message_chunk");
  const [before, info] = [await rig.lines(), await rig.info()];
  await expect(configure(driver, { ...all, model: "nonesuch" })).rejects.toMatchObject({ code: "model_unknown", detail: { model: "nonesuch" } });
  expect(await rig.lines()).toEqual(before);
  expect(await rig.info()).toEqual(info);
  expect(rig.kind.closes).toBe(0);
  expect(turn.signal.aborted).toBe(false);
  turn.end();
  await driver.event("turn_ended");
  await driver.prompt("again");
  expect((await rig.kind.turn()).context).toBe(turn.context);
});

test("B44 what the schema refuses changes nothing either", async () => {
  const rig = await Rig.start({ script });
  const driver = await rig.driver();
  const before = await rig.lines();
  const deceptive = ["\u001b[31mred", "two\nlines", "a\ttab", "\u202eback", "un\u200bseen", "half \ud800"].map((title) => ({ title }));
  const bad: object[] = [
    ...deceptive,
    { title: "" },
    { title: "x".repeat(limits.session_title_chars_max + 1) },
    { model: "" },
    { mode: "" },
    { options: { thinking: 3 } },
    { effort: "high" },
    { starred: "yes" },
  ];
  for (const settings of bad) await expect(configure(driver, { starred: true, ...settings } as Settings)).rejects.toMatchObject({ code: "bad_request" });
  expect(await rig.lines()).toEqual(before);
});

test("B44 another model counts from the next turn on: the running one ends with its own, and its agent is closed then", async () => {
  const rig = await Rig.start({ script });
  const driver = await rig.driver();
  await driver.prompt("work");
  const first = await rig.kind.turn();
  await configure(driver, { model: "other" });
  await driver.prompt("later");
  expect([first.context.model, rig.kind.closes, first.signal.aborted]).toEqual(["script", 0, false]);
  await first.say("still at it");
  first.end();
  const second = await rig.kind.turn();
  expect(second.context.model).toBe("other");
  expect(rig.kind.closes).toBe(1);
  second.end();
  await driver.event("turn_ended", 2);
  await driver.prompt("third");
  expect((await rig.kind.turn()).context).toBe(second.context);
});

test("B44 an agent that was let go for another model is closed with the session, when its turn still runs", async () => {
  const rig = await Rig.start({ script: { ...script, stubborn: true } });
  const driver = await rig.driver();
  await driver.prompt("work");
  await rig.kind.turn();
  await configure(driver, { model: "other" });
  await driver.prompt("later");
  const stopping = rig.stop();
  await new Promise((resolve) => setImmediate(resolve));
  rig.clock.advance(limits.interrupt_wait_ms);
  await stopping;
  expect(rig.kind.closes).toBeGreaterThanOrEqual(2);
});

test("B44 only the driver sets anything, or adds a note", async () => {
  const rig = await Rig.start({ script });
  await rig.driver();
  const viewer = await rig.attach("viewer");
  const before = await rig.lines();
  await expect(configure(viewer, all)).rejects.toMatchObject({ code: "not_driver" });
  await expect(note(viewer, "hello")).rejects.toMatchObject({ code: "not_driver" });
  expect(await rig.lines()).toEqual(before);
  expect(await set(rig)).toEqual(untouched);
});

test("B38 B44 on a session that cannot write, or has ended, settings and notes are refused by name", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ script, disk });
  const driver = await rig.driver();
  void disk.fail("write", "/journal");
  await expect(configure(driver, all)).rejects.toMatchObject({ code: "storage_failed" });
  expect(await set(rig)).toEqual(untouched);
  await expect(configure(driver, all)).rejects.toMatchObject({ code: "session_faulted" });
  await expect(note(driver, "hello")).rejects.toMatchObject({ code: "session_faulted" });
  rig.clock.advance(limits.reopen_ms);
  await driver.until((seat) => seat.faults.length > 0 && seat.fault === undefined);
  expect(await configure(driver, all)).toMatchObject(all);
  await rig.stop();
  const before = await rig.lines();
  await expect(configure(driver, all)).rejects.toMatchObject({ code: "session_stopped" });
  await expect(note(driver, "hello")).rejects.toMatchObject({ code: "session_stopped" });
  expect(await rig.lines()).toEqual(before);
});

test("B44 a note stands in the transcript with who wrote it, also while a turn runs", async () => {
  const rig = await Rig.start({ script });
  const driver = await rig.driver("editor", { secret });
  const watcher = await rig.attach("watcher");
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.say("one");
  await note(driver, "mind the step");
  await turn.say(" two");
  await watcher.until((seat) => seat.state.messages.length === 4);
  const by = { seat_id: driver.seatId, label: "editor" };
  expect(watcher.state.messages.map((message) => [message.type, message.text])).toEqual([
    ["user", "work"],
    ["agent", "one"],
    ["notice", "mind the step"],
    ["agent", " two"],
  ]);
  expect(watcher.state.messages[2]).toMatchObject({ by });
  const after = await rig.crash();
  expect((await after.attach("late")).state.messages).toMatchObject([{}, {}, { type: "notice", text: "mind the step", by }, {}]);
  for (const text of ["", "x".repeat(limits.system_message_chars_max + 1)]) await expect(note(driver, text)).rejects.toMatchObject({ code: "bad_request" });
});
