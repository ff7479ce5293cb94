import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { limits, type SessiondError } from "@sessiond/shared";
import { testRoot, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { at, filesOf } from "../support/gate-world.ts";
import { House, played } from "../support/built-in-session.ts";

/** What a life is started with: title, policy, and the variables that its tools get. */
const houses: House[] = [];
afterEach(async () => {
  await Promise.all(houses.splice(0).map((house) => house.close()));
});
async function open(options: TestOptions = {}): Promise<House> {
  const house = await House.open(options);
  houses.push(house);
  return house;
}

const given = { PATH: "/given/bin:/usr/bin:/bin", VIRTUAL_ENV: "/given/venv", NODE_ENV: "test 4711" };
/** The environment of a command of this session. */
async function environment(house: House, started: Awaited<ReturnType<House["start"]>>): Promise<Record<string, string>> {
  const driver = await house.driver(started);
  const [text = ""] = await played(driver, "run env");
  await driver.detach();
  return Object.fromEntries(
    text
      .split("\n")
      .filter((line) => line.includes("="))
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
}

test("B46 tools get what the start gave, over what the daemon has, and no key; after a restart too", async () => {
  const house = await open({ model: { apiKey: "sk-not-for-tools" } });
  const started = await house.start({ env: given });
  const first = await environment(house, started);
  expect(first).toMatchObject(given);
  expect(first["HOME"]).toBe(join(house.daemon.root, "home"));
  expect(JSON.stringify(first)).not.toContain("sk-not-for-tools");
  await house.restart();
  expect(await environment(house, await house.start())).toMatchObject(given);
});

test("the next life has what its own start gave, and nothing of the one before", async () => {
  const house = await open();
  const stop = async ({ session, token }: Awaited<ReturnType<House["start"]>>) => house.daemon.call("stop", { session_id: session.session_id }, { token });
  await stop(await house.start({ env: given }));
  const second = await house.start({ env: { VIRTUAL_ENV: "/second" } });
  expect(second.session.env_names).toEqual(["VIRTUAL_ENV"]);
  const seen = await environment(house, second);
  expect([seen["VIRTUAL_ENV"], seen["NODE_ENV"]]).toEqual(["/second", undefined]);
  await stop(second);
  const third = await house.start();
  expect(third.session.env_names).toEqual([]);
  expect((await environment(house, third))["VIRTUAL_ENV"]).toBeUndefined();
});

test("another session of the same directory has its own, and who joins a running life is told what differs", async () => {
  const house = await open();
  const started = await house.start({ env: given, title: "one", policy: { type: "reject_after", ms: 5 } });
  expect([started.created, started.differs]).toEqual([true, []]);
  const beside = await house.daemon.call("start_session", { request_id: `req_${"1".repeat(22)}`, workdir: house.workdir(), model: "practice" }, house.owner);
  expect((await environment(house, beside))["VIRTUAL_ENV"]).toBeUndefined();
  const differs = async (options: Parameters<House["start"]>[0]) => (await house.start(options)).differs;
  expect(await differs({ env: { ...given }, title: "one", policy: { type: "reject_after", ms: 5 }, agent: "openai" })).toEqual([]);
  expect(await differs({})).toEqual([]);
  expect(await differs({ env: { ...given, NODE_ENV: "other" } })).toEqual(["env"]);
  expect(await differs({ env: {} })).toEqual(["env"]);
  expect(await differs({ env: { ...given, LANG: "C" } })).toEqual(["env"]);
  expect(await differs({ agent: "other", model: "m2", title: "two", policy: { type: "hold" }, env: {} })).toEqual(["agent", "model", "title", "policy", "env"]);
  expect(await differs({ policy: { type: "reject_after", ms: 6 } })).toEqual(["policy"]);
  const { session } = await house.start();
  expect(session).toMatchObject({ title: "one", policy: { type: "reject_after", ms: 5 }, model: "practice", env_names: Object.keys(given) });
});

test("title and policy stand in the first frame of the life", async () => {
  const house = await open();
  const { session } = await house.start({ title: "the parser", policy: { type: "reject_after", ms: 7 } });
  const { frames } = await house.daemon.call("session_data", { session_id: session.session_id, limit: 1 }, house.owner);
  expect(frames[0]?.event).toMatchObject({ type: "session_started", title: "the parser", policy: { type: "reject_after", ms: 7 } });
});

test("B2 the values are told to nobody: not in frames, facts, lists or the audit, only in the session's own file", async () => {
  const house = await open();
  const started = await house.start({ env: { NODE_ENV: "sentinel-4711" } });
  await house.start({ env: { NODE_ENV: "sentinel-4712" } });
  const id = { session_id: started.session.session_id };
  const told = [
    started,
    await house.daemon.call("session_info", id, house.owner),
    await house.daemon.call("session_data", id, house.owner),
    await house.daemon.call("list_sessions", {}, house.owner),
    await house.daemon.call("daemon_status", {}, house.owner),
  ];
  expect(JSON.stringify(told)).not.toContain("sentinel-471");
  await house.daemon.stop(0);
  const holding = Object.entries(filesOf(house.daemon.root, () => false)).filter(([, text]) => text.includes("sentinel-471"));
  expect(holding.map(([path]) => path)).toEqual([at(house.daemon, "sessions", id.session_id, "session.json")]);
  expect(readFileSync(at(house.daemon, "sessions", id.session_id, "session.json"), "utf8")).not.toContain("sentinel-4712");
});

const refused: readonly [string, RegExp][] = [
  ["OPENAI_API_KEY", /secret's/],
  ["GITHUB_TOKEN", /secret's/],
  ["aws_secret_access", /secret's/],
  ["DB_PASSWORD", /secret's/],
  ["MY_CREDENTIALS", /secret's/],
  ["SESSIOND_STATE", /sessiond's own/],
  ["LD_PRELOAD", /allow-list/],
  ["HOME", /allow-list/],
  ["constructor", /allow-list/],
];
for (const [name, why] of refused) {
  test(`B46 ${name} may not go with a start: it is refused by name, its value is not repeated, and nothing is begun`, async () => {
    const house = await open();
    const before = filesOf(house.daemon.root);
    const workdir = house.workdir();
    const starts = [
      () => house.start({ env: { PATH: "/bin", [name]: "sentinel-4711" } }, workdir),
      () =>
        house.daemon.call("start_session", { request_id: `req_${"1".repeat(22)}`, workdir, model: "practice", env: { [name]: "sentinel-4711" } }, house.owner),
    ];
    for (const start of starts) {
      const error = await start().then(
        () => null,
        (failed: SessiondError) => failed,
      );
      expect(error).toMatchObject({ code: "bad_request" });
      expect(error?.message).toContain(name);
      expect(error?.message).toMatch(why);
      expect(JSON.stringify([error?.message, error?.detail])).not.toContain("sentinel");
    }
    expect(filesOf(house.daemon.root)).toEqual(before);
    expect(house.daemon.host.awake).toEqual([]);
    // A life that runs is not joined with it either.
    await house.start({}, workdir);
    await expect(house.start({ env: { [name]: "x" } }, workdir)).rejects.toMatchObject({ code: "bad_request" });
  });
}

test("B46 too many variables, names that are none, values that are too long, hold a NUL or a token: refused, and nothing is begun", async () => {
  const allow = Array.from({ length: limits.env_vars_max + 1 }, (_, index) => `FLAG_${index}`);
  const house = await configured({ allow });
  const env = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, "1"]));
  const { token } = await house.start({}, house.workdir("other"));
  const before = filesOf(at(house.daemon, "sessions"));
  const bad = [env(allow), { "A-B": "1" }, { "": "1" }, { PATH: "x".repeat(limits.env_value_chars_max + 1) }, { PATH: "/bin\0/usr" }, { PATH: token }];
  for (const wrong of bad) await expect(house.start({ env: wrong })).rejects.toMatchObject({ code: "bad_request" });
  expect(filesOf(at(house.daemon, "sessions"))).toEqual(before);
  expect((await house.start({ env: env(allow.slice(1)) })).session.env_names).toHaveLength(limits.env_vars_max);
});

async function configured({ allow }: { allow: readonly string[] }): Promise<House> {
  const root = await testRoot();
  mkdirSync(join(root, "config/sessiond"), { recursive: true });
  writeFileSync(join(root, "config/sessiond/config.toml"), `[environment]\nallow = ${JSON.stringify(allow)}\n`);
  return open({ root });
}

test("B46 the configuration may allow more names, and none that is a secret's", async () => {
  const house = await configured({ allow: ["MY_FLAG", "MY_API_KEY", "SESSIOND_X"] });
  expect(await environment(house, await house.start({ env: { MY_FLAG: "on" } }))).toMatchObject({ MY_FLAG: "on" });
  for (const name of ["MY_API_KEY", "SESSIOND_X"])
    await expect(house.start({ env: { [name]: "x" } })).rejects.toMatchObject({ code: "bad_request", message: expect.stringMatching(/secret's/) });
});

test("B46 tools get no variable whose value lies in the daemon's own directories, also when the start gave it", async () => {
  const house = await open();
  const own = ["state", "run", "config"].map((name) => join(house.daemon.root, name, "sessiond"));
  const [state = "", run = "", config = ""] = own;
  const env = { PATH: `/usr/bin:/bin:${state}/bin:/last`, VIRTUAL_ENV: state, NODE_OPTIONS: `--require ${run}/x.js`, PYTHONPATH: `/p:${config}` };
  const seen = await environment(house, await house.start({ env }));
  expect(seen["PATH"]).toBe("/usr/bin:/bin:/last");
  expect(Object.keys(seen).filter((name) => name !== "PATH" && name in env)).toEqual([]);
  for (const dir of own) expect(JSON.stringify(seen)).not.toContain(dir);
});

test("B25 a title is a line like a label: with controls, reordering or unseen characters nothing is started, by either start", async () => {
  const house = await open();
  const { daemon } = house;
  const workdir = house.workdir();
  const auth = { host_key: daemon.hostKey };
  for (const title of ["\u001b[31mred", "two\nlines", "a\ttab", "\u202eback", "un\u200bseen", "x".repeat(limits.session_title_chars_max + 1), ""]) {
    const refused = { code: "bad_request", detail: { reason: expect.stringContaining("title") } };
    await expect(daemon.call("start_or_get_for_workdir", { workdir, model: "practice", title }, auth)).rejects.toMatchObject(refused);
    await expect(daemon.call("start_session", { request_id: `req_${"t".repeat(22)}`, workdir, model: "practice", title }, auth)).rejects.toMatchObject(refused);
  }
  expect((await daemon.call("list_sessions", {}, auth)).sessions).toEqual([]);
  const title = "Übung 漢字 😀 “the parser”: 100 %";
  expect((await house.start({ title })).session.title).toBe(title);
});

test("B12 B25 a journal from before that, with another title, is read as it is: joined, told, and given a better one", async () => {
  const house = await open();
  const { session, token } = await house.start({ title: "PLACE" });
  const { session_id } = session;
  await house.daemon.stop(0);
  const journal = at(house.daemon, "sessions", session_id, "journal");
  const title = "\u001b[31mred\u202e\ntwo";
  writeFileSync(journal, readFileSync(journal, "utf8").replace('"PLACE"', JSON.stringify(title)));
  await house.restart();
  expect((await house.start()).session).toMatchObject({ session_id, title, life_state: "live" });
  expect(house.daemon.bugs).toEqual([]);
  const frames = (await house.daemon.call("session_data", { session_id }, { token })).frames;
  expect(frames[0]?.event).toMatchObject({ type: "session_started", title });
});
