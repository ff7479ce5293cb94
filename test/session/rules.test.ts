import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { limits, type Rule, type RulePattern } from "@sessiond/shared";
import { testRoot } from "../../packages/daemon/src/testing.ts";
import { ask, commandIn, outcome, pathOf, shownTo, turnOf } from "../support/asking.ts";
import { endRigs, eventsOf, Rig } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** Answers that are remembered: for the turn, for the session, for the workdir. */
afterEach(endRigs);
const secret = "editor".padEnd(24, "_");
const pattern = commandIn("/w");

async function working(rig: Rig) {
  const driver = await rig.driver("editor", { secret });
  return { rig, driver, turn: await turnOf(rig, driver) };
}

/** A session in which a question about `pattern` was answered with this option. */
async function answered(option: string, rig?: Rig) {
  const at = await working(rig ?? (await Rig.start()));
  const asked = await ask(at.turn, pattern);
  await at.driver.approve(await shownTo(at.driver, asked), option);
  return at;
}

const rulesPath = (rig: Rig) => join(rig.daemon.root, "state/sessiond/rules.json");
const storedRules = async (rig: Rig): Promise<Record<string, Rule[]>> =>
  readFile(rulesPath(rig), "utf8").then(
    (text) => (JSON.parse(text) as { workdirs: Record<string, Rule[]> }).workdirs,
    () => ({}),
  );

/** Asks, and expects nobody to be asked. */
async function byRule(turn: Parameters<typeof ask>[0], of: RulePattern = pattern, tool?: string) {
  const asked = await ask(turn, of, tool);
  const told = await outcome(asked);
  expect(told).not.toBe("open");
  return told;
}

/** Asks, and expects a question that waits. */
async function byPerson(turn: Parameters<typeof ask>[0], of: RulePattern = pattern, tool?: string) {
  const asked = await ask(turn, of, tool);
  expect(await outcome(asked)).toBe("open");
  return asked;
}

async function nextTurn(rig: Rig, driver: Awaited<ReturnType<Rig["driver"]>>, turn: Parameters<typeof ask>[0]) {
  const before = eventsOf(driver.frames, "turn_ended").length;
  turn.end();
  await driver.event("turn_ended", before + 1);
  return turnOf(rig, driver);
}

test("B25 B29 a question that can be remembered offers six answers, each with the words for what is remembered, where, and how long", async () => {
  const { rig, driver, turn } = await working(await Rig.start());
  const { options, pattern: told } = await shownTo(driver, await ask(turn, commandIn("/w/sub", "make \u202Etest")));
  expect(told).toEqual(commandIn("/w/sub", "make \u202Etest"));
  const what = "exactly this command in /w/sub: make \\u{202e}test";
  expect(options.map(({ option_id, kind, remembers }) => [option_id, kind, remembers])).toEqual([
    ["allow_once", "allow_once", null],
    ["allow_turn", "allow_turn", `Allowed until this turn ends: ${what}`],
    ["allow_session", "allow_session", `Allowed in this session and its later lives, until it is forgotten: ${what}`],
    ["allow_always", "allow_always", `Allowed in every session of ${rig.workdir}, until it is forgotten: ${what}`],
    ["reject_once", "reject_once", null],
    ["reject_always", "reject_always", `Rejected in every session of ${rig.workdir}, until it is forgotten: ${what}`],
  ]);
  const file = await shownTo(driver, await ask(turn, pathOf("/w/notes.txt"), "write"));
  expect(file.options[1]?.remembers).toBe("Allowed until this turn ends: write of exactly this file, whatever the content: /w/notes.txt");
});

test("B29 what has no pattern, or one too large for a rule, can be answered once only", async () => {
  const { driver, turn, rig } = await working(await Rig.start());
  for (const none of [null, commandIn("/w", "x".repeat(limits.rule_pattern_chars_max))]) {
    const question = await shownTo(driver, await ask(turn, none));
    expect([question.options.map(({ option_id }) => option_id), question.pattern]).toEqual([["allow_once", "reject_once"], undefined]);
    for (const option of ["allow_turn", "allow_session", "allow_always", "reject_always", "no such option"])
      await expect(driver.approve(question, option)).rejects.toMatchObject({ code: "bad_request" });
  }
  expect((await rig.info()).approvals).toHaveLength(2);
  expect((await rig.info()).rules).toEqual([]);
});

test("B27 B29 a question that a rule answers is closed in the step in which it is raised, with the rule's id, and nobody is asked", async () => {
  const { rig, driver, turn } = await answered("allow_session");
  const asked = await ask(turn, pattern);
  expect(await asked.answer).toMatchObject({ allowed: true, digest: expect.stringMatching(/^[0-9a-f]{64}$/) });
  await driver.event("approval_resolved", 2);
  const frames = await rig.journal();
  const [rule] = (await rig.info()).rules;
  const raised = frames.findIndex(({ event }) => event.type === "approval_requested" && event.approval.tool_call_id === asked.callId);
  expect(frames[raised + 1]?.event).toEqual({
    type: "approval_resolved",
    approval_id: eventsOf(frames, "approval_requested")[1]?.approval.approval_id,
    cause: "rule",
    rule_id: rule?.rule_id,
    option_id: "allow_session",
  });
  expect((await rig.info()).approvals).toEqual([]);
  expect((await rig.attach("late")).state.approvals).toEqual([]);
});

test("B26 B29 the answer of a rule is bound to the question that is asked now, not to the one that was answered", async () => {
  const { turn } = await answered("allow_session");
  const first = await ask(turn, pattern);
  const second = await ask(turn, pattern);
  const [one, two] = [await first.answer, await second.answer];
  expect(one.allowed && two.allowed && one.digest !== two.digest).toBe(true);
});

test("B29 an answer for the turn counts in this turn, and in no later one", async () => {
  const { rig, driver, turn } = await answered("allow_turn");
  expect(eventsOf(driver.frames, "rule_added")[0]?.rule).toMatchObject({ scope: "turn", turn_id: turn.turnId, effect: "allow", tool: "shell", pattern });
  expect(await byRule(turn)).toMatchObject({ allowed: true });
  const next = await nextTurn(rig, driver, turn);
  expect((await rig.info()).rules).toEqual([]);
  await byPerson(next);
});

test("B29 an answer for the turn counts in a turn that was parked, and ends with it", async () => {
  const { rig, turn } = await answered("allow_turn");
  const parked = await ask(turn, commandIn("/w", "other"));
  expect(await outcome(parked)).toBe("open");
  // The first call is done: of the open ones all wait.
  for (const { tool_call_id, status } of (await rig.info()).calls) if (tool_call_id !== parked.callId) await turn.update(tool_call_id, "completed", status);
  const after = await rig.crash();
  const back = await after.driver("editor", { secret });
  const resumed = await after.kind.turn();
  expect(await byRule(resumed)).toMatchObject({ allowed: true });
  await after.interrupt(resumed.turnId);
  expect((await after.info()).rules).toEqual([]);
  expect(back.state.rules).toEqual([]);
});

test("B29 an answer for the session counts in its later turns, after a restart and in its next life, and in no other session of the same directory", async () => {
  const { rig, driver, turn } = await answered("allow_session");
  const next = await nextTurn(rig, driver, turn);
  expect(await byRule(next)).toMatchObject({ allowed: true });
  const request = { request_id: `req_${"2".repeat(22)}`, workdir: rig.workdir };
  const second = await rig.daemon.call("start_session", request, { host_key: rig.daemon.hostKey });
  const beside = new Rig(rig.daemon, { clock: rig.clock, kind: rig.kind, workdir: rig.workdir, options: {} });
  Object.assign(beside, { sessionId: second.session.session_id, token: second.token });
  const other = await working(beside);
  await byPerson(other.turn);
  expect((await beside.info()).rules).toEqual([]);
  expect(await storedRules(rig)).toEqual({});
  await beside.interrupt(other.turn.turnId);

  const after = await rig.crash();
  expect((await after.info()).rules).toMatchObject([{ scope: "session", pattern }]);
  await after.stop();
  const nextLife = new Rig(after.daemon, { clock: after.clock, kind: after.kind, workdir: rig.workdir, options: {} });
  expect((await nextLife.startSession()).session).toMatchObject({ session_id: rig.sessionId, life: 2 });
  const again = await working(nextLife);
  expect(await byRule(again.turn)).toMatchObject({ allowed: true });
});

test("B29 an answer for the directory counts in every session of it, by whatever name, and after a restart; another directory does not hear of it", async () => {
  const { rig } = await answered("allow_always");
  expect((await rig.info()).rules).toMatchObject([{ scope: "workdir", effect: "allow", tool: "shell", pattern, by: { label: "editor" } }]);
  await symlink(rig.workdir, join(rig.daemon.root, "another-name"));
  const workdirs = [join(rig.daemon.root, "another-name"), join(rig.workdir, "within"), join(rig.daemon.root, "work-other")];
  for (const workdir of workdirs) await mkdir(workdir, { recursive: true });
  const told: unknown[] = [];
  for (const [index, workdir] of workdirs.entries()) {
    const started = await rig.daemon.call("start_session", { request_id: `req_${String(index).repeat(22)}`, workdir }, { host_key: rig.daemon.hostKey });
    const session = new Rig(rig.daemon, { clock: rig.clock, kind: rig.kind, workdir, options: {} });
    Object.assign(session, { sessionId: started.session.session_id, token: started.token });
    const at = await working(session);
    const asked = await outcome(await ask(at.turn, pattern));
    told.push([asked === "open" ? asked : asked.allowed, (await session.info()).rules.length]);
  }
  expect(told).toEqual([
    [true, 1],
    ["open", 0],
    ["open", 0],
  ]);
  expect(Object.keys(await storedRules(rig))).toEqual([rig.workdir]);

  await rig.stop();
  const after = await rig.crash();
  // The directory's name is kept in the state that was copied.
  const [rule] = (await after.info()).rules;
  expect(rule).toMatchObject({ scope: "workdir", pattern });
});

test("B29 a rule matches its tool and its pattern letter for letter, and nothing near them", async () => {
  const { turn, driver } = await answered("allow_session");
  const near: [RulePattern, string][] = [
    [commandIn("/w", "make"), "shell"],
    [commandIn("/w", "make test "), "shell"],
    [commandIn("/w", "make test && rm -rf /"), "shell"],
    [commandIn("/w", "make  test"), "shell"],
    [commandIn("/w", "Make test"), "shell"],
    [commandIn("/w/", "make test"), "shell"],
    [commandIn("/w/sub", "make test"), "shell"],
    [commandIn("/", "make test"), "shell"],
    [commandIn("/w", "make test"), "shell2"],
    [pathOf("make test"), "shell"],
  ];
  for (const [of, tool] of near) await byPerson(turn, of, tool);
  const write = await shownTo(driver, await ask(turn, pathOf("/w/a"), "write"));
  await driver.approve(write, "allow_session");
  expect(await byRule(turn, pathOf("/w/a"), "write")).toMatchObject({ allowed: true });
  for (const path of ["/w/a/b", "/w", "/w/./a", "/w/A", "/w/a ", "w/a"]) await byPerson(turn, pathOf(path), "write");
  await byPerson(turn, pathOf("/w/a"), "edit");
});

test("B29 a remembered refusal refuses without asking, and goes before whatever allows", async () => {
  const { rig, driver, turn } = await working(await Rig.start());
  const [first, second] = [await ask(turn, pattern), await ask(turn, pattern)];
  await driver.approve(await shownTo(driver, first), "allow_session");
  expect(await byRule(turn)).toMatchObject({ allowed: true });
  await driver.approve(await shownTo(driver, second), "reject_always", "never here");
  expect(await second.answer).toMatchObject({ allowed: false, reason: "never here" });
  expect(await byRule(turn)).toEqual({ allowed: false, reason: "A remembered answer refuses it." });
  const [allow, reject] = (await rig.info()).rules;
  expect([allow, reject]).toMatchObject([
    { scope: "session", effect: "allow" },
    { scope: "workdir", effect: "reject" },
  ]);
  expect(eventsOf(await rig.journal(), "approval_resolved").at(-1)).toMatchObject({ cause: "rule", rule_id: reject?.rule_id });
});

test("B29 a remembering answer touches no other open question, not even one about the same", async () => {
  for (const option of ["allow_turn", "allow_session", "allow_always", "reject_always"]) {
    const { driver, turn } = await working(await Rig.start());
    const [first, second] = [await ask(turn, pattern), await ask(turn, pattern)];
    await driver.approve(await shownTo(driver, first), option);
    expect(await outcome(second)).toBe("open");
    // It can be answered as it was asked, and the same is not remembered twice.
    await driver.approve(await shownTo(driver, second), option);
    expect((await driver.rig.info()).rules).toHaveLength(1);
  }
});

test("B29 a forgotten rule counts no more, at once and after a restart: of the session, and of the directory", async () => {
  for (const option of ["allow_session", "allow_always"]) {
    const { rig, driver, turn } = await answered(option);
    const [rule] = (await rig.info()).rules;
    const forget = () => rig.daemon.call("forget_rule", { session_id: rig.sessionId, rule_id: rule?.rule_id ?? "" }, { token: rig.token });
    await forget();
    expect((await rig.info()).rules).toEqual([]);
    expect(await storedRules(rig)).toEqual({});
    expect(eventsOf(await rig.journal(), "rule_forgotten")).toHaveLength(option === "allow_session" ? 1 : 0);
    await byPerson(turn);
    await expect(forget()).rejects.toMatchObject({ code: "not_found", detail: { what: "rule" } });
    await rig.interrupt(turn.turnId);
    const after = await rig.crash();
    expect((await after.info()).rules).toEqual([]);
    expect(driver.state.rules).toEqual([]);
  }
});

test("B29 a session can forget its own rules and its directory's, and nobody else's: not_found, and they are all there", async () => {
  const { rig } = await answered("allow_session");
  const other = await rig.another("other");
  await answered("allow_always", other);
  const ids = [...(await rig.info()).rules, ...(await other.info()).rules].map((rule) => rule.rule_id);
  const forget = (from: Rig, rule_id: string) => rig.daemon.call("forget_rule", { session_id: from.sessionId, rule_id }, { token: from.token });
  await expect(forget(rig, ids[1] ?? "")).rejects.toMatchObject({ code: "not_found" });
  await expect(forget(other, ids[0] ?? "")).rejects.toMatchObject({ code: "not_found" });
  await expect(forget(rig, `rul_${"x".repeat(22)}`)).rejects.toMatchObject({ code: "not_found" });
  const viewer = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: "v" }, { token: rig.token });
  await expect(rig.daemon.call("forget_rule", { session_id: rig.sessionId, rule_id: ids[0] ?? "" }, { token: viewer.token })).rejects.toMatchObject({
    code: "role_too_small",
  });
  expect([...(await rig.info()).rules, ...(await other.info()).rules].map((rule) => rule.rule_id)).toEqual(ids);
});

test("B29 a token that a token minted may not make the directory remember: the question stays open and nothing is written", async () => {
  const rig = await Rig.start();
  const mint = (auth: { token: string } | { host_key: string }, label: string) =>
    rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "control", label }, auth);
  const child = await mint({ token: rig.token }, "child");
  const driver = await rig.driver("child", { token: child.token });
  const turn = await turnOf(rig, driver);
  const asked = await ask(turn, pattern);
  const question = await shownTo(driver, asked);
  const before = await rig.lines();
  for (const option of ["allow_always", "reject_always", "always", "constructor"])
    await expect(driver.approve(question, option)).rejects.toMatchObject({ code: "role_too_small" });
  expect(await rig.lines()).toEqual(before);
  expect(await outcome(asked)).toBe("open");
  expect(await storedRules(rig)).toEqual({});
  // For its own session it may.
  await driver.approve(question, "allow_session");
  expect(await asked.answer).toMatchObject({ allowed: true });
  await driver.detach();
  const hosts = await mint({ host_key: rig.daemon.hostKey }, "hosts");
  const owner = await rig.driver("owner", { token: hosts.token });
  const other = await ask(turn, commandIn("/w", "other"));
  await owner.approve(await shownTo(owner, other), "allow_always");
  expect(await storedRules(rig)).toMatchObject({ [rig.workdir]: [{ scope: "workdir" }] });
});

test("B29 more rules than the limit are not remembered, and then nothing is answered either: of a session, and of a directory", async () => {
  const { rig, driver, turn } = await working(await Rig.start());
  for (let count = 0; count < limits.rules_max; count += 1) {
    const asked = await ask(turn, commandIn("/w", `command ${count}`));
    await driver.approve(await shownTo(driver, asked), "allow_session");
  }
  const asked = await ask(turn, pattern);
  const question = await shownTo(driver, asked);
  const before = await rig.lines();
  for (const option of ["allow_turn", "allow_session"])
    await expect(driver.approve(question, option)).rejects.toMatchObject({ code: "limit_reached", detail: { limit: "rules_max" } });
  expect(await rig.lines()).toEqual(before);
  expect(await outcome(asked)).toBe("open");

  // The directory has a bound of its own.
  const stored = (count: number): Rule => ({
    rule_id: `rul_${String(count).padStart(22, "0")}`,
    effect: "allow",
    scope: "workdir",
    tool: "shell",
    pattern: commandIn("/w", `c${count}`),
    by: { label: "owner" },
    at: 1,
  });
  const root = await testRoot();
  await mkdir(join(root, "state/sessiond"), { recursive: true, mode: 0o700 });
  const full = { [join(root, "work")]: Array.from({ length: limits.rules_max }, (_, count) => stored(count)) };
  await writeFile(join(root, "state/sessiond/rules.json"), JSON.stringify({ version: 1, workdirs: full }), { mode: 0o600 });
  const second = await working(await Rig.start({ root }));
  const open = await ask(second.turn, pattern);
  const lines = await second.rig.lines();
  await expect(second.driver.approve(await shownTo(second.driver, open), "allow_always")).rejects.toMatchObject({ code: "limit_reached" });
  expect(await second.rig.lines()).toEqual(lines);
  expect(await outcome(open)).toBe("open");
  expect(await storedRules(second.rig)).toEqual(full);
  await second.driver.approve(await shownTo(second.driver, open), "allow_session");
  expect(await open.answer).toMatchObject({ allowed: true });
});

test("B29 B38 when the directory's rules cannot be written the question stays open and nothing is remembered; the same answer again counts", async () => {
  const disk = new TrappedDisk();
  const { rig, driver, turn } = await working(await Rig.start({ disk }));
  const asked = await ask(turn, pattern);
  const question = await shownTo(driver, asked);
  void disk.fail("replace", "/rules.json");
  await expect(driver.approve(question, "allow_always")).rejects.toMatchObject({ code: "storage_failed" });
  expect(await outcome(asked)).toBe("open");
  expect((await rig.info()).approvals).toEqual([question]);
  expect((await rig.info()).rules).toEqual([]);
  await byPerson(turn);
  await driver.approve(question, "allow_always");
  expect(await asked.answer).toMatchObject({ allowed: true });
  expect((await rig.info()).rules).toMatchObject([{ scope: "workdir" }]);
});

test("B29 B38 when the answer cannot be written its rule is taken back: the question is asked again, and nothing is remembered", async () => {
  const disk = new TrappedDisk();
  const { rig, driver, turn } = await working(await Rig.start({ disk }));
  const asked = await ask(turn, pattern);
  const question = await shownTo(driver, asked);
  void disk.fail("write", "/journal");
  await expect(driver.approve(question, "allow_always")).rejects.toMatchObject({ code: "storage_failed" });
  expect(await storedRules(rig)).toEqual({});
  expect((await rig.info()).rules).toEqual([]);
  rig.clock.advance(limits.reopen_ms);
  await driver.until((seat) => seat.faults.length > 0 && seat.fault === undefined);
  expect((await rig.info()).approvals).toMatchObject([{ approval_id: question.approval_id }]);
});

test("B29 B38 when the answer was shown and could not be synced it stands, and its rule with it: a repeat is told that it was given", async () => {
  const disk = new TrappedDisk();
  const { rig, driver, turn } = await working(await Rig.start({ disk }));
  const question = await shownTo(driver, await ask(turn, pattern));
  void disk.fail("sync", "/journal");
  await expect(driver.approve(question, "allow_always")).rejects.toMatchObject({ code: "storage_failed" });
  rig.clock.advance(limits.reopen_ms);
  await driver.until((seat) => seat.faults.length > 0 && seat.fault === undefined);
  await expect(driver.approve(question, "allow_always")).rejects.toMatchObject({
    code: "approval_gone",
    detail: { option_id: "allow_always", by_seat_id: driver.seatId },
  });
  expect(await storedRules(rig)).toMatchObject({ [rig.workdir]: [{ scope: "workdir", pattern }] });
});

test("B26 B29 of two answers at once one wins; when it is the other, nothing is remembered for the directory", async () => {
  const disk = new TrappedDisk();
  const { rig, driver, turn } = await working(await Rig.start({ disk }));
  const asked = await ask(turn, pattern);
  const question = await shownTo(driver, asked);
  const hold = disk.hold("replace", "/rules.json");
  const always = driver.approve(question, "allow_always");
  await hold.reached;
  await driver.approve(question, "reject_once", "no");
  hold.release();
  await expect(always).rejects.toMatchObject({ code: "approval_gone", detail: { option_id: "reject_once" } });
  expect(await asked.answer).toMatchObject({ allowed: false, reason: "no", optionId: "reject_once" });
  expect(await storedRules(rig)).toEqual({});
  await byPerson(turn);
});

test("B26 B29 a wrong digest remembers nothing, and a viewer nothing either", async () => {
  const { rig, driver, turn } = await working(await Rig.start());
  const asked = await ask(turn, pattern);
  const question = await shownTo(driver, asked);
  const viewer = await rig.attach("viewer");
  const before = await rig.lines();
  for (const option of ["allow_turn", "allow_session", "allow_always", "reject_always"]) {
    await expect(driver.approve({ ...question, digest: "0".repeat(64) }, option)).rejects.toMatchObject({ code: "conflict" });
    await expect(viewer.approve(question, option)).rejects.toMatchObject({ code: "not_driver" });
  }
  expect(await rig.lines()).toEqual(before);
  expect([(await rig.info()).rules, await storedRules(rig), await outcome(asked)]).toEqual([[], {}, "open"]);
});

test("B12 B29 a rules.json that cannot be read is set aside and reported, and everything is asked about again", async () => {
  for (const damage of ["{]", "", JSON.stringify({ version: 2, workdirs: {} }), JSON.stringify({ version: 1, workdirs: { "/w": [{ effect: "allow" }] } })]) {
    const { rig } = await answered("allow_always");
    await rig.stop();
    const root = await rig.copy();
    await writeFile(join(root, "state/sessiond/rules.json"), damage);
    const after = await Rig.restart(root, rig);
    const status = await after.daemon.call("daemon_status", {}, { host_key: after.daemon.hostKey });
    expect(status.set_aside).toMatchObject([{ reason: expect.stringMatching(/remembered answers cannot be read/) }]);
    expect(await readFile(status.set_aside[0]?.path ?? "", "utf8")).toBe(damage);
    const again = new Rig(after.daemon, { clock: after.clock, kind: after.kind, workdir: rig.workdir, options: {} });
    await again.startSession();
    const at = await working(again);
    await byPerson(at.turn);
  }
});
