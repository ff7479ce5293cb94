import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test as anywhere, vi } from "vitest";
import type { Sandbox, SessiondError, VerbInput, VerbOutput } from "@sessiond/shared";
import { readConfig } from "../../packages/daemon/src/config.ts";
import { testEnv, testRoot, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { House, played } from "../support/built-in-session.ts";
import { bubblewrap as real, bubblewrapWorks } from "../support/sandboxed.ts";
import { ScriptedKind } from "../support/scripted-agent.ts";

/** How a life gets its sandbox, who is told of it, and what happens where there is none to be had. */
type Started = VerbOutput<"start_session">;
// Where much else runs, a process takes its time.
vi.setConfig({ testTimeout: 240_000 });
const test = anywhere.skipIf(!bubblewrapWorks);
const isRoot = process.getuid?.() === 0;

const houses: House[] = [];
const roots: string[] = [];
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(houses.splice(0).map((house) => house.close()));
  for (const root of roots.splice(0)) rmSync(root, { recursive: true, force: true });
});

async function open(options: TestOptions = {}, config = ""): Promise<House> {
  const root = realpathSync(options.root ?? (await testRoot()));
  mkdirSync(join(root, "config/sessiond"), { recursive: true });
  writeFileSync(join(root, "config/sessiond/config.toml"), config);
  const house = await House.open({ ...options, root });
  houses.push(house);
  return house;
}

/** A directory for programs, first on the daemon's PATH, and alone there unless told otherwise. */
async function programs({ beside = "" } = {}): Promise<string> {
  const bin = join(realpathSync(await testRoot()), "bin");
  roots.push(join(bin, ".."));
  mkdirSync(bin);
  vi.stubEnv("PATH", `${bin}${beside}`);
  return bin;
}

function program(path: string, text: string): void {
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
}

const refused = (house: House, options: Partial<VerbInput<"start_session">> = { sandbox: "no_network" }): Promise<string> =>
  house.start(options).then(
    () => "started",
    (error: SessiondError) => `${error.code}: ${error.message}`,
  );

async function ran(house: House, started: Started, prompt = "run pwd"): Promise<string> {
  const driver = await house.driver(started);
  const [text = ""] = await played(driver, prompt);
  await driver.detach();
  return text;
}

const stop = (house: House, { session, token }: Started) => house.daemon.call("stop", { session_id: session.session_id }, { token });
const infoOf = (house: House, { session }: Started) => house.daemon.call("session_info", { session_id: session.session_id }, house.owner);

test("B46 a life begins in the sandbox that its start names, and all who ask are told: info, snapshot, first event, whoever joins", async () => {
  const house = await open();
  const started = await house.start({ sandbox: "no_network" });
  expect(started).toMatchObject({ created: true, differs: [], session: { sandbox: "no_network" } });
  expect(await infoOf(house, started)).toMatchObject({ sandbox: "no_network" });
  const driver = await house.driver(started);
  expect(driver.state.sandbox).toBe("no_network");
  const { frames } = await house.daemon.call("session_data", { session_id: started.session.session_id }, house.owner);
  expect(frames[0]?.event).toMatchObject({ type: "session_started", sandbox: "no_network" });
  const [text] = await played(driver, "run cat /proc/1/cmdline | tr '\\0' ' ' | cut -d ' ' -f 1; exit 4");
  expect(text).toBe(`${real}\n[exit code 4]`);
  await driver.detach();
  expect(await house.start({ sandbox: "off" })).toMatchObject({ created: false, differs: ["sandbox"], session: { sandbox: "no_network" } });
  expect(await house.start({ sandbox: "no_network" })).toMatchObject({ created: false, differs: [] });
  expect(await house.start()).toMatchObject({ created: false, differs: [] });
  await house.restart();
  expect(await infoOf(house, started)).toMatchObject({ sandbox: "no_network" });
  expect(await ran(house, await house.start(), "run test -d /home && echo there")).toBe("(no output)\n[exit code 1]");
});

test("B46 the next life has the sandbox of its own start; without one it is off, and that is said", async () => {
  const house = await open();
  const first = await house.start({ sandbox: "network" });
  await stop(house, first);
  const second = await house.start();
  expect(second).toMatchObject({ created: true, session: { sandbox: "off" } });
  expect(await infoOf(house, second)).toMatchObject({ sandbox: "off" });
  expect(await ran(house, second, "run test -d /home && echo there")).toBe("there\n[exit code 0]");
  const driver = await house.driver(second);
  expect(driver.state.sandbox).toBe("off");
});

test("B46 the configuration says in what commands run where a start does not, strictly; a start may say otherwise", async () => {
  const house = await open({}, '[sandbox]\nshell = "no_network"\n');
  const started = await house.start();
  expect(started.session.sandbox).toBe("no_network");
  await stop(house, started);
  expect((await house.start({ sandbox: "off" })).session.sandbox).toBe("off");
  expect((await house.start({}, house.workdir("other"))).session.sandbox).toBe("no_network");
  const path = join(house.daemon.root, "config/sessiond/config.toml");
  const read = (text: string): string => {
    writeFileSync(path, text);
    try {
      return readConfig(testEnv(house.daemon.root), []).sandbox;
    } catch (error) {
      return error instanceof Error ? error.message : "";
    }
  };
  expect([read(""), read("[sandbox]\n"), read('[sandbox]\nshell = "network"\n')]).toEqual(["off", "off", "network"]);
  for (const wrong of ['shell = "on"', "shell = true", 'shel = "network"']) expect(read(`[sandbox]\n${wrong}\n`)).toMatch(/config\.toml: sandbox/);
});

test("B46 an answer remembered for a command in a sandbox does not allow it without, nor in another", async () => {
  const house = await open();
  const asked = async (sandbox: Sandbox): Promise<number> => {
    const started = await house.start({ sandbox });
    const driver = await house.driver({ ...started, token: (await minted(started)).token });
    let questions = 0;
    await played(driver, "run true", () => ((questions += 1), "allow_always"));
    await driver.detach();
    await stop(house, started);
    return questions;
  };
  const minted = ({ session }: Started) => house.daemon.call("mint_token", { session_id: session.session_id, right: "control", label: "owner" }, house.owner);
  expect([await asked("no_network"), await asked("no_network"), await asked("network"), await asked("off"), await asked("off")]).toEqual([1, 0, 1, 1, 0]);
});

// --- Where there is none ------------------------------------------------------------------------------------------

test("B46 without bubblewrap a start that asks for a sandbox is refused, with what to do, and leaves nothing; as soon as it is there it is used", async () => {
  const bin = await programs();
  const house = await open();
  for (const sandbox of ["no_network", "network"] as const)
    expect(await refused(house, { sandbox })).toMatch(/^unsupported: Not supported: there is no bubblewrap .*apt install bubblewrap.*sandbox `off`\.$/);
  expect(await house.daemon.call("list_sessions", {}, house.owner)).toMatchObject({ sessions: [] });
  expect(readdirSync(join(house.daemon.root, "state/sessiond/sessions"))).toEqual([]);
  expect((await house.start({ sandbox: "off" }, house.workdir("free"))).session.sandbox).toBe("off");
  symlinkSync(real, join(bin, "bwrap"));
  expect((await house.start({ sandbox: "no_network" })).session.sandbox).toBe("no_network");
});

test("B46 where the configuration asks for the sandbox it is the same, for a first life and for a next", async () => {
  const bin = await programs();
  const house = await open({}, '[sandbox]\nshell = "network"\n');
  expect(await refused(house, {})).toMatch(/^unsupported: /);
  await stop(house, await house.start({ sandbox: "off" }));
  expect(await refused(house, {})).toMatch(/^unsupported: /);
  symlinkSync(real, join(bin, "bwrap"));
  expect((await house.start()).session).toMatchObject({ sandbox: "network", life: 2 });
});

test("B46 one that does not work here is refused with its own words, and tried again when it is asked for again", async () => {
  const bin = await programs({ beside: ":/usr/bin:/bin" });
  program(join(bin, "bwrap"), 'echo "bwrap: No permissions to create new namespace" >&2; exit 1');
  const house = await open();
  expect(await refused(house)).toMatch(
    /^unsupported: .*does not work here \(.*\/bin\/bwrap: bwrap: No permissions to create new namespace\); allow user namespaces/,
  );
  program(join(bin, "bwrap"), `exec ${real} "$@"`);
  expect(await refused(house)).toBe("started");
});

anywhere.skipIf(!bubblewrapWorks || !isRoot)("B46 one that others than root could replace is passed over, and one in the workdir is not used", async () => {
  const bin = await programs({ beside: ":/usr/bin:/bin" });
  program(join(bin, "bwrap"), "touch /tmp/never; exit 0");
  chownSync(join(bin, "bwrap"), 65_534, 65_534);
  const house = await open();
  expect(await ran(house, await house.start({ sandbox: "no_network" }), "run cat /proc/1/cmdline | tr '\\0' ' ' | cut -d ' ' -f 1")).toMatch(
    /^\/usr\/bin\/bwrap\n/,
  );
  const inWorkdir = await programs();
  program(join(inWorkdir, "bwrap"), `exec ${real} "$@"`);
  const other = await open();
  const started = await other.start({ sandbox: "no_network" }, join(inWorkdir, ".."));
  expect(await ran(other, started, "run touch ran")).toMatch(/was not run: .*\/bin\/bwrap lies in the working directory/);
  expect(existsSync(join(inWorkdir, "../ran"))).toBe(false);
});

test("B46 when it is gone later, or no longer works, the call fails with words and the command is not run", async () => {
  const bin = await programs({ beside: ":/bin-without-it" });
  symlinkSync(real, join(bin, "bwrap"));
  const house = await open();
  const started = await house.start({ sandbox: "no_network" });
  rmSync(join(bin, "bwrap"));
  const gone = await ran(house, started, "run echo yes > ran");
  expect(gone).toMatch(/^The command was not run, because its sandbox cannot be made: there is no bubblewrap at .*\/bwrap any more; install bubblewrap/);
  expect((await infoOf(house, started)).last_turn).toMatchObject({ stop_reason: "end_turn" });
  program(join(bin, "bwrap"), 'echo "bwrap: setting up uid map: Permission denied" >&2; exit 1');
  expect(await ran(house, started, "run echo yes > ran")).toMatch(/^bwrap: setting up uid map: Permission denied\n\[exit code 1\]$/);
  expect(existsSync(join(started.session.workdir, "ran"))).toBe(false);
});

test("B46 an agent that has no sandbox is not started in one", async () => {
  const house = await open({ kinds: [new ScriptedKind()] });
  const start = (sandbox: Sandbox) =>
    house.daemon
      .call("start_or_get_for_workdir", { workdir: house.workdir(), sandbox }, house.owner)
      .catch((error: SessiondError) => `${error.code}: ${error.message}`);
  expect(await start("no_network")).toMatch(/^unsupported: Not supported: the agent \w+ has no sandbox for its commands\.$/);
  expect(await start("off")).toMatchObject({ created: true });
});
