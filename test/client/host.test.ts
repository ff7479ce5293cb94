import { Connection, Door, Host } from "@sessiond/client";
import { unixSocket } from "@sessiond/client/node";
import { formatToken, limits } from "@sessiond/shared";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { testEnv } from "../../packages/daemon/src/testing.ts";
import { failure } from "../support/attached-seat.ts";
import { ClientRig } from "../support/client-rig.ts";
import { endRigs } from "../support/session-rig.ts";

/** What a holder of the host key asks for: starts and what goes with them, agents, readiness, an end by directory. */
let house: ClientRig;
beforeEach(async () => {
  house = await ClientRig.start();
});
afterEach(async () => {
  await house.close();
  await endRigs();
});

/** Another directory of the rig's. */
function directory(name: string): string {
  const path = join(house.rig.daemon.root, name);
  mkdirSync(path);
  return path;
}

const ours = { VIRTUAL_ENV: "/venv", NVM_BIN: "/nvm", OPENAI_API_KEY: "k", AWS_SECRET: "s", SESSIOND_BIN: "/b", HOME: "/h", UNSET: undefined };
const withEnv = (more: NodeJS.ProcessEnv = {}) => house.host({ env: { ...testEnv(house.rig.daemon.root), ...ours, ...more } });
const namesOf = async (session: { info(): Promise<{ env_names: string[] }> }): Promise<string[]> => (await session.info()).env_names.toSorted();

test("B2 of the caller's environment what is allowed goes with a start by itself, and never a credential", async () => {
  const host = await withEnv();
  const session = await host.sessionForWorkdir(directory("one"));
  expect(await namesOf(session)).toEqual(["NVM_BIN", "PATH", "VIRTUAL_ENV"]);
  expect(await namesOf(await host.startSession({ workdir: directory("two") }))).toEqual(["NVM_BIN", "PATH", "VIRTUAL_ENV"]);
});

test("B2 an environment that is given goes instead, also an empty one, and one that is refused starts nothing", async () => {
  const host = await withEnv();
  expect(await namesOf(await host.sessionForWorkdir(directory("one"), { env: {} }))).toEqual([]);
  const two = directory("two");
  expect(await namesOf(await host.sessionForWorkdir(two, { env: { LANG: "C" } }))).toEqual(["LANG"]);
  expect((await host.sessionForWorkdir(two, { env: { LANG: "de" } })).differs).toEqual(["env"]);
  const three = directory("three");
  expect((await failure(host.sessionForWorkdir(three, { env: { MY_TOKEN: "x" } }))).code).toBe("bad_request");
  expect((await host.listSessions({ workdir: three })).sessions).toEqual([]);
});

test("B2 what nobody chose is no reason to refuse a start: a value that is too long, or holds a secret, stays behind", async () => {
  const secret = formatToken("control", house.rig.sessionId, "t".repeat(32));
  const host = await withEnv({ PYTHONPATH: "/p:".repeat(limits.env_value_chars_max), EDITOR: `vi ${secret}` });
  expect(await namesOf(await host.sessionForWorkdir(directory("one")))).toEqual(["NVM_BIN", "PATH", "VIRTUAL_ENV"]);
});

test("B2 without Node's environment nothing goes with a start", async () => {
  const door = new Door({ dial: unixSocket(house.rig.daemon.socketPath) });
  const host = new Host({ door, calls: new Connection(door), auth: { host_key: house.rig.daemon.hostKey }, clientName: "page" });
  expect(await namesOf(await host.sessionForWorkdir(directory("one")))).toEqual([]);
  await host.close();
});

test("B11 title and policy begin with a life, and differ where a running one has others", async () => {
  const host = await house.host();
  const dir = directory("one");
  const first = await host.sessionForWorkdir(dir, { title: "Mine", policy: { type: "reject_after", ms: 1_000 } });
  expect([first.created, first.differs]).toEqual([true, []]);
  expect(await first.info()).toMatchObject({ title: "Mine", policy: { type: "reject_after", ms: 1_000 } });
  const again = await host.sessionForWorkdir(dir, { title: "Other", policy: { type: "hold" } });
  expect([again.created, again.differs.toSorted()]).toEqual([false, ["policy", "title"]]);
});

test("B42 agents are listed to the host and to a token of a session, with what they lack", async () => {
  const host = await house.host();
  const [agent] = await host.listAgents();
  expect(agent).toMatchObject({ name: "scripted", default_model: "script", models: null, unavailable: null });
  house.rig.kind.missing = "no key is set";
  expect(await (await house.session("guest", "view")).listAgents()).toMatchObject([{ unavailable: "no key is set" }]);
  expect(await host.session(house.rig.sessionId).listAgents()).toHaveLength(1);
});

test("B9 a session is stopped by its directory, however it is written; without one it is not_found", async () => {
  const host = await house.host();
  const { sessionId, life } = await host.stopWorkdirSession(join(house.rig.workdir, ".", "/"));
  expect([sessionId, life]).toEqual([house.rig.sessionId, 1]);
  expect((await host.session(sessionId).waitFor("stopped")).life_state).toBe("stopped");
  expect((await failure(host.stopWorkdirSession(directory("none")))).code).toBe("not_found");
});

test("B42 who waits for readiness has it at once from a daemon that is ready, and waits across a restart", async () => {
  const host = await house.host();
  expect(await host.waitReady()).toMatchObject({ ready: true, draining: false });
  const { boot_id } = await host.status();
  await house.end();
  const waiting = host.waitReady();
  await house.begin();
  expect((await waiting).boot_id).not.toBe(boot_id);
  await house.end();
  expect((await failure(host.waitReady({ timeoutMs: 30 }))).code).toMatch(/timeout|daemon_unreachable/);
  const last = failure(host.waitReady());
  await host.close();
  expect((await last).code).toBe("daemon_unreachable");
});
