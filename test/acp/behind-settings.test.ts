import { afterEach, expect, test } from "vitest";
import { AcpStreet, said, turn, type AcpHouse, type AgentScript } from "../support/acp-house.ts";
import { eventually } from "../support/eventually.ts";
import { eventsOf, promptId, type TestSeat } from "../support/session-rig.ts";

/** Modes, options and the model of an ACP agent: told, chosen, held to after each start, and taken back where it refuses. */
const street = new AcpStreet();
afterEach(async () => expect(await street.close()).toEqual([]));

const session = {
  modes: {
    currentModeId: "ask",
    availableModes: [
      { id: "ask", name: "Ask" },
      { id: "plan", name: "Plan", description: "only plans" },
      { id: "yolo", name: "Yolo" },
    ],
  },
  configOptions: [
    {
      id: "model",
      name: "Model",
      category: "model",
      type: "select",
      currentValue: "small",
      options: [{ group: "g", name: "All", options: ["small", "large", "huge"].map((value) => ({ value, name: value.toUpperCase() })) }],
    },
    { id: "effort", name: "Effort", type: "select", currentValue: "low", options: ["low", "high"].map((value) => ({ value, name: value })) },
    { id: "loud", name: "Loud", type: "boolean", currentValue: false },
  ],
};
const open = (script: AgentScript = {}) => street.open({ script: { session, ...script } });
const configure = (house: AcpHouse, seat: TestSeat, settings: object) =>
  house.house.daemon.call("configure_session", { session_id: seat.rig.sessionId, ...settings }, seat.auth);
const held = ({ state }: TestSeat): object => ({
  mode: state.agent_facts.mode,
  ...Object.fromEntries(state.agent_facts.options.map(({ id, value }) => [id, value])),
});
/** What the agent was told to set, in order. */
const told = (house: AcpHouse) =>
  house
    .heard()
    .flatMap(({ method, params }) =>
      method === "session/set_mode" ? [params?.["modeId"]] : method === "session/set_config_option" ? [params?.["value"]] : [],
    );
const notices = (seat: TestSeat) => eventsOf(seat.frames, "notice").map(({ code, text }) => [code, text]);

test("what an agent can be set to is told when it first runs, and cannot be set before", async () => {
  const house = await open();
  const driver = await house.driver();
  const refusal = await configure(house, driver, { mode: "plan" }).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "unsupported", message: expect.stringContaining("tells when it first runs") });
  await turn(driver, "say x");
  expect(driver.state.agent_facts.modes).toEqual(session.modes.availableModes);
  expect(driver.state.agent_facts.options).toMatchObject([
    { id: "model", type: "select", category: "model", value: "small", choices: [{ id: "small", name: "SMALL", group: "All" }, {}, {}] },
    { id: "effort", value: "low" },
    { id: "loud", type: "boolean", value: false },
  ]);
  expect(driver.state.agent_facts.mode).toBe("ask");
});

test("B44 mode and options that are chosen are told to the agent one after another, and hold; the same again after it was started anew", async () => {
  const house = await open();
  const driver = await house.driver();
  await turn(driver, "say x");
  expect(await configure(house, driver, { mode: "plan", options: { effort: "high", loud: true } })).toMatchObject({
    mode: "plan",
    options: { effort: "high", loud: true },
  });
  await turn(driver, "say y");
  expect(told(house)).toEqual(["plan", "high", true]);
  const all = { mode: "plan", model: "small", effort: "high", loud: true };
  expect(held(driver)).toEqual(all);
  for (const pid of house.processes()) process.kill(pid, "SIGKILL");
  await driver.event("notice");
  await turn(driver, "say z");
  expect(told(house).slice(3)).toEqual(["plan", "high", true]);
  expect(held(driver)).toEqual(all);
  expect(driver.state.chosen).toMatchObject({ mode: "plan", options: { effort: "high", loud: true } });
  // Nobody is told of what it had by itself meanwhile.
  expect(eventsOf(driver.frames, "agent_facts").filter(({ facts }) => facts.mode === "ask")).toHaveLength(1);
});

test("what an agent refuses is said, in its words, and is not chosen any more", async () => {
  const house = await open({ refuses: "yolo" });
  const driver = await house.driver();
  await turn(driver, "say x");
  await configure(house, driver, { mode: "yolo", options: { effort: "high" } });
  await turn(driver, "say y");
  expect(notices(driver)).toEqual([
    ["agent_refused_setting", 'The agent scripted did not take the mode "yolo": Internal error (the mode yolo is not for you).'],
  ]);
  expect(held(driver)).toMatchObject({ mode: "ask", effort: "high" });
  expect(driver.state.chosen).toMatchObject({ mode: null, options: { effort: "high" } });
  await turn(driver, "say z");
  expect(told(house)).toEqual(["yolo", "high"]);
});

test("a choice is told in the middle of a turn; what the agent changes by itself takes a choice back", async () => {
  const house = await open();
  const driver = await house.driver();
  await turn(driver, "say x");
  const { turn_id } = await driver.prompt("say waiting\nwait");
  await driver.until((seat) => said(seat).includes("waiting"));
  await configure(house, driver, { mode: "plan" });
  await driver.until(({ frames }) => eventsOf(frames, "agent_facts").some(({ facts }) => facts.mode === "plan"));
  await driver.rig.interrupt(turn_id ?? "");
  await turn(driver, `update ${JSON.stringify({ sessionUpdate: "current_mode_update", currentModeId: "yolo" })}`);
  expect(driver.state.agent_facts.mode).toBe("yolo");
  expect(driver.state.chosen.mode).toBeNull();
  await turn(driver, "say on");
  expect(told(house)).toEqual(["plan"]);
});

test("B44 a model that was named at the start is the agent's option of that kind; another is chosen by name or as the option, and the later choice counts", async () => {
  const house = await open();
  const driver = await house.driver({ model: "large" });
  await turn(driver, "say x");
  expect(held(driver)).toMatchObject({ model: "large" });
  await configure(house, driver, { options: { model: "huge" } });
  await turn(driver, "say x");
  expect(held(driver)).toMatchObject({ model: "huge" });
  await configure(house, driver, { model: "small" });
  await turn(driver, "say x");
  expect(held(driver)).toMatchObject({ model: "small" });
  expect(told(house)).toEqual(["large", "huge", "small"]);
  const refusal = await configure(house, driver, { model: "gigantic" }).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "model_unknown" });
  expect(house.told("initialize")).toHaveLength(1);
});

test("B44 a prompt is not given to another model than was named: one that is not there, one that the agent refuses, and an agent without a choice fail it", async () => {
  const fails = async (script: AgentScript, model: string) => turn(await (await open(script)).driver({ model }), "say never");
  expect(await fails({}, "gigantic")).toMatchObject({
    stop_reason: "failed",
    error: { code: "model_unknown", message: 'The model cannot be had: the agent scripted has no model "gigantic"; there are small, large, huge.' },
  });
  expect(await fails({ refuses: "huge" }, "huge")).toMatchObject({ error: { code: "model_unknown", message: expect.stringContaining("not huge") } });
  expect(await fails({ session: {} }, "large")).toMatchObject({
    error: { code: "model_unknown", message: expect.stringContaining("lets nobody choose its model") },
  });
});

const picture = { type: "image" as const, mime_type: "image/png", data: "iVBORw0KGgo=" };
const sendPicture = async (house: AcpHouse, seat: TestSeat) => {
  const session_id = seat.rig.sessionId;
  const { turn_id } = await house.house.daemon.call("send_prompt", { session_id, prompt_id: promptId(), when_busy: "queue", parts: [picture] }, seat.auth);
  await seat.until(({ state }) => state.last_turn?.turn_id === turn_id);
  expect(eventsOf(seat.frames, "turn_ended").at(-1)).toMatchObject({ error: { code: "unsupported" } });
};

test.each([
  ["small", "large", "model_unknown"],
  ["large", "small", undefined],
])("B44 what is chosen after a start counts, %s before and %s then, also where the first prompt was none for this agent", async (before, then, code) => {
  const house = await open({ errors: { "session/set_config_option": { code: -32603, message: "no" } } });
  const driver = await house.driver({ model: before });
  await sendPicture(house, driver);
  await configure(house, driver, { model: then });
  expect((await turn(driver, "say x")).error?.code).toBe(code);
});

test("B44 what is chosen while an agent is started again counts for its first prompt", async () => {
  const house = await street.open({ script: { session, hang: ["session/set_config_option"] }, limits: { agent_setting_wait_ms: 1_000 } });
  const driver = await house.driver({ model: "large" });
  expect(await turn(driver, "say never")).toMatchObject({ error: { code: "model_unknown" } });
  for (const pid of house.processes()) process.kill(pid, "SIGKILL");
  await driver.until((seat) => notices(seat).some(([code]) => code === "agent_ended"));
  const { turn_id } = await driver.prompt("say x");
  await eventually("the agent is told", () => told(house).length > 1);
  await configure(house, driver, { model: "small" });
  await driver.until(({ state }) => state.last_turn?.turn_id === turn_id);
  expect(said(driver)).toEqual(["x"]);
});

test("B44 a model is not chosen of an agent that has told that it offers none", async () => {
  const house = await open({ session: {} });
  const driver = await house.driver();
  await turn(driver, "say x");
  const refusal = await configure(house, driver, { model: "large" }).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "model_unknown" });
  expect(await turn(driver, "say y")).toMatchObject({ stop_reason: "end_turn" });
});

test("B7 what an agent tells of itself has a bound: so many, so long, and no two of one name", async () => {
  const many = Array.from({ length: 300 }, (_, n) => ({ id: `m${n}`, name: "@3000@", description: "@3000@" }));
  const house = await open({
    session: {
      modes: { currentModeId: "m0", availableModes: [...many.slice(0, 2), ...many, { id: "", name: "none" }, { id: "@2000@", name: "long" }] },
    },
  });
  const driver = await house.driver();
  await turn(driver, "say x");
  const { modes } = driver.state.agent_facts;
  expect(new Set(modes.map(({ id }) => id)).size).toBe(modes.length);
  expect(modes.length).toBeLessThanOrEqual(128);
  expect(modes[0]?.name).toHaveLength(1_024);
  expect(JSON.stringify(modes).length).toBeLessThanOrEqual(263_000);
  const short = await open({ session: { modes: { currentModeId: "m0", availableModes: many.map(({ id }) => ({ id, name: id })) } } });
  const other = await short.driver();
  await turn(other, "say x");
  expect(other.state.agent_facts.modes).toHaveLength(128);
});
