import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { formatToken, limits } from "@sessiond/shared";
import { ask, commandIn, outcome, shownTo, turnOf } from "../support/asking.ts";
import { House } from "../support/built-in-session.ts";
import { endRigs, promptId, Rig, seatSecret } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** What a reader of the whole broker found: decisions that rest on what was so before a wait. */
afterEach(endRigs);

const pattern = commandIn("/w");

/** A driver whose answer for the directory waits for the disk, and a viewer who may drive. */
async function answering() {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver("editor");
  const viewer = await rig.attach("phone");
  const turn = await turnOf(rig, driver);
  const asked = await ask(turn, pattern);
  const question = await shownTo(driver, asked);
  const held = disk.hold("replace", "rules.json");
  const answer = driver.approve(question, "allow_always").then(
    () => "taken",
    (error: { code: string }) => error.code,
  );
  await held.reached;
  return { disk, rig, driver, viewer, turn, asked, question, held, answer };
}

test("B14 B29 who lost the wheel while the answer was being remembered has not answered: the question stays open, and nothing is remembered", async () => {
  const { rig, driver, viewer, asked, held, answer } = await answering();
  await viewer.takeDriver("force", driver.seatId);
  held.release();
  expect(await answer).toBe("not_driver");
  expect(await outcome(asked)).toBe("open");
  expect((await rig.info()).rules).toEqual([]);
});

test("B4 B29 a token that ends while its answer is being remembered has not answered", async () => {
  const { rig, asked, held, answer } = await answering();
  const owner = { host_key: rig.daemon.hostKey };
  const { tokens } = await rig.daemon.call("list_tokens", { session_id: rig.sessionId }, owner);
  await rig.daemon.call("revoke_token", { session_id: rig.sessionId, token_id: tokens[0]?.token_id ?? "" }, owner);
  held.release();
  expect(await answer).toBe("not_attached");
  expect(await outcome(asked)).toBe("open");
});

test("B26 B29 an answer that came too late lets nothing run elsewhere, not even for the time in which its rule is on the disk", async () => {
  const { disk, rig, driver, turn, question, held, answer } = await answering();
  await driver.approve(question, "reject_once");
  const undo = disk.hold("replace", "rules.json");
  held.release();
  await undo.reached;
  const again = await ask(turn, pattern);
  expect(await outcome(again)).toBe("open");
  expect((await rig.info()).rules).toEqual([]);
  undo.release();
  expect(await answer).toBe("approval_gone");
});

test("B29 a rule that two answers asked for stays when one of them came too late", async () => {
  const { rig, driver, turn, question, held, answer } = await answering();
  const second = await shownTo(driver, await ask(turn, pattern));
  const other = driver.approve(second, "allow_always");
  await driver.approve(question, "reject_once");
  held.release();
  expect(await answer).toBe("approval_gone");
  await other;
  expect((await rig.info()).rules).toHaveLength(1);
});

test("B2 a token in the place of a variable's name is not repeated by the refusal", async () => {
  const rig = await Rig.start();
  const name = formatToken("control", rig.sessionId, "0".repeat(32)).slice(0, 64);
  const refused = await rig.daemon.call("start_or_get_for_workdir", { workdir: rig.workdir, env: { [name]: "x" } }, { host_key: rig.daemon.hostKey }).then(
    () => null,
    (error: Error) => error,
  );
  expect(refused).toMatchObject({ code: "bad_request" });
  expect(JSON.stringify([refused, refused?.message])).not.toContain(name);
});

test("B18 B36 a release that finds nothing held any more is acknowledged when that is on disk", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver("editor");
  const turn = await turnOf(rig, driver);
  await driver.prompt("later");
  await rig.interrupt(turn.turnId);
  const held = disk.hold("sync", "journal");
  const first = driver.release();
  await held.reached;
  let told = false;
  const second = driver.release().then((reply) => {
    told = true;
    return reply;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(told).toBe(false);
  held.release();
  await first;
  await second;
});

test("B45 a prompt whose turn begins when the model cannot be asked any more fails with what to do, and nobody is asked", async () => {
  const house = await House.open();
  const before = globalThis.fetch;
  const asked: unknown[] = [];
  globalThis.fetch = ((url: unknown) => {
    asked.push(url);
    return Promise.reject(new Error("offline"));
  }) as typeof fetch;
  try {
    const started = await house.start();
    const driver = await house.driver(started);
    await driver.prompt("run sleep 1");
    const question = await driver.question();
    await driver.prompt("say hello");
    await house.daemon.call("configure_session", { session_id: started.session.session_id, model: "gpt-nowhere" }, driver.auth);
    await driver.approve(question, "reject_once");
    const end = await driver.event("turn_ended", 2);
    expect(end).toMatchObject({ stop_reason: "failed", error: { code: "agent_unavailable" } });
    expect(end.error?.message).toContain("OPENAI_API_KEY");
    expect(asked).toEqual([]);
  } finally {
    globalThis.fetch = before;
    await house.close();
  }
});

test("B28 a policy that is given again as it is does not begin a question's time anew", async () => {
  const rig = await Rig.start();
  const policy = { type: "reject_after", ms: 60_000 } as const;
  const driver = await rig.driver("editor");
  const configure = () => rig.daemon.call("configure_session", { session_id: rig.sessionId, policy }, driver.auth);
  await configure();
  const asked = await ask(await turnOf(rig, driver), pattern);
  await shownTo(driver, asked);
  const away = await rig.attach("phone");
  await driver.yieldDriver();
  rig.clock.advance(50_000);
  await driver.takeDriver("if_free");
  await configure();
  await away.until((seat) => seat.state.approvals[0]?.deadline === undefined);
  expect(away.state.approvals[0]?.remaining_ms).toBe(10_000);
});

test("B14 nobody acts as driver after the frame with which the wheel went elsewhere, however close the calls come", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver("editor");
  for (let gap = 0; gap < 30; gap++) {
    const yielding = driver.yieldDriver();
    for (let step = 0; step < gap; step++) await Promise.resolve();
    const noting = rig.daemon.call("add_system_message", { session_id: rig.sessionId, text: String(gap) }, driver.auth).then(
      ({ seq }) => seq,
      () => 0,
    );
    expect(await noting).toBeLessThan((await yielding).seq);
    await driver.takeDriver("if_free");
  }
});

test("B4 when the token of a session at rest was used last is known after a restart, however shortly before that was", async () => {
  const day = limits.start_token_idle_ms;
  const rig = await Rig.start({ limits: { unused_delete_ms: 1e12 } });
  const use = (at: Rig) => at.daemon.call("authorize", { session_id: at.sessionId }, { token: at.token });
  const written = limits.token_use_written_ms;
  rig.clock.advance(limits.rest_after_ms);
  // Its last step: what it writes down of the tokens' use is on disk then.
  while (existsSync(join(rig.daemon.root, "state/sessiond/open", rig.sessionId))) await new Promise((resolve) => setImmediate(resolve));
  await use(rig);
  const stored = () => readFile(join(dirname(rig.journalPath), "session.json"), "utf8");
  while (!(await stored()).includes(`"last_used_at":${rig.clock.now()}`)) await new Promise((resolve) => setImmediate(resolve));
  // Its turn comes when that write is over, not only seen: until then a use begins another.
  await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: "behind it" }, { host_key: rig.daemon.hostKey });
  rig.clock.advance(written - 1_000);
  await use(rig);
  await rig.daemon.stop(0);
  const again = await Rig.restart(rig.daemon.root, rig);
  again.clock.advance(day - 1_000);
  await use(again);
});

test("B19 what steered a turn that is over runs by itself, also when a restart finds a later turn that waits", async () => {
  const rig = await Rig.start();
  const secret = seatSecret("editor");
  const driver = await rig.driver("editor", { secret });
  const { turn_id = "" } = await driver.prompt("first");
  await rig.kind.turn();
  const id = promptId();
  await driver.prompt("steer the first", { id, whenBusy: "steer" });
  await rig.interrupt(turn_id);
  await driver.prompt("second");
  const second = await rig.kind.turn();
  await second.call("c1");
  void second.ask("c1");
  await driver.question();

  const after = await rig.crash();
  const back = await after.driver("editor", { secret });
  const parked = await after.kind.turn();
  await back.release();
  expect(parked.takeSteering()).toBe(0);
  parked.end();
  expect((await after.kind.turn()).text).toBe("steer the first");
});

test("B44 a turn that is taken up after a restart ends with the model that it began with; the next has the new one", async () => {
  const rig = await Rig.start();
  const secret = seatSecret("editor");
  const driver = await rig.driver("editor", { secret });
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  void turn.ask("c1");
  await driver.question();
  await rig.daemon.call("configure_session", { session_id: rig.sessionId, model: "other" }, driver.auth);

  const after = await rig.crash();
  const back = await after.driver("editor", { secret });
  const parked = await after.kind.turn();
  expect([turn.context.model, parked.context.model]).toEqual(["script", "script"]);
  parked.end();
  await back.until((seat) => seat.state.turn === null);
  await back.prompt("more");
  expect((await after.kind.turn()).context.model).toBe("other");
});
