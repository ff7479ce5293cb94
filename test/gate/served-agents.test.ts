import { limits, type Auth, type ServedSaid } from "@sessiond/shared";
import type { DriverSeat } from "@sessiond/client";
import { afterEach, expect, test } from "vitest";
import type { TestOptions } from "../../packages/daemon/src/testing.ts";
import { at, filesOf, idOf } from "../support/gate-world.ts";
import { makeKey } from "../support/key-world.ts";
import { done, RawServer, text } from "../support/raw-server.ts";
import { question, refusal, ServedHouse, until } from "../support/served-house.ts";

/** The two verbs of served agents by themselves: whose word counts for which turn, how often, and how much of it. */
let house: ServedHouse;
const servers: RawServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await house.close();
});
const open = async (options: TestOptions = {}): Promise<ServedHouse> => (house = await ServedHouse.open(options));

async function serve(agent: string, options: { auth?: Auth; reads?: boolean } = {}): Promise<RawServer> {
  const server = await RawServer.serve(house.daemon, { agent }, options);
  servers.push(server);
  return server;
}

/** A session of the agent, with a turn that has begun. */
async function begun(server: RawServer, agent: string): Promise<{ seat: DriverSeat; turnId: string }> {
  const seat = await house.driver(agent, agent);
  await seat.sendPrompt("go");
  return { seat, turnId: (await server.next("turn")).turn_id };
}

const journalOf = (seat: DriverSeat): string => Object.values(filesOf(at(house.daemon, "sessions", seat.sessionId))).join("\n");

const call: ServedSaid = { type: "tool_call", tool_call_id: "c", message_id: "m", tool: "write", kind: "edit", title: "write", input: {} };
const ask: ServedSaid = { type: "ask", ask_id: "1", tool_call_id: "c", tool: "write", input: {}, preview: "write" };

test("B3 what a program says counts by the id that its own stream was given, and for its own turns: with any other nothing changes", async () => {
  await open();
  const [one, two] = [await serve("one"), await serve("two")];
  const [first, second] = [await begun(one, "one"), await begun(two, "two")];
  await one.say(first.turnId, [call, ask]);
  await question(first.seat);
  expect(one.servingId).not.toBe(two.servingId);
  const before = [first.seat.state, second.seat.state];
  const foreign = [
    { serving_id: two.servingId, number: 2 },
    { serving_id: idOf("srv", "X"), number: 2 },
    { turn_id: second.turnId, number: 1 },
    { turn_id: idOf("trn", "X"), number: 1 },
  ];
  for (const over of foreign)
    expect(await refusal(one.say(first.turnId, [text("mine now"), done], over)), JSON.stringify(over)).toMatchObject({ code: "not_found" });
  // Asked for what comes behind it, so that whatever was said would have been shown.
  await Promise.all([first.seat.addSystemMessage("a mark"), second.seat.addSystemMessage("a mark")]);
  const withoutMark = ({ state }: DriverSeat) => state.messages.filter((message) => message.text !== "a mark");
  expect([first.seat, second.seat].map(withoutMark)).toEqual(before.map((state) => state?.messages));
  expect(first.seat.state).toMatchObject({ turn: { turn_id: first.turnId }, approvals: [{ tool_call_id: "c" }] });
  expect(second.seat.state.turn).not.toBeNull();
  // An ended stream's id is worth nothing, though another program serves the name.
  one.close();
  await until(first.seat, () => first.seat.state.turn === null);
  const again = await serve("one");
  await first.seat.sendPrompt("again");
  const { turn_id } = await again.next("turn");
  expect(await refusal(again.say(turn_id, [done], { serving_id: one.servingId, number: 1 }))).toMatchObject({ code: "not_found" });
  await again.say(turn_id, [text("well"), done]);
  await until(first.seat, () => first.seat.state.turn === null);
  expect(first.seat.state.messages.at(-1)?.text).toBe("well");
});

test("B1 B5 nobody but the owner serves an agent: an API key has not the right, a token counts as foreign, and nothing is there afterwards", async () => {
  await open();
  const seat = await house.driver("openai");
  const owner: Auth = { host_key: house.daemon.hostKey };
  const { token } = await house.daemon.call("mint_token", { session_id: seat.sessionId, right: "control", label: "t" }, owner);
  const view = await house.daemon.call("mint_token", { session_id: seat.sessionId, right: "view", label: "v" }, owner);
  const key = await makeKey(house.daemon, { name: "k" });
  const refusals: [Auth, string][] = [
    [key.auth, "role_too_small"],
    [{ token }, "unauthenticated"],
    [{ token: view.token }, "unauthenticated"],
    [{}, "unauthenticated"],
  ];
  const said = { serving_id: idOf("srv", "X"), turn_id: idOf("trn", "X"), number: 1, events: [] };
  for (const [auth, code] of refusals) {
    expect(await refusal(serve("mine", { auth }))).toMatchObject({ code });
    expect(await refusal(house.daemon.call("agent_event", said, auth))).toMatchObject({ code });
  }
  expect((await house.daemon.call("list_agents", {}, owner)).agents.map(({ name }) => name)).toEqual(["openai"]);
});

test("B2 the id of a stream is on no disk, in no log line and in no list", async () => {
  await open();
  const server = await serve("mine");
  const { seat, turnId } = await begun(server, "mine");
  await server.say(turnId, [text("hello"), done]);
  await until(seat, () => seat.state.turn === null);
  await house.daemon.call("shut_down", { wait_ms: 0 }, { host_key: house.daemon.hostKey });
  await house.daemon.stopped;
  const files = Object.values(filesOf(house.daemon.root, () => false)).join("\n");
  expect(files).toContain("agent_event");
  expect(files).not.toContain(server.servingId);
  expect(JSON.stringify(seat.state)).not.toContain(server.servingId);
});

test("B21 a call that is made again counts once, also at its turn's end; one out of its turn is refused, and so is one beside another", async () => {
  await open();
  const server = await serve("mine");
  const { seat, turnId } = await begun(server, "mine");
  await server.say(turnId, [text("one ")], { number: 1 });
  await server.say(turnId, [text("one ")], { number: 1 });
  for (const number of [3, 7])
    expect(await refusal(server.say(turnId, [text("three")], { number }))).toMatchObject({ code: "conflict", message: expect.stringContaining("number 2") });
  const both = [server.say(turnId, [text("two "), call], { number: 2 }), server.say(turnId, [text("two "), call], { number: 2 })];
  expect(await refusal(server.say(turnId, [text("three")], { number: 3 }))).toMatchObject({
    code: "conflict",
    message: expect.stringContaining("has not been answered"),
  });
  expect(await Promise.all(both)).toEqual([{ steered: [] }, { steered: [] }]);
  await server.say(turnId, [text("three"), done], { number: 3 });
  await until(seat, () => seat.state.turn === null);
  expect(seat.state.messages.filter(({ type }) => type === "agent").map(({ text: words }) => words)).toEqual(["one two ", "three"]);
  expect(await refusal(server.say(turnId, [text("three"), done], { number: 3 }))).toMatchObject({ code: "not_found" });
});

test("B21 other events under the last number are no repeat: they are refused with the next number; a turn's end is taken behind a call that is under way", async () => {
  await open();
  const server = await serve("mine");
  const { seat, turnId } = await begun(server, "mine");
  await server.say(turnId, [text("one ")], { number: 1 });
  for (const over of [{ events: [done] }, { take_steering: true as const }])
    expect(await refusal(server.say(turnId, [text("one ")], { number: 1, ...over }))).toMatchObject({ code: "conflict", detail: { next_number: 2 } });
  const begins: ServedSaid = { type: "tool_call_update", tool_call_id: "c", status: "in_progress" };
  const underWay = server.say(turnId, [text("two"), call, begins], { number: 2 });
  const ends = [server.say(turnId, [done], { number: 3 }), server.say(turnId, [done], { number: 3 })];
  expect(await Promise.all([underWay, ...ends])).toEqual([{ steered: [] }, { steered: [] }, { steered: [] }]);
  await until(seat, () => seat.state.turn === null);
  expect(seat.state.last_turn).toMatchObject({ stop_reason: "end_turn" });
  expect(seat.state.messages.find(({ type }) => type === "agent")?.text).toBe("one two");
});

test("B25 B26 a question has the tool and the input of its call as that stands; one that shows another is not asked, and the turn ends with that", async () => {
  await open();
  const server = await serve("mine");
  const seat = await house.driver("mine");
  const changed: ServedSaid = { type: "tool_call_changed", tool_call_id: "c", input: { command: "rm -r /" } };
  const wrong: ServedSaid[][] = [
    [call, { ...ask, tool: "read" }],
    [call, { ...ask, input: { harmless: true } }],
    [call, changed, ask],
  ];
  for (const events of wrong) {
    const from = server.items.length;
    await seat.sendPrompt("go");
    await server.say((await server.next("turn", from)).turn_id, events);
    await until(seat, () => seat.state.turn === null);
    expect(seat.state.last_turn).toMatchObject({
      stop_reason: "failed",
      error: { code: "conflict", message: expect.stringContaining("another tool or input") },
    });
  }
  expect(journalOf(seat)).not.toContain("approval_requested");
});

test("B7 what one call may hold is bounded, and what does not fit is refused whole, with the turn as it was", async () => {
  await open();
  const server = await serve("mine");
  const { seat, turnId } = await begun(server, "mine");
  let deep: Record<string, unknown> = {};
  for (let level = 0; level < limits.tool_input_depth_max + 1; level++) deep = { deep };
  const wrong: ServedSaid[][] = [
    Array.from({ length: limits.agent_events_per_call_max + 1 }, () => text("x")),
    [text("x"), { ...call, input: deep } as ServedSaid],
    [text("x"), { ...call, input: { much: "x".repeat(limits.tool_input_bytes_max) } } as ServedSaid],
    [text("x"), { ...call, tool_call_id: "x".repeat(limits.agent_text_chars_max + 1) } as ServedSaid],
    [
      text("x"),
      { ...ask, options: Array.from({ length: limits.approval_options_max + 1 }, (_, id) => ({ id: `${id}`, kind: "other", label: "x" })) } as ServedSaid,
    ],
    [text("x"), { type: "turn_started", turn_id: turnId, prompt_ids: [] } as unknown as ServedSaid],
    [text("x"), { ...text("y"), turn_id: turnId } as unknown as ServedSaid],
  ];
  for (const events of wrong) expect(await refusal(server.say(turnId, events, { number: 1 }))).toMatchObject({ code: "bad_request" });
  await server.say(turnId, [text("fits"), done], { number: 1 });
  await until(seat, () => seat.state.turn === null);
  expect(seat.state.messages.map(({ text: words }) => words)).toEqual(["go", "fits"]);
});

test("B7 B33 a program that does not take what it is told is cut off when too much waits, and its session is told that it has gone", async () => {
  await open({ limits: { served_waiting_chars_max: 20_000 } });
  const server = await serve("mine", { reads: false });
  const seats: DriverSeat[] = [];
  for (const name of ["a", "b", "c"]) {
    const seat = await house.driver("mine", name);
    seats.push(seat);
    await seat.sendPrompt("x".repeat(8_000));
  }
  for (const seat of seats) {
    await until(seat, () => seat.state.turn === null);
    expect(seat.state.last_turn).toMatchObject({ stop_reason: "failed", error: { code: "agent_unavailable" } });
  }
  await server.read();
  expect(server.end).toMatchObject({ code: "slow_consumer" });
  expect(server.items).toHaveLength(1);
  // The name is free again.
  await serve("mine");
});

test("back-pressure: a call is answered when the session has taken what it holds, and a tool's beginning when that is on disk", async () => {
  await open();
  const server = await serve("mine");
  const { seat, turnId } = await begun(server, "mine");
  await server.say(turnId, [call, { type: "tool_call_update", tool_call_id: "c", status: "in_progress" }]);
  expect(journalOf(seat)).toContain('"tool_call_id":"c","status":"in_progress"');
});

test("B40 a turn that ends while the daemon drains is heard to its end; then its program is told goodbye, and a new one is not let in", async () => {
  await open();
  const server = await serve("mine");
  const { seat, turnId } = await begun(server, "mine");
  const stopped = house.daemon.stop(60_000);
  expect(await refusal(serve("late"))).toMatchObject({ code: "shutting_down" });
  await server.say(turnId, [text("in time"), done]);
  await stopped;
  await server.read();
  expect(server.end).toMatchObject({ code: "shutting_down" });
  expect(journalOf(seat)).toMatch(/in time.*"stop_reason":"end_turn"/s);
});

test("B40 one that does not end is cancelled: it has ended as interrupted", async () => {
  await open();
  const server = await serve("mine");
  const { seat, turnId } = await begun(server, "mine");
  await server.say(turnId, [call, ask]);
  await question(seat);
  const stopped = house.daemon.stop(0);
  expect(await server.next("cancel")).toMatchObject({ turn_id: turnId });
  expect(server.items.find(({ type }) => type === "answer")).toMatchObject({ allowed: false, cause: "restart", option_id: null });
  await server.say(turnId, [text("too late"), { type: "turn_end", stop_reason: "cancelled" }]);
  await stopped;
  expect(journalOf(seat)).toContain('"stop_reason":"interrupted"');
  expect(journalOf(seat)).not.toContain("too late");
});

test("B8 pieces of an answer leave a line each for a while, then a count, though they are the owner's", async () => {
  await open({ limits: { calls_written_per_minute_max: 3 } });
  const server = await serve("mine");
  const { turnId } = await begun(server, "mine");
  for (let piece = 0; piece < 10; piece++) await server.say(turnId, [text("x")]);
  await server.say(turnId, [done]);
  await house.daemon.stop(0);
  const lines = (filesOf(at(house.daemon), () => false)[at(house.daemon, "audit.jsonl")] ?? "").trimEnd().split("\n");
  const events = lines.map((line) => JSON.parse(line) as { verb: string; outcome: string; count?: number }).filter(({ verb }) => verb === "agent_event");
  expect(events.map(({ outcome, count = 1 }) => [outcome, count])).toEqual([
    ["ok", 1],
    ["ok", 1],
    ["ok", 1],
    ["calls_counted", 8],
  ]);
  expect(lines.filter((line) => line.includes('"serve_agent"'))).toHaveLength(1);
});

test("a turn whose program says what cannot be ends with that at once, and the program is told to let go; it waits for no word of it", async () => {
  await open();
  const server = await serve("mine");
  const { seat, turnId } = await begun(server, "mine");
  await server.say(turnId, [call, call]);
  await until(seat, () => seat.state.turn === null);
  expect(seat.state.last_turn).toMatchObject({ stop_reason: "failed", error: { code: "conflict" } });
  expect(await server.next("cancel")).toMatchObject({ turn_id: turnId });
  expect(await refusal(server.say(turnId, [done]))).toMatchObject({ code: "not_found" });
  await seat.sendPrompt("again");
  const again = await server.next(
    "turn",
    server.items.findIndex(({ type }) => type === "cancel"),
  );
  await server.say(again.turn_id, [done]);
  await until(seat, () => seat.state.turn === null && seat.state.last_turn?.stop_reason === "end_turn");
  expect(house.daemon.bugs).toEqual([]);
});
