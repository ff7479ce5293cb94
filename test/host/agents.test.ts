import { afterEach, expect, test } from "vitest";
import { type TestOptions } from "../../packages/daemon/src/testing.ts";
import { House, played } from "../support/built-in-session.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { startModelServer, type ModelServer } from "../support/model-server.ts";

/** Which agents there are, what they lack, and what of a session they are told. */
const houses: House[] = [];
const servers: ModelServer[] = [];
afterEach(async () => {
  await Promise.all(houses.splice(0).map((house) => house.close()));
  await Promise.all(servers.splice(0).map((server) => server.close()));
});
async function open(options: TestOptions = {}): Promise<House> {
  const house = await House.open(options);
  houses.push(house);
  return house;
}
const agents = async (house: House) => (await house.daemon.call("list_agents", {}, house.owner)).agents;

test("list_agents tells models, modes and capabilities, to the owner and to every token of a session", async () => {
  const house = await open({ model: { apiKey: "sk-secret", baseURL: "http://127.0.0.1:9/v1", name: "m1" } });
  const told = [
    {
      name: "openai",
      kind: "built_in",
      default_model: "m1",
      models: null,
      modes: [],
      capabilities: { park: true, steer: true, images: false },
      unavailable: null,
    },
  ];
  expect(await agents(house)).toEqual(told);
  const { session, token } = await house.start();
  const id = { session_id: session.session_id };
  const view = await house.daemon.call("mint_token", { ...id, right: "view", label: "v" }, { token });
  expect((await house.daemon.call("list_agents", id, { token: view.token })).agents).toEqual(told);
  await expect(house.daemon.call("list_agents", {}, { token })).rejects.toMatchObject({ code: "unauthenticated" });
  await expect(house.daemon.call("list_agents", id)).rejects.toMatchObject({ code: "unauthenticated" });
});

test("B45 what is not available says which daemon has no key, who started it and when, and what to do; a prompt is refused in the same words", async () => {
  const clock = new FakeClock();
  const house = await open({ clock, startedBy: "client", limits: { idle_exit_ms: 1e12 } });
  const [agent] = await agents(house);
  expect(agent?.unavailable).toMatch(
    new RegExp(`this daemon \\(pid ${process.pid}, started by a client just now\\) has no key.*OPENAI_API_KEY.*config.toml.*--model practice`),
  );
  const started = await house.start({ model: "gpt-5" });
  const driver = await house.driver(started);
  for (const [ms, age] of [
    [5 * 60_000, "5 min ago"],
    [3 * 3_600_000, "3 h ago"],
    [72 * 3_600_000, "3 days ago"],
  ] as const) {
    clock.advance(ms);
    const refusal = await driver.prompt("hello").catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: "agent_unavailable", message: expect.stringContaining(`started by a client ${age}) has no key`) });
    expect((refusal as Error).message).toContain((await agents(house))[0]?.unavailable ?? "?");
  }
  expect(driver.state.queue).toEqual([]);
  expect(driver.state.turns).toBe(0);
});

test("B45 a daemon that somebody started by hand says so; one with a server and no model says that it has no model", async () => {
  expect((await agents(await open()))[0]?.unavailable).toMatch(/started by hand just now\) has no key/);
  expect((await agents(await open({ model: { baseURL: "http://127.0.0.1:9/v1" } })))[0]?.unavailable).toMatch(
    /no model is named, and this daemon \(pid \d+, started by hand just now\)/,
  );
});

test("B44 a note is never part of what the model is asked, and another model is asked with all that was said before", async () => {
  const server = await startModelServer([(reply) => (reply.text("yes"), reply.finish())]);
  servers.push(server);
  const house = await open({ model: { apiKey: "sk-x", baseURL: server.baseURL } });
  const driver = await house.driver(await house.start({ model: "one" }));
  const id = { session_id: driver.rig.sessionId };
  await house.daemon.call("add_system_message", { ...id, text: "sentinel one" }, driver.auth);
  await played(driver, "first");
  await house.daemon.call("add_system_message", { ...id, text: "sentinel two" }, driver.auth);
  await house.daemon.call("configure_session", { ...id, model: "two", title: "sentinel three" }, driver.auth);
  await played(driver, "second");
  expect(server.requests.map(({ body }) => [body.model, body.messages.slice(1).map((message) => message.content)])).toEqual([
    ["one", ["first"]],
    ["two", ["first", "yes", "second"]],
  ]);
  expect(JSON.stringify(server.requests)).not.toContain("sentinel");
  expect(driver.state.messages.filter((message) => message.type === "notice")).toHaveLength(2);
});

test("B26 B29 with the built-in agent: what is remembered for a file or a command runs unasked, what differs is asked, and a file that changed meanwhile is not written", async () => {
  const house = await open();
  const driver = await house.driver(await house.start());
  const asked: string[] = [];
  const session = (question: { preview: string }) => (asked.push(question.preview.split("\n")[0] ?? ""), "allow_session");
  expect(await played(driver, "write a.txt: one", session)).toEqual([expect.stringMatching(/^Created a.txt/)]);
  expect(await played(driver, "write a.txt: two", session)).toEqual([expect.stringMatching(/^Replaced a.txt/)]);
  expect(await played(driver, "write ./a.txt: three", session)).toEqual([expect.stringMatching(/^Replaced a.txt/)]);
  expect(asked).toHaveLength(1);
  await played(driver, "edit a.txt: three => four", session);
  await played(driver, "write b.txt: one", session);
  expect(asked).toHaveLength(3);
  await played(driver, "run echo hi", session);
  await played(driver, "run echo hi", session);
  expect(asked).toHaveLength(4);
  await played(driver, "run echo hi there", session);
  expect(asked).toHaveLength(5);
  // Both are allowed by rule as the file was when they were asked about; the second finds it changed by the first.
  const [first, second] = await played(driver, "together: write a.txt: five & write a.txt: six", session);
  expect([first, second]).toEqual([expect.stringMatching(/^Replaced/), expect.stringMatching(/changed since it was shown/)]);
  expect(asked).toHaveLength(5);
});
