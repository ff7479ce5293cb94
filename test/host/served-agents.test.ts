import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { ServedAnswer, ServedEvent, TurnToRun } from "@sessiond/client";
import { afterEach, expect, test } from "vitest";
import type { TestOptions } from "../../packages/daemon/src/testing.ts";
import { eventually } from "../support/eventually.ts";
import { question, refusal, ServedHouse, toolCall, until, update, type Play } from "../support/served-house.ts";

/** An agent of one's own: a program that connects, offers itself, and is what a session's prompts go to. */
let house: ServedHouse;
afterEach(() => house.close());
const open = async (options: TestOptions = {}): Promise<ServedHouse> => (house = await ServedHouse.open(options));

/** Resolves when its signal aborts. */
const aborted = ({ signal }: TurnToRun): Promise<void> =>
  new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener("abort", () => resolve(), { once: true })));

const journalOf = (sessionId: string): string => {
  const folder = join(house.daemon.root, "state/sessiond/sessions", sessionId);
  const names = readdirSync(folder).filter((name) => name.startsWith("journal"));
  return names.map((name) => readFileSync(join(folder, name), "utf8")).join("");
};

test("what a served agent says and does is in the session as it was said; a question it asks is answered by the driver, and what it begins is on disk before it goes on", async () => {
  await open();
  const answers: ServedAnswer[] = [];
  let onDisk = "";
  const play: Play = async function* (turn) {
    yield { type: "agent_thought_chunk", message_id: "t", content: { type: "text", text: "Hm." } };
    yield "Hello, ";
    yield `you said ${turn.text}.`;
    for (const id of ["first", "second"]) {
      yield toolCall(id, { path: `${id}.txt` });
      const answer = await turn.ask({ toolCallId: id, preview: `write ${id}\u202e` });
      answers.push(answer);
      if (answer.allowed) {
        yield update(id, "in_progress");
        onDisk = journalOf(turn.sessionId);
        yield { type: "tool_call_chunk", tool_call_id: id, content: { type: "text", text: "…" } };
      }
      yield update(id, answer.allowed ? "completed" : "failed", answer.reason ?? "written");
    }
    yield { type: "plan", entries: [{ content: "rest", priority: "low", status: "pending" }] };
    yield "Done.";
    yield { type: "turn_end", stop_reason: "max_tokens", usage: { input_tokens: 3, output_tokens: 4 } };
    throw new Error("nobody comes for more");
  };
  const served = await house.serve("mine", play, { defaultModel: "big" });
  expect(served).toMatchObject({ name: "mine", connection: "live" });
  const seat = await house.driver("mine");
  const turn = seat.prompt("hi");
  const first = await question(seat);
  expect(first).toMatchObject({ tool: "write", input: { path: "first.txt" }, preview: "write first\\u{202e}", tool_call_id: "first" });
  expect(first.options.map(({ option_id }) => option_id)).toEqual(["allow_once", "reject_once"]);
  await seat.approve(first, { kind: "allow_once" });
  await until(seat, () => seat.state.approvals[0]?.tool_call_id === "second");
  await seat.approve(await question(seat), { kind: "reject_once", reason: "not that one" });
  expect(await turn).toMatchObject({ stopReason: "max_tokens", text: "Done." });
  expect(answers).toEqual([
    { allowed: true, optionId: "allow_once", cause: "answer", reason: null },
    { allowed: false, optionId: "reject_once", cause: "answer", reason: "not that one" },
  ]);
  expect(onDisk).toMatch(/"tool_call_id":"first","status":"in_progress"/);
  expect(seat.state).toMatchObject({ agent: "mine", model: "big", status: "idle", calls: [], plan: [{ content: "rest" }], usage: { output_tokens: 4 } });
  expect(seat.state.messages.map(({ type, text }) => [type, text])).toEqual([
    ["user", "hi"],
    ["thought", "Hm."],
    ["agent", "Hello, you said hi."],
    ["tool", "written"],
    ["tool", "not that one"],
    ["agent", "Done."],
  ]);
  // The library has the turn's end a moment after the driver.
  await eventually("its turn is over", () => served.turns === 0);
  expect(house.daemon.bugs).toEqual([]);
});

test("answers of the agent's own get ids by their kind; it is told its own, and one of a kind that nobody knows is no leave", async () => {
  await open();
  const answers: ServedAnswer[] = [];
  const options = [
    { id: "yes", kind: "allow_once", label: "Yes\n\u202eplease" },
    { id: "sure", kind: "allow_once", label: "Sure" },
    { id: "allow_once", kind: "other", label: "Maybe" },
    { id: "no", kind: "reject_once", label: "No" },
  ] as const;
  await house.serve("mine", async function* (turn) {
    yield toolCall("c");
    answers.push(await turn.ask({ toolCallId: "c", options }));
    yield update("c", "completed");
  });
  const seat = await house.driver("mine");
  for (const optionId of ["allow_once", "other", "reject_once"]) {
    const turn = seat.prompt("go");
    const approval = await question(seat);
    expect(approval.options.map(({ option_id, label }) => `${option_id}: ${label}`)).toEqual([
      "allow_once: Yes \\u{202e}please",
      "allow_once_2: Sure",
      "other: Maybe",
      "reject_once: No",
    ]);
    await seat.approve(approval, { optionId });
    await turn;
  }
  expect(answers.map(({ allowed, optionId }) => [allowed, optionId])).toEqual([
    [true, "yes"],
    [false, "allow_once"],
    [false, "no"],
  ]);
});

test("B26 two questions about one call are asked one after the other, and each gets its own answer; an interrupt ends the one that is open", async () => {
  await open();
  const got: string[] = [];
  const own = (what: string) => [{ id: `yes ${what}`, kind: "allow_once", label: what } as const, { id: "no", kind: "reject_once", label: "No" } as const];
  await house.serve("mine", async function* (turn) {
    yield toolCall("c");
    const asked = ["list", "delete", "never seen"].map((preview) =>
      turn.ask({ toolCallId: "c", preview, options: own(preview) }).then(({ optionId, cause }) => void got.push(`${preview}: ${optionId ?? cause}`)),
    );
    await Promise.all(asked);
    yield update("c", "completed");
  });
  const seat = await house.driver("mine");
  const turn = seat.prompt("go");
  const first = await question(seat);
  // What is said before it is answered is there: all three were asked.
  await seat.addSystemMessage("a mark");
  expect(seat.state.approvals.map(({ preview }) => preview)).toEqual(["list"]);
  await seat.approve(first, { optionId: "allow_once" });
  await until(seat, () => seat.state.approvals.some(({ preview }) => preview === "delete"));
  expect(seat.state.approvals).toHaveLength(1);
  await seat.approve(await question(seat), { optionId: "reject_once" });
  await until(seat, () => seat.state.approvals.some(({ preview }) => preview === "never seen"));
  await seat.interrupt();
  expect(await turn).toMatchObject({ stopReason: "cancelled" });
  await eventually("all are answered", () => got.length === 3);
  expect(got).toEqual(["list: yes list", "delete: no", "never seen: interrupt"]);
  expect(house.daemon.bugs).toEqual([]);
});

test("B25 B26 a question about a call whose input was changed shows the one that it has now", async () => {
  await open();
  await house.serve("mine", async function* (turn) {
    yield toolCall("c", {}, "shell");
    yield { type: "tool_call_changed", tool_call_id: "c", input: { command: "rm -r build" } };
    yield { type: "tool_call_changed", tool_call_id: "c", title: "clean" };
    await turn.ask({ toolCallId: "c" });
    yield update("c", "completed");
  });
  const seat = await house.driver("mine");
  const turn = seat.prompt("go");
  const approval = await question(seat);
  expect(approval).toMatchObject({ input: { command: "rm -r build" }, preview: expect.stringContaining("rm -r build") });
  await seat.approve(approval, { optionId: "allow_once" });
  expect(await turn).toMatchObject({ stopReason: "end_turn" });
});

test("B27 a call that is over takes its question with it: the agent hears that nobody answered", async () => {
  await open();
  let heard: ServedAnswer | undefined;
  await house.serve("mine", async function* (turn) {
    yield toolCall("c");
    const answer = turn.ask({ toolCallId: "c" });
    yield "asked, ";
    yield update("c", "completed", "done by other means");
    heard = await answer;
    yield "and not waited for.";
  });
  const seat = await house.driver("mine");
  expect(await seat.prompt("go")).toMatchObject({ stopReason: "end_turn", text: "and not waited for." });
  expect(heard).toMatchObject({ allowed: false, optionId: null, cause: "withdrawn" });
  expect(seat.state.approvals).toEqual([]);
});

test("B27 an interrupt closes its question, aborts its signal, and waits until it has let go; then the next prompt runs", async () => {
  await open();
  const seen: unknown[] = [];
  await house.serve("mine", async function* (turn) {
    if (turn.text === "again") return yield* ["fine"];
    yield toolCall("c");
    const answer = await turn.ask({ toolCallId: "c" });
    await aborted(turn);
    seen.push(answer, turn.signal.aborted);
    yield "nobody hears this";
    seen.push("nor comes for more");
  });
  const seat = await house.driver("mine");
  const turn = seat.prompt("go");
  await question(seat);
  expect(await seat.interrupt()).toMatchObject({ interrupted: true });
  expect(await turn).toMatchObject({ stopReason: "cancelled" });
  expect(seen).toEqual([expect.objectContaining({ allowed: false, cause: "interrupt" }), true]);
  expect(seat.state).toMatchObject({ approvals: [], calls: [], turn: null });
  expect(await seat.prompt("again")).toMatchObject({ text: "fine", stopReason: "end_turn" });
  expect(JSON.stringify(seat.state)).not.toContain("nobody hears");
});

test("one that does not let go is abandoned after a bound, and what it says then goes nowhere", async () => {
  await open({ limits: { interrupt_wait_ms: 20 } });
  let letGo = (): void => undefined;
  const held = new Promise<void>((resolve) => (letGo = resolve));
  let over = (): void => undefined;
  const ended = new Promise<void>((resolve) => (over = resolve));
  await house.serve("mine", async function* (turn) {
    if (turn.text === "again") return yield* ["fine"];
    try {
      yield "working";
      await held;
      yield "late";
    } finally {
      over();
    }
  });
  const seat = await house.driver("mine");
  const turn = seat.prompt("go");
  await until(seat, () => seat.state.messages.length > 1);
  await seat.interrupt();
  expect(await turn).toMatchObject({ stopReason: "cancelled" });
  expect(await seat.prompt("again")).toMatchObject({ text: "fine" });
  letGo();
  await ended;
  expect(await seat.prompt("again")).toMatchObject({ text: "fine" });
  expect(JSON.stringify(seat.state)).not.toContain("late");
});

test("B24 two sessions at once: neither waits for the other, and each gets what is its own", async () => {
  await open();
  const waits = new Map<string, () => void>();
  await house.serve("mine", async function* (turn) {
    yield `begin ${turn.text}`;
    await new Promise<void>((resolve) => waits.set(turn.text, resolve));
    yield ` end ${turn.text} in ${turn.workdir}`;
  });
  const [one, two] = [await house.driver("mine", "one"), await house.driver("mine", "two")];
  const [first, second] = [one.prompt("one"), two.prompt("two")];
  await until(one, () => waits.has("one") && one.state.messages.length > 1);
  await until(two, () => waits.has("two") && two.state.messages.length > 1);
  waits.get("two")?.();
  expect(await second).toMatchObject({ text: `begin two end two in ${house.workdir("two")}` });
  expect(one.state.turn).not.toBeNull();
  waits.get("one")?.();
  expect(await first).toMatchObject({ text: `begin one end one in ${house.workdir("one")}` });
});

test("B27 B45 when it goes, its turn fails and says so, its question is closed, what was queued is held and further prompts are refused; when it is back, they run", async () => {
  await open();
  const play: Play = async function* (turn) {
    if (turn.text === "go") {
      yield toolCall("c");
      await turn.ask({ toolCallId: "c" });
    }
    yield `ran ${turn.text}`;
  };
  const served = await house.serve("mine", play);
  const seat = await house.driver("mine");
  const host = await house.host();
  const ended = seat.prompt("go");
  const approval = await question(seat);
  const { promptId } = await seat.sendPrompt("queued");
  served.close();
  expect(await served.ended).toBeNull();
  const error = { code: "agent_unavailable", message: expect.stringMatching(/the program that serves the agent mine has gone; start it again/) };
  expect(await ended).toMatchObject({ stopReason: "failed", error });
  await until(seat, () => seat.state.queue[0]?.held === true);
  expect(seat.state).toMatchObject({ turn: null, approvals: [], calls: [], agent: "mine", status: "error" });
  expect(journalOf(seat.sessionId)).toMatch(new RegExp(`"approval_resolved","approval_id":"${approval.approval_id}","cause":"failed"`));
  expect(journalOf(seat.sessionId)).toContain('"queue_held","cause":"agent_gone"');
  const before = seat.state.seq;
  for (const call of [seat.sendPrompt("more"), seat.releaseQueue()])
    expect(await refusal(call)).toMatchObject({
      code: "agent_unavailable",
      message: expect.stringMatching(/no agent called "mine" now; where a program serves it, start that/),
    });
  expect(seat.state).toMatchObject({ seq: before, queue: [{ prompt_id: promptId, held: true }] });
  // It can still be changed and taken back.
  await seat.editPrompt(promptId, "edited");
  expect((await host.listAgents()).map(({ name }) => name)).toEqual(["openai"]);

  await house.serve("mine", play);
  expect((await host.listAgents()).map(({ name, kind, unavailable }) => [name, kind, unavailable])).toEqual([
    ["openai", "built_in", expect.any(String)],
    ["mine", "served", null],
  ]);
  expect(seat.state.queue).toMatchObject([{ held: true }]);
  const told = seat.prompt("more");
  expect(await told).toMatchObject({ text: "ran more" });
  await seat.releaseQueue();
  await until(seat, () => seat.state.queue.length === 0 && seat.state.turn === null);
  expect(seat.state.messages.at(-1)?.text).toBe("ran edited");
  expect(house.daemon.bugs).toEqual([]);
});

test("one program a name: a second is refused, and so is a name that the daemon has itself, or that is none; a session of an agent that is not there is not begun", async () => {
  await open({ limits: { served_agents_max: 2 } });
  const play: Play = async function* () {
    yield "first";
  };
  const served = await house.serve("mine", play);
  expect(await refusal(house.serve("mine", play))).toMatchObject({ code: "conflict", message: expect.stringMatching(/another program serves the agent mine/) });
  expect(await refusal(house.serve("openai", play))).toMatchObject({ code: "conflict", message: expect.stringMatching(/this daemon has itself/) });
  for (const name of ["", "Mine", "a b", "x".repeat(65), "../x"]) expect(await refusal(house.serve(name, play))).toMatchObject({ code: "bad_request" });
  await house.serve("other", play);
  expect(await refusal(house.serve("third", play))).toMatchObject({ code: "limit_reached", detail: { limit: "served_agents_max", value: 2 } });
  const seat = await house.driver("mine");
  expect(await seat.prompt("hi")).toMatchObject({ text: "first" });
  await house.leave(served);
  expect(await refusal(house.driver("nobody", "nobodys"))).toMatchObject({
    code: "agent_unavailable",
    message: expect.stringMatching(/no agent called "nobody"/),
  });
  await house.serve("mine", async function* () {
    yield "second";
  });
  expect(await seat.prompt("hi")).toMatchObject({ text: "second" });
});

test("an agent's failures are its turns' ends: what it throws, what does not fit, calls that are too many or not there", async () => {
  await open();
  const plays: Record<string, Play> = {
    throws: async function* () {
      yield "so far ";
      throw new Error("the model is down");
    },
    "throws before": () => {
      throw new Error("at once");
    },
    "does not fit": async function* () {
      yield { type: "plan", entries: [{ content: "x", priority: "urgent" as never, status: "pending" }] };
      yield "more";
    },
    "too deep": async function* () {
      let input: Record<string, unknown> = {};
      for (let level = 0; level < 80; level++) input = { input };
      yield toolCall("deep", input);
    },
    "no such call": async function* (turn) {
      await turn.ask({ toolCallId: "c" });
      yield "more";
    },
    "twice open": async function* () {
      yield toolCall("c");
      yield toolCall("c");
    },
    "too many": async function* () {
      for (let call = 0; call < 200; call++) yield toolCall(`c${call}`);
    },
    "too large": async function* () {
      yield "x".repeat(2_000_000);
    },
    says: async function* () {
      yield { type: "turn_end", stop_reason: "failed", error: { code: "quota", message: "no more today" } };
    },
  };
  const said: Record<string, RegExp> = {
    throws: /^the model is down$/,
    "throws before": /^at once$/,
    "does not fit": /events\.0\.entries\.0\.priority/,
    "too deep": /nested deeper than 64 levels/,
    "no such call": /no open tool call "c"/,
    "twice open": /open tool call of that id/,
    "too many": /calls_open_max/,
    "too large": /request_bytes_max/,
    says: /^no more today$/,
  };
  await house.serve("mine", (turn) => plays[turn.text]?.(turn) ?? plays["throws"]!(turn));
  const seat = await house.driver("mine");
  for (const name of Object.keys(plays)) {
    const { stopReason, error } = await seat.prompt(name);
    expect([name, stopReason, error?.message]).toEqual([name, "failed", expect.stringMatching(said[name] ?? /never/)]);
    expect(seat.state).toMatchObject({ calls: [], approvals: [], turn: null });
  }
  expect(house.daemon.bugs).toEqual([]);
});

test("B19 a prompt that steers enters the running turn when the agent comes for it, one that it never came for runs afterwards; where it does not steer, such a prompt is refused", async () => {
  await open();
  const texts: string[] = [];
  let step = (): void => undefined;
  const steps: Promise<void>[] = [];
  const next = (): void => void steps.push(new Promise((resolve) => (step = resolve)));
  next();
  const play: Play = async function* (turn) {
    texts.push(turn.text);
    yield "working";
    if (turn.text !== "go") return;
    await steps[0];
    expect(await turn.takeSteering()).toEqual([[{ type: "text", text: "left" }], [{ type: "text", text: "then right" }]]);
    expect(await turn.takeSteering()).toEqual([]);
    yield "turning";
    await steps[1];
  };
  await house.serve("mine", play, { steer: true });
  await house.serve("stubborn", async function* (turn) {
    yield "working";
    await aborted(turn);
  });
  const seat = await house.driver("mine");
  const turn = seat.prompt("go");
  await until(seat, () => seat.state.messages.length > 1);
  await seat.sendPrompt("left", { whenBusy: "steer" });
  await seat.sendPrompt("then right", { whenBusy: "steer" });
  const release = step;
  next();
  release();
  await until(seat, () => seat.state.messages.at(-1)?.text === "turning");
  expect(seat.state.queue).toEqual([]);
  const late = seat.prompt("late", { whenBusy: "steer" });
  await until(seat, () => seat.state.queue.length === 1);
  step();
  expect(await turn).toMatchObject({ stopReason: "end_turn" });
  expect(await late).toMatchObject({ stopReason: "end_turn" });
  expect(texts).toEqual(["go", "late"]);

  const other = await house.driver("stubborn", "other");
  await other.sendPrompt("go");
  await until(other, () => other.state.messages.length > 1);
  expect(await refusal(other.sendPrompt("left", { whenBusy: "steer" }))).toMatchObject({ code: "unsupported" });
});

test("pictures go to an agent that takes them, models are those it has, and a conversation goes on under the name that it gave it", async () => {
  await open();
  const seen: unknown[] = [];
  const play: Play = async function* (turn) {
    seen.push([turn.parts, turn.model, turn.conversation, turn.turnsBefore, turn.env]);
    yield { type: "agent_conversation", conversation: "c-1", how: turn.turnsBefore === 0 ? "new" : "resumed" };
    yield "ok";
  };
  const served = await house.serve("mine", play, { models: ["small", "big"], defaultModel: "small" });
  const picture = { type: "image", mime_type: "image/png", data: "aGVsbG8=" } as const;
  const host = await house.host();
  expect(await refusal(host.sessionForWorkdir(house.workdir(), { agent: "mine", model: "huge" }))).toMatchObject({ code: "model_unknown" });
  const seat = await (await host.sessionForWorkdir(house.workdir(), { agent: "mine", env: { VIRTUAL_ENV: "/venv" } })).attach({ as: "driver" });
  expect(await refusal(seat.sendPrompt([picture]))).toMatchObject({ code: "unsupported", message: expect.stringMatching(/agent mine takes no pictures/) });
  await seat.prompt("one");
  await seat.configure({ model: "big" });
  expect(await refusal(seat.configure({ model: "huge" }))).toMatchObject({ code: "model_unknown" });
  await house.leave(served);
  await house.serve("mine", play, { models: ["small", "big"], images: true });
  await seat.prompt([picture]);
  const env = { VIRTUAL_ENV: "/venv" };
  expect(seen).toEqual([
    [[{ type: "text", text: "one" }], "small", null, 0, env],
    [[picture], "big", "c-1", 1, env],
  ]);
});

test("a mode that is chosen while a turn runs reaches the agent in it, and what it tells then is what the session shows", async () => {
  await open();
  const modes = [
    { id: "ask", name: "Ask" },
    { id: "plan", name: "Plan" },
  ];
  const seen: (string | null)[] = [];
  let look = (): void => undefined;
  await house.serve("mine", async function* (turn) {
    seen.push(turn.mode);
    const told: ServedEvent = { type: "agent_facts", facts: { mode: turn.mode ?? "ask", modes, title: "A title of its own" } };
    yield told;
    yield "ready";
    while (turn.mode !== "plan" && !turn.signal.aborted) await new Promise<void>((resolve) => (look = resolve));
    seen.push(turn.mode);
  });
  const seat = await house.driver("mine");
  const turn = seat.prompt("go");
  await until(seat, () => seat.state.agent_facts.modes.length === 2 && seat.state.messages.length > 1);
  expect(seat.state.title).toBe("A title of its own");
  // The library's seat does not set modes yet; the verb does.
  const { host } = house.daemon;
  const session = host.inMemory(seat.sessionId);
  await session?.configure({ mode: "plan" }, { label: "driver" });
  while (seen.length < 2) {
    look();
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await turn).toMatchObject({ stopReason: "end_turn" });
  expect(seen).toEqual([null, "plan"]);
  expect(seat.state).toMatchObject({ agent_facts: { mode: "plan" }, chosen: { mode: "plan" } });
});

test("B4 a rotated host key ends the offer and its turns, whose signals abort; the library makes the offer again with the key that there is now", async () => {
  await open();
  const turns: TurnToRun[] = [];
  const served = await house.serve("mine", async function* (turn) {
    turns.push(turn);
    yield `heard ${turn.text}`;
    if (turn.text === "wait") await aborted(turn);
  });
  const seat = await house.driver("mine");
  const ended = seat.prompt("wait");
  await until(seat, () => seat.state.messages.at(-1)?.text === "heard wait");
  await house.daemon.call("rotate_host_key", {}, { host_key: house.daemon.hostKey });
  expect(await ended).toMatchObject({ stopReason: "failed", error: { code: "agent_unavailable" } });
  await new Promise<void>((resolve) => {
    const look = () => served.connection === "live" && turns[0]?.signal.aborted === true && resolve();
    served.onChange(look);
    look();
  });
  expect(turns[0]?.signal.reason).toMatchObject({ code: "daemon_unreachable" });
  expect(await turns[0]?.ask({ toolCallId: "none" })).toMatchObject({ allowed: false });
  expect(await seat.prompt("again")).toMatchObject({ text: "heard again" });
});

test("a handle that is closed serves nobody any more, and one closed before serves nobody at all", async () => {
  await open();
  const host = await house.host();
  const play: Play = async function* () {
    yield "here";
  };
  const served = await host.serveAgent("mine", { prompt: play });
  await host.close();
  expect(await served.ended).toBeNull();
  expect(served.connection).toBe("ended");
  expect(await refusal(host.serveAgent("mine", { prompt: play }))).toMatchObject({ code: expect.stringMatching(/cancelled|daemon_unreachable/) });
  await house.leave(served);
  await using again = await house.serve("mine", play);
  expect(again.turns).toBe(0);
});
