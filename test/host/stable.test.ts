import { afterEach, beforeEach, expect, test } from "vitest";
import { removeRoot, startTestDaemon, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { eventsOf, hold, hostAuth, idOf, makeWorkdir, seatSecretOf } from "../support/gate-world.ts";

let daemon: TestDaemon;
let workdir: string;
beforeEach(async () => {
  daemon = await startTestDaemon();
  workdir = await makeWorkdir(daemon);
});
afterEach(async () => {
  await daemon.stop(0);
  await removeRoot(daemon.root);
});

const get = () => daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, hostAuth(daemon));
const framesOf = async (session_id: string) => (await daemon.call("session_data", { session_id }, hostAuth(daemon))).frames;
const textOf = async (session_id: string): Promise<string> => JSON.stringify(await framesOf(session_id));

/** Says something and waits for the end of the turn. */
async function converse(text: string, letter: string): Promise<string> {
  const { session, token } = await get();
  const { session_id } = session;
  const auth = { token, seat_secret: seatSecretOf(letter) };
  const seat = await hold(daemon, { session_id, role: "driver" }, auth);
  await daemon.call("send_prompt", { session_id, prompt_id: idOf("prm", letter), parts: [{ type: "text", text }], when_busy: "queue" }, auth);
  await seat.until(() => eventsOf(seat).some((event) => event.type === "turn_ended"));
  await daemon.call("detach", { session_id }, auth);
  seat.close();
  return session_id;
}

async function restart(): Promise<void> {
  await daemon.stop(0);
  daemon = await startTestDaemon({ root: daemon.root });
}

test("B11 the session of a directory keeps its id and every word across stops and restarts, in any order", async () => {
  const id = await converse("say the first word", "A");
  await restart();
  expect(await converse("say the second word", "B")).toBe(id);
  await daemon.call("stop", { session_id: id }, hostAuth(daemon));
  expect(await textOf(id)).toContain("the second word");
  expect(await converse("say the third word", "C")).toBe(id);
  await daemon.call("stop", { session_id: id }, hostAuth(daemon));
  await restart();
  const next = await get();
  expect(next).toMatchObject({ created: true, session: { session_id: id, life: 3, workdir } });
  const said = await textOf(id);
  for (const word of ["first", "second", "third"]) expect(said).toContain(`say the ${word} word`);
  const seqs = (await framesOf(id)).map((frame) => frame.seq);
  expect(seqs).toEqual(seqs.map((_, index) => index + 1));
});

test("B11 a restart ends no life: the same token goes on, and the call wakes the session as it was", async () => {
  const id = await converse("say before", "A");
  const { token } = await get();
  const before = await daemon.call("session_info", { session_id: id }, { token });
  await restart();
  expect((await daemon.call("list_sessions", {}, hostAuth(daemon))).sessions).toMatchObject([{ session_id: id, life_state: "resting", stable: true }]);
  const after = await daemon.call("session_info", { session_id: id }, { token });
  expect({ ...after, cursor: "" }).toEqual({ ...before, cursor: "" });
  expect(await get()).toMatchObject({ created: false, session: { session_id: id, life: 1 } });
});

test("B11 another session in the same directory is never taken for it, before or after", async () => {
  const start = (letter: string) => daemon.call("start_session", { request_id: idOf("req", letter), workdir, model: "practice" }, hostAuth(daemon));
  const early = await start("A");
  const stable = await get();
  const late = await start("B");
  await restart();
  expect((await get()).session.session_id).toBe(stable.session.session_id);
  expect(new Set([early, stable, late].map(({ session }) => session.session_id)).size).toBe(3);
});

test("B11 of a session that lives, options change nothing, and the reply names those that differ", async () => {
  const id = (await get()).session.session_id;
  const other = await daemon.call("start_or_get_for_workdir", { workdir, model: "another" }, hostAuth(daemon));
  expect(other).toMatchObject({ created: false, differs: ["model"], session: { session_id: id, model: "practice" } });
  await daemon.call("stop", { session_id: id }, hostAuth(daemon));
  const next = await daemon.call("start_or_get_for_workdir", { workdir, model: "another" }, hostAuth(daemon));
  expect(next).toMatchObject({ created: true, differs: [], session: { session_id: id, model: "another" } });
});
