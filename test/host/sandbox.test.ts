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
/** Only root can put there what is root's. */
const withPrograms = anywhere.skipIf(!bubblewrapWorks || process.getuid?.() !== 0);

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

/** A directory for programs of the system. */
async function programs(): Promise<string> {
  const bin = join(realpathSync(await testRoot()), "bin");
  roots.push(join(bin, ".."));
  mkdirSync(bin);
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

test("B46 the files with keys that the configuration names are kept from commands in a sandbox and from the file tools", async () => {
  const root = realpathSync(await testRoot());
  mkdirSync(join(root, "work"));
  writeFileSync(join(root, "work/model.key"), "THE-SECRET");
  const house = await open({ root }, '[model]\nname = "practice"\napi_key_file = "../../work/model.key"\n');
  const started = await house.start({ sandbox: "no_network" });
  expect(await ran(house, started, "run cat model.key")).not.toContain("THE-SECRET");
  expect(await ran(house, started, "read model.key")).toMatch(/model\.key belongs to sessiond itself/);
  const path = join(root, "config/sessiond/config.toml");
  writeFileSync(path, '[tcp]\nlisten = "127.0.0.1:0"\ncert = "/srv/cert.pem"\nkey = "/srv/key.pem"\n');
  expect(readConfig(testEnv(root), []).secretFiles).toEqual(["/srv/key.pem"]);
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

test("B46 who asks for more than the life that runs has is refused and gets no token; who names none joins it, and is told where the configuration asks for more", async () => {
  const house = await open();
  const started = await house.start({ sandbox: "off" });
  const tokens = async (): Promise<number> => (await house.daemon.call("list_tokens", { session_id: started.session.session_id }, house.owner)).tokens.length;
  const before = await tokens();
  for (const sandbox of ["network", "no_network"] as const)
    expect(await refused(house, { sandbox })).toMatch(/^conflict: .*began with the sandbox off and keeps it, and \w+ was asked for; stop the session/);
  const byId = { request_id: "req_0123456789abcdefghijkl", session_id: started.session.session_id, sandbox: "network" } as const;
  await expect(house.daemon.call("start_session", byId, house.owner)).rejects.toMatchObject({ code: "conflict" });
  expect(await tokens()).toBe(before);
  expect(await house.start()).toMatchObject({ created: false, differs: [] });
  writeFileSync(join(house.daemon.root, "config/sessiond/config.toml"), '[sandbox]\nshell = "network"\n');
  await house.restart();
  expect(await house.start()).toMatchObject({ created: false, differs: ["sandbox"], session: { sandbox: "off" } });
  expect(await house.start({ sandbox: "off" })).toMatchObject({ created: false, differs: [] });
  expect(await refused(house, { sandbox: "network" })).toMatch(/^conflict: /);
  const more = await house.start({ sandbox: "no_network" }, house.workdir("more"));
  // More than the configuration asks for is not less.
  expect(await house.start({}, house.workdir("more"))).toMatchObject({ created: false, differs: [], session: { sandbox: "no_network" } });
  await stop(house, more);
  expect(await house.start({ sandbox: "network" }, house.workdir("more"))).toMatchObject({ created: true, session: { sandbox: "network" } });
  expect(await refused(house, { sandbox: "no_network" })).toMatch(/^conflict: /);
});

// --- Where there is none ------------------------------------------------------------------------------------------

withPrograms(
  "B46 without bubblewrap a start that asks for a sandbox is refused, with what to do, and leaves nothing; as soon as it is there it is used",
  async () => {
    const bin = await programs();
    const house = await open({ programDirs: [bin] });
    for (const sandbox of ["no_network", "network"] as const)
      expect(await refused(house, { sandbox })).toMatch(/^unsupported: Not supported: there is no bubblewrap .*apt install bubblewrap.*sandbox `off`\.$/);
    expect(await house.daemon.call("list_sessions", {}, house.owner)).toMatchObject({ sessions: [] });
    expect(readdirSync(join(house.daemon.root, "state/sessiond/sessions"))).toEqual([]);
    expect((await house.start({ sandbox: "off" }, house.workdir("free"))).session.sandbox).toBe("off");
    symlinkSync(real, join(bin, "bwrap"));
    expect((await house.start({ sandbox: "no_network" })).session.sandbox).toBe("no_network");
  },
);

withPrograms("B46 where the configuration asks for the sandbox it is the same, for a first life and for a next", async () => {
  const bin = await programs();
  const house = await open({ programDirs: [bin] }, '[sandbox]\nshell = "network"\n');
  expect(await refused(house, {})).toMatch(/^unsupported: /);
  await stop(house, await house.start({ sandbox: "off" }));
  expect(await refused(house, {})).toMatch(/^unsupported: /);
  symlinkSync(real, join(bin, "bwrap"));
  expect((await house.start()).session).toMatchObject({ sandbox: "network", life: 2 });
});

withPrograms("B46 one that does not work here is refused with its own words, and tried again when it is asked for again", async () => {
  const bin = await programs();
  program(join(bin, "bwrap"), 'echo "bwrap: No permissions to create new namespace" >&2; exit 1');
  const house = await open({ programDirs: [bin] });
  expect(await refused(house)).toMatch(
    /^unsupported: .*does not work here \(.*\/bin\/bwrap: bwrap: No permissions to create new namespace\); allow user namespaces/,
  );
  program(join(bin, "bwrap"), `exec ${real} "$@"`);
  expect(await refused(house)).toBe("started");
});

withPrograms("B46 one that others than root could replace is passed over, and one in the workdir is not used", async () => {
  const bin = await programs();
  program(join(bin, "bwrap"), "touch /tmp/never; exit 0");
  chownSync(join(bin, "bwrap"), 65_534, 65_534);
  const house = await open({ programDirs: [bin, "/usr/bin"] });
  expect(await ran(house, await house.start({ sandbox: "no_network" }), "run cat /proc/1/cmdline | tr '\\0' ' ' | cut -d ' ' -f 1")).toMatch(
    /^\/usr\/bin\/bwrap\n/,
  );
  for (const link of [false, true]) {
    const inWorkdir = await programs();
    if (link) symlinkSync(real, join(inWorkdir, "bwrap"));
    else program(join(inWorkdir, "bwrap"), `exec ${real} "$@"`);
    const other = await open({ programDirs: [inWorkdir] });
    const started = await other.start({ sandbox: "no_network" }, join(inWorkdir, ".."));
    expect(await ran(other, started, "run touch ran")).toMatch(/was not run: .*\/bin\/bwrap lies in the working directory/);
    expect(existsSync(join(inWorkdir, "../ran"))).toBe(false);
  }
});

test("B46 nor is the working directory one that holds a place where the daemon looks for its programs", async () => {
  const bin = await programs();
  const house = await open({ programDirs: ["/usr/bin", bin] });
  const started = await house.start({ sandbox: "no_network" }, join(bin, ".."));
  expect(await ran(house, started, `run cp /bin/true ${bin}/setpriv`)).toMatch(/was not run: .*\/bin lies in the working directory/);
  expect(readdirSync(bin)).toEqual([]);
});

test("B46 what is called bwrap or setpriv on the daemon's or the session's PATH is never run, also where it belongs to root", async () => {
  const house = await open();
  const workdir = house.workdir();
  const bin = join(workdir, ".venv/bin");
  const outside = join(house.daemon.root, "outside");
  mkdirSync(bin, { recursive: true });
  for (const name of ["bwrap", "setpriv"]) program(join(bin, name), `touch ${outside}; exit 0`);
  const PATH = `${bin}:${process.env["PATH"]}`;
  await house.daemon.stop(0);
  vi.stubEnv("PATH", PATH);
  await house.restart();
  const started = await house.start({ sandbox: "no_network", env: { PATH } });
  expect(await ran(house, started, "run command -v bwrap; command -v setpriv; tr '\\0' ' ' < /proc/1/cmdline | cut -d ' ' -f 1")).toBe(
    `${bin}/bwrap\n${bin}/setpriv\n${real}\n[exit code 0]`,
  );
  expect(existsSync(outside)).toBe(false);
});

for (const program of ["/usr/bin/true", "/bin/echo", "/usr/bin/env"])
  withPrograms(`B46 a bubblewrap that is ${program} makes no sandbox: what ends well without running anything is refused`, async () => {
    const bin = await programs();
    symlinkSync(program, join(bin, "bwrap"));
    expect(await refused(await open({ programDirs: [bin] }))).toMatch(/^unsupported: .*bubblewrap does not work here/);
  });

withPrograms("B46 when it is gone later, or no longer works, the call fails with words and the command is not run", async () => {
  const bin = await programs();
  symlinkSync(real, join(bin, "bwrap"));
  const house = await open({ programDirs: [bin] });
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
