import { spawn } from "node:child_process";
import { nanoid } from "nanoid";
import { afterAll, afterEach, expect, test as anywhere, vi } from "vitest";
import { reapOrphans, spawnMarked, type MarkedChild } from "../../packages/daemon/src/agents/children.ts";
import { HeldDirectory } from "../../packages/daemon/src/agents/openai/held-directory.ts";
import { SandboxMaker } from "../../packages/daemon/src/agents/openai/sandbox.ts";
import { systemProgramDirs } from "../../packages/daemon/src/system-program.ts";
import { AgentDriver, type DriverOptions } from "../support/agent-driver.ts";
import { whole } from "../support/amount.ts";
import { leftWhenEnded, ways } from "../support/call-ends.ts";
import { eventually } from "../support/eventually.ts";
import { isAlive } from "../support/processes.ts";
import { endWorkers, hard, hardNames, isUp, nobodyWorksIn, prepare, type HardName } from "../support/hard-children.ts";
import { bubblewrapWorks, freshDir } from "../support/sandboxed.ts";

/** How what is in a sandbox ends: all of it, also what hides its mark outside its group, which without one escapes. */
// Where much else runs, a process takes its time.
vi.setConfig({ testTimeout: 240_000 });
const test = anywhere.skipIf(!bubblewrapWorks);
const ins = `ins${nanoid().replace(/[._-]/g, "x")}`;
const directories: string[] = [];
afterEach(() => endWorkers(...directories.splice(0)));

function workdir(): string {
  const directory = freshDir();
  directories.push(directory);
  prepare(directory);
  return directory;
}

const some: readonly HardName[] = ["calls setsid", "ignores TERM", "forks for ever in groups of their own", "clears its environment"];
/** In a sandbox nobody can be another user. */
const kinds: Readonly<Record<string, string>> = {
  ...Object.fromEntries((whole ? hardNames.filter((name) => name !== "is another user") : some).map((name) => [name, hard(name).command])),
  "leaves its group and clears its environment": "setsid env -i sh -c 'touch up; sleep 300' & sleep 300",
  "is no child of anything and clears its environment": "(setsid env -i setsid env -i sh -c 'trap \"\" TERM; touch up; sleep 300; sleep 300' &) & sleep 300",
};

const driverOf = (options: DriverOptions = {}): AgentDriver =>
  new AgentDriver({ workdir: workdir(), sandbox: "no_network", ...options, mark: (call) => `${ins}.boot.${call}` });

let ended = 0;

for (const way of Object.keys(ways))
  anywhere.skipIf(!bubblewrapWorks || (!whole && way !== "an interrupt"))(
    `B39 ${way} ends all that is in a sandbox, in ${Object.keys(kinds).length} kinds of unwillingness`,
    async () => {
      expect(await leftWhenEnded(way, kinds, driverOf)).toEqual([]);
      ended += Object.keys(kinds).length;
    },
  );

test("B39 when its command ends by itself nothing of a sandbox is left, and the call does not wait for it", async () => {
  const left = await Promise.all(
    Object.entries(kinds).map(async ([name, command]) => {
      const driver = driverOf({ limits: { kill_wait_ms: 300 } });
      const turn = driver.prompt(`run sh -c '${command.replaceAll("'", `'\\''`)}' >&- 2>&- & while [ ! -e up ]; do sleep 0.02; done; echo over; exit 5`);
      await turn.ended;
      expect(turn.results).toMatchObject([{ status: "failed", result: "over\n[exit code 5]" }]);
      return (await nobodyWorksIn(driver.workdir)) ? [] : [name];
    }),
  );
  expect(left.flat()).toEqual([]);
});

test("B39 a command in a sandbox is told to end, and has time for it, before it is killed", async () => {
  const driver = driverOf({ limits: { kill_wait_ms: 20_000 } });
  const slow = `$| = 1; $SIG{TERM} = sub { select(undef, undef, undef, 0.5); print "bye\\n"; exit }; open F, ">up"; sleep 1 while 1`;
  const turn = driver.prompt(`run exec perl -e '${slow}'`);
  await eventually("it is up", () => isUp(driver.workdir));
  turn.interrupt();
  await turn.ended;
  expect(turn.results[0]?.result).toBe("bye\n[ended: interrupted]");
  expect(await nobodyWorksIn(driver.workdir)).toBe(true);
});

test("B39 a sandbox dies with whoever started it, and all that is in it", async () => {
  const directory = workdir();
  const env = { PATH: process.env["PATH"] ?? "" };
  const maker = new SandboxMaker({ childEnv: env, home: "/root", forbiddenDirs: [], programDirs: systemProgramDirs });
  const held = await HeldDirectory.open(directory);
  const { words, descriptors, release } = await maker.enclosure({ workdir: held, sandbox: "no_network", env, mark: `${ins}.boot.call` });
  const starts = `require("node:child_process").spawn(process.argv[1], process.argv.slice(2), { detached: true, stdio: [...Array(6).fill("ignore"), ...${JSON.stringify(descriptors.map((_, index) => 6 + index))}] })`;
  // As it stands in the daemon, but for what is read from descriptors.
  const reads = ["--args", "--info-fd", "--seccomp"];
  const fixed = words.filter((word, index) => !reads.includes(word) && !reads.includes(words[index - 1] ?? ""));
  const parent = spawn(process.execPath, ["-e", starts, ...fixed, "/bin/sh", "-c", "setsid env -i sh -c 'touch up; exec sleep 300' & sleep 300"], {
    stdio: [...Array.from({ length: 6 }, () => "ignore" as const), ...descriptors],
  });
  await Promise.all([held.close(), release()]);
  await eventually("it is up", () => isUp(directory));
  parent.kill("SIGKILL");
  await eventually("nobody is left in it", () => nobodyWorksIn(directory), 8_000);
});

// --- What a daemon that is gone left --------------------------------------------------------------------------

/** A sandbox of that boot of a daemon, of which the given words are missing. */
async function left(command: string, boot: string, without: readonly string[] = []): Promise<MarkedChild & { readonly workdir: string }> {
  const env = { PATH: process.env["PATH"] ?? "" };
  const directory = workdir();
  const mark = `${ins}.${boot}.call`;
  const maker = new SandboxMaker({ childEnv: env, home: "/root", forbiddenDirs: [], programDirs: systemProgramDirs });
  const held = await HeldDirectory.open(directory);
  const { words, release, ...given } = await maker.enclosure({ workdir: held, sandbox: "no_network", env, mark });
  const enclosure = { ...given, words: words.filter((word) => !without.includes(word)) };
  const child = spawnMarked({ command, cwd: "/", env, mark, prefix: [], enclosure });
  await Promise.all([held.close(), release()]);
  child.stdout.resume();
  child.stderr.resume();
  await eventually("it is up", () => isUp(directory));
  return Object.assign(child, { workdir: directory });
}

test("B39 a start ends the sandboxes that earlier boots left, also where nothing in them has a mark, and no other", async () => {
  const unmarked = `exec env -i sh -c 'touch up; exec sleep 300'`;
  const [old, now] = await Promise.all([left(unmarked, "old"), left(unmarked, "now")]);
  expect((await reapOrphans(ins, "now")).length).toBeGreaterThan(0);
  await old.exited;
  await eventually("nobody is left in it", () => nobodyWorksIn(old.workdir));
  expect(await nobodyWorksIn(now.workdir)).toBe(false);
  await now.end(0);
  expect(await nobodyWorksIn(now.workdir)).toBe(true);
});

test("B39 a sandbox that does not die with its holder, and shows no mark, is ended all the same", async () => {
  const child = await left("exec env -i setsid sh -c 'touch up; exec sleep 300'", "boot", [
    "--die-with-parent",
    "--setenv",
    "SESSIOND_MARK",
    `${ins}.boot.call`,
  ]);
  await child.end(50);
  expect(await nobodyWorksIn(child.workdir)).toBe(true);
});

test("B39 a number that is another's by the time it is heard of is not taken for the sandbox's first process, and lives", async () => {
  const stranger = spawn("sleep", ["300"], { stdio: "ignore" });
  const directory = workdir();
  const tells = `echo '{ "child-pid": ${stranger.pid} }' >&4; exec "$@"`;
  const enclosure = { words: ["/bin/sh", "-c", tells, "sh"], fed: "", filter: new Uint8Array(), descriptors: [] };
  const child = spawnMarked({ command: "touch up; echo up; exec sleep 300", cwd: directory, env: {}, mark: `${ins}.boot.call`, prefix: [], enclosure });
  child.stderr.resume();
  await new Promise((resolve) => child.stdout.once("data", resolve));
  await eventually("it is up", () => isUp(directory));
  await child.end(50);
  expect(await nobodyWorksIn(directory)).toBe(true);
  expect([stranger.exitCode, stranger.signalCode]).toEqual([null, null]);
  expect(isAlive(stranger.pid ?? 0)).toBe(true);
  stranger.kill("SIGKILL");
});

afterAll(() =>
  console.log(`B39: in sandboxes, ${ended} tools ended (${Object.keys(kinds).length} kinds by ${whole ? Object.keys(ways).join(", ") : "an interrupt"})`),
);
