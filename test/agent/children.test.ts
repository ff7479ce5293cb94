import childProcess, { spawn, type ChildProcess } from "node:child_process";
import fs, { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { nanoid } from "nanoid";
import { afterAll, afterEach, expect, test } from "vitest";
import {
  deathSignalPrefix,
  findOrphans,
  killFound,
  killMarked,
  reapOrphans,
  spawnMarked,
  type MarkedChild,
} from "../../packages/daemon/src/agents/children.ts";
import { forksSoFar, sweep, type First } from "../../packages/daemon/src/agents/process-table.ts";
import { AgentDriver, tempDir, type DriverOptions } from "../support/agent-driver.ts";
import { whole } from "../support/amount.ts";
import { leftWhenEnded, ways } from "../support/call-ends.ts";
import { eventually } from "../support/eventually.ts";
import { endWorkers, hard, hardNames, isUp, nobodyWorksIn, prepare, workersIn, type HardName } from "../support/hard-children.ts";
import { isAlive } from "../support/processes.ts";

/** The owner of a tool's processes against processes that do not want to be owned. */
const env = { PATH: process.env["PATH"] ?? "" };
const ins = `ins${nanoid().replace(/[._-]/g, "x")}`;
const mark = (callId: string, boot = "boot"): string => `${ins}.${boot}.${callId}`;

const directories: string[] = [];
const strangers: ChildProcess[] = [];
afterEach(async () => {
  for (const stranger of strangers.splice(0)) endGroup(stranger);
  await endWorkers(...directories);
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function workdir(): string {
  const directory = tempDir();
  directories.push(directory);
  prepare(directory);
  return directory;
}

let calls = 0;
function started(command: string, options: { mark?: string; prefix?: readonly string[] } = {}): MarkedChild & { readonly workdir: string } {
  const directory = workdir();
  const child = spawnMarked({ command, cwd: directory, env, mark: options.mark ?? mark(`c${++calls}`), prefix: options.prefix ?? [] });
  child.stdout.resume();
  child.stderr.resume();
  return Object.assign(child, { workdir: directory });
}

const driverOf = (options: DriverOptions = {}): AgentDriver => new AgentDriver({ workdir: workdir(), ...options, mark });
const runs = (seen: string, what = "the command"): Promise<unknown> => eventually(`${what} is up`, () => isUp(seen));

/** A process of somebody else. */
function stranger(command: string, options: { env?: Record<string, string> } = {}): ChildProcess {
  const child = spawn("/bin/sh", ["-c", command], { stdio: "ignore", env: { ...env, ...options.env }, detached: true });
  strangers.push(child);
  return child;
}

function endGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // Ended already.
  }
}

// --- The table: what it is × how it is ended --------------------------------------------------------------

const hangGuardMs = 120_000;
const some: readonly HardName[] = ["ignores TERM", "forks for ever in groups of their own", "execs for ever", "clears its environment", "is stopped"];
const names = whole ? hardNames : some;
const commands = Object.fromEntries(names.map((name) => [name, hard(name).command]));
let ended = 0;

for (const way of Object.keys(ways))
  test(
    `B39 ${way} ends every tool and all that it started, in ${names.length} kinds of unwillingness`,
    async () => {
      expect(await leftWhenEnded(way, commands, driverOf)).toEqual([]);
      ended += names.length;
    },
    hangGuardMs,
  );

afterAll(() =>
  console.log(`B39: in process, ${ended} of ${names.length * Object.keys(ways).length} tools ended (${names.length} kinds by ${Object.keys(ways).join(", ")})`),
);

test(
  "B39 a tool's own end ends what it left behind, whatever that is, and the call does not wait for it",
  async () => {
    const left: HardName[] = [];
    await Promise.all(
      names.map(async (name) => {
        const driver = driverOf({ limits: { kill_wait_ms: 300 } });
        // In the background, and the first process ends when it is up.
        const turn = driver.prompt(`run sh -c '${hard(name).command.replaceAll("'", `'\\''`)}' & while [ ! -e up ]; do sleep 0.02; done`);
        await turn.ended;
        expect(turn.results).toMatchObject([
          { status: "completed", result: expect.stringMatching(/\[exit code 0\]\n\[\d+ process(es)? left in the background/) },
        ]);
        if (!(await nobodyWorksIn(driver.workdir))) left.push(name);
      }),
    );
    expect(left).toEqual([]);
  },
  hangGuardMs,
);

test("B39 what leaves its group and clears its environment escapes, as docs/trust.md says, and holds up nobody", async () => {
  const driver = driverOf({ limits: { kill_wait_ms: 100 } });
  const turn = driver.prompt("run setsid env -i sh -c 'touch up; sleep 300' & sleep 300");
  await runs(driver.workdir);
  turn.interrupt();
  await turn.ended;
  const escaped = workersIn(driver.workdir).map((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, 2).join(" "));
  expect(escaped.toSorted()).toEqual(["sh -c", "sleep 300"]);
  const trust = readFileSync(join(import.meta.dirname, "../../docs/trust.md"), "utf8");
  expect(trust).toContain("leaves its process group *and* clears or hides its environment");
});

// --- Races -------------------------------------------------------------------------------------------------

test("B39 a first process that ends before anyone has looked at it leaves nobody in its group behind", async () => {
  const original = childProcess.spawn;
  const block = new Int32Array(new SharedArrayBuffer(4));
  // A machine under load: the parent goes on only when its child has ended.
  const late = ((...args: Parameters<typeof original>) => {
    const child = original(...args);
    const hasEnded = (): boolean => /\) [ZX]/.test(readFileSync(`/proc/${child.pid}/stat`, "latin1"));
    for (const until = Date.now() + 20_000; !hasEnded() && Date.now() < until;) Atomics.wait(block, 0, 0, 5);
    return child;
  }) as typeof original;
  childProcess.spawn = late;
  syncBuiltinESMExports();
  try {
    const child = started("env -i sh -c 'touch up; sleep 300' & while [ ! -e up ]; do sleep 0.02; done");
    expect(existsSync(join(child.workdir, "up"))).toBe(true);
    await child.exited;
    expect(await child.end(50)).toBeGreaterThan(0);
    expect(await nobodyWorksIn(child.workdir)).toBe(true);
  } finally {
    childProcess.spawn = original;
    syncBuiltinESMExports();
  }
});

test("B39 something that is gone when it is read may have left another, which the next listing shows", async () => {
  const left = stranger("exec sleep 300");
  const original = fs.readdirSync;
  // No process has that number.
  const listings = [[String(2 ** 30)]];
  fs.readdirSync = ((...args: Parameters<typeof original>) => (args[0] === "/proc" && listings.shift()) || original(...args)) as typeof original;
  syncBuiltinESMExports();
  try {
    const seen: number[] = [];
    await sweep({ isOurs: ({ pid }) => pid === left.pid, visit: ({ pid }) => void seen.push(pid), until: performance.now() + 10_000 });
    expect(seen).toEqual([left.pid]);
    expect(listings).toEqual([]);
  } finally {
    fs.readdirSync = original;
    syncBuiltinESMExports();
  }
});

/** A directory whose setpriv waits until a file is there: the system is slow to answer. */
function slowSetpriv(): { dirs: readonly string[]; answer: () => void; asked: () => boolean } {
  const bin = join(workdir(), "bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "setpriv"), `#!/bin/sh\ntouch ${bin}/asked\nwhile [ ! -e ${bin}/go ]; do sleep 0.02; done\nexit 1\n`);
  chmodSync(join(bin, "setpriv"), 0o755);
  return { dirs: [bin], answer: () => writeFileSync(join(bin, "go"), ""), asked: () => existsSync(join(bin, "asked")) };
}

test("B22 B39 a command whose start is under way when the interrupt comes is not run", async () => {
  const setpriv = slowSetpriv();
  const driver = driverOf({ programDirs: setpriv.dirs });
  const turn = driver.prompt("run touch up");
  await eventually("the system is asked", setpriv.asked);
  turn.interrupt();
  setpriv.answer();
  expect((await turn.ended).stop_reason).toBe("cancelled");
  expect(turn.results).toMatchObject([{ status: "failed", result: "Interrupted before it was run." }]);
  expect(isUp(driver.workdir)).toBe(false);
});

test("B39 nor is one whose start is under way when its agent is closed, and a closed agent starts none", async () => {
  const setpriv = slowSetpriv();
  const driver = driverOf({ programDirs: setpriv.dirs });
  const turn = driver.prompt("run touch up");
  await eventually("the system is asked", setpriv.asked);
  await driver.agent.close();
  setpriv.answer();
  expect((await turn.ended).stop_reason).toBe("cancelled");
  expect((await driver.prompt("run touch up").ended).stop_reason).toBe("cancelled");
  expect(isUp(driver.workdir)).toBe(false);
});

test("B39 to end twice, at once and later, is to end once", async () => {
  const child = started(hard("ignores TERM").command);
  await runs(child.workdir);
  const [first, second] = await Promise.all([child.end(50), child.end(60_000)]);
  expect([first, second, await child.end(0)]).toEqual([first, first, first]);
  expect(first).toBeGreaterThan(1);
  expect(await child.exited).toMatchObject({ signal: "SIGKILL" });
});

// --- Whose it is ---------------------------------------------------------------------------------------------

/** Makes the next process to be forked be this one, as far as nobody else forks in between. @returns null where that cannot be done */
async function recycle(pid: number, start: () => ChildProcess): Promise<ChildProcess | null> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    try {
      writeFileSync("/proc/sys/kernel/ns_last_pid", String(pid - 1));
    } catch {
      return null;
    }
    const child = start();
    if (child.pid === pid) return child;
    endGroup(child);
    await new Promise((resolve) => child.once("exit", resolve));
  }
  return null;
}

/** Another tick of the machine's clock, as always when the numbers have gone round. */
const aTick = () => new Promise((resolve) => setTimeout(resolve, 50));
/** Who else starts processes here may take the number first: then it is tried with another. */
const rounds = 10;

test("B39 a pid that was given anew is never hit as the number of the group", async ({ skip }) => {
  for (let round = 0; round < rounds; round += 1) {
    const child = started("echo $$ > pid; exit 0");
    await child.exited;
    await aTick();
    const other = await recycle(Number(readFileSync(join(child.workdir, "pid"), "utf8")), () => stranger("exec sleep 300"));
    if (other === null) continue;
    expect(await child.end(50)).toBe(0);
    return expect(isAlive(other.pid ?? 0)).toBe(true);
  }
  skip("pids cannot be chosen here");
});

test("B39 a pid that was given anew is never hit as one that was found", async ({ skip }) => {
  for (let round = 0; round < rounds; round += 1) {
    const old = mark(`found${round}`, "old");
    const orphan = started("echo $$ > pid; exec sleep 300", { mark: old });
    await eventually("it runs", () => existsSync(join(orphan.workdir, "pid")) && readFileSync(join(orphan.workdir, "pid"), "utf8") !== "");
    const found = await findOrphans(ins, "boot");
    expect(found).toHaveLength(1);
    await orphan.end(50);
    await aTick();
    const again = await recycle(found[0]?.pid ?? 0, () => stranger("exec sleep 300", { env: { SESSIOND_MARK: old } }));
    if (again === null) continue;
    expect(killFound(found)).toEqual([]);
    return expect(isAlive(again.pid ?? 0)).toBe(true);
  }
  skip("pids cannot be chosen here");
});

test("B39 a start ends what earlier boots left, and no process of another installation, of this boot, or that only speaks of a mark", async () => {
  const left = started("setsid sh -c 'touch up; exec sleep 300' & exec sleep 300", { mark: mark("a", "old") });
  await runs(left.workdir);
  const others = [
    stranger(`exec sleep 300`, { env: { SESSIOND_MARK: mark("a") } }),
    stranger(`exec sleep 300`, { env: { SESSIOND_MARK: `x${mark("a", "old")}` } }),
    stranger(`exec sleep 300`, { env: { SESSIOND_MARK: `${ins}x.old.a` } }),
    stranger(`exec sleep 300`, { env: { MY_SESSIOND_MARK: mark("a", "old"), NOTE: `SESSIOND_MARK=${mark("a", "old")}` } }),
    stranger(`: SESSIOND_MARK=${mark("a", "old")}; sleep 300 & wait`),
  ];
  const pids = others.map(({ pid }) => pid ?? 0);
  await eventually("they run", () => pids.every((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("sleep")));
  expect((await reapOrphans(ins, "boot")).length).toBeGreaterThanOrEqual(2);
  expect(await nobodyWorksIn(left.workdir)).toBe(true);
  expect(pids.map(isAlive)).toEqual(pids.map(() => true));
});

test("B39 a mark behind more environment than a page is read", async () => {
  const child = spawn("sleep", ["300"], { env: { ...env, LONG: "x".repeat(100_000), SESSIOND_MARK: mark("long") }, stdio: "ignore", detached: true });
  strangers.push(child);
  expect(await killMarked(mark("long"))).toBe(1);
});

test("B39 to end a call asks no process for its environment that is older than the call, so a machine with many costs little", async () => {
  const child = started(hard("calls setsid").command);
  await runs(child.workdir);
  const asked: string[] = [];
  // As where numbers may have come round since.
  await readingOf(asked, { [pidMax]: "300" }, () => child.end(2_000));
  const older = asked.filter((path) => path.endsWith("/environ"));
  // Those of other tests come and go; the oldest, this one's parent among them, are never asked.
  expect(older).not.toContain(`/proc/${process.ppid}/environ`);
  expect(asked).toContain(`/proc/${process.ppid}/stat`);
  expect(await nobodyWorksIn(child.workdir)).toBe(true);
});

test("B39 nor does it read those at all whose numbers say that they are older", async () => {
  // Started just before: numbers come round now and then, and one from long ago may be the higher one.
  const older = stranger("exec sleep 300");
  const child = started(hard("calls setsid").command);
  await runs(child.workdir);
  const asked: string[] = [];
  await readingOf(asked, { [pidMax]: "1000000000" }, () => child.end(2_000));
  const read = asked.flatMap((path) => /^\/proc\/(\d+)\/stat$/.exec(path)?.[1] ?? []);
  expect(read).not.toContain(String(older.pid));
  expect(read.length).toBeGreaterThan(0);
  expect(await nobodyWorksIn(child.workdir)).toBe(true);
});

test("B39 numbers that may have come round, or cannot be judged, say nothing: everything is read", async () => {
  const left = stranger("exec sleep 300");
  const forks = forksSoFar() ?? 0;
  const pid = (left.pid ?? 0) + 1_000_000;
  const found = async (first: First, told: Record<string, string>): Promise<boolean> => {
    let seen = false;
    const isLeft = ({ pid }: { pid: number }): boolean => pid === left.pid;
    await readingOf([], told, () => sweep({ isOurs: isLeft, visit: () => void (seen = true), until: performance.now() + 10_000, first }));
    return seen;
  };
  const beyond = { pid, startTime: 0, forks: forks - 1 };
  const certain = { [pidMax]: "1000000000", "/proc/loadavg": `0 0 0 1/80 ${pid + 1}\n` };
  expect(await found(beyond, certain)).toBe(false);
  expect(await found(beyond, { ...certain, [pidMax]: String(pid + 1) })).toBe(true);
  // Numbers in use are passed over; a fork that fails takes one and is not counted.
  expect(await found(beyond, { ...certain, "/proc/loadavg": `0 0 0 1/999999999 ${pid + 1}\n` })).toBe(true);
  expect(await found(beyond, { ...certain, "/proc/loadavg": `0 0 0 1/80 ${pid - 1}\n` })).toBe(true);
  // A /proc that counts no forks, or does not say.
  expect(await found({ ...beyond, forks }, { ...certain, "/proc/stat": `processes ${forks}\n` })).toBe(true);
  expect(await found({ ...beyond, forks: null }, certain)).toBe(true);
  for (const path of [pidMax, "/proc/stat", "/proc/loadavg"]) expect(await found(beyond, { ...certain, [path]: "" })).toBe(true);
});

const pidMax = "/proc/sys/kernel/pid_max";

/** @param asked  what is read. @param told  what files hold instead of what they hold */
async function readingOf<T>(asked: string[], told: Readonly<Record<string, string>>, work: () => Promise<T>): Promise<T> {
  const fs = (await import("node:fs")).default;
  const original = fs.readFileSync;
  fs.readFileSync = ((path: string, ...rest: never[]) => (asked.push(String(path)), told[path] ?? original(path, ...rest))) as typeof original;
  syncBuiltinESMExports();
  try {
    return await work();
  } finally {
    fs.readFileSync = original;
    syncBuiltinESMExports();
  }
}

test("B39 without a free descriptor nothing is taken for gone: it is looked for again", async () => {
  const child = started("setsid sh -c 'touch up; exec sleep 300' & wait");
  await runs(child.workdir);
  const fs = (await import("node:fs")).default;
  const original = fs.readdirSync;
  let refused = 0;
  fs.readdirSync = ((path: string, ...rest: never[]) => {
    if (path === "/proc" && ++refused <= 5) throw Object.assign(new Error("EMFILE"), { code: "EMFILE" });
    return original(path, ...rest);
  }) as typeof original;
  syncBuiltinESMExports();
  try {
    await child.end(2_000);
  } finally {
    fs.readdirSync = original;
    syncBuiltinESMExports();
  }
  expect(refused).toBeGreaterThan(5);
  expect(await nobodyWorksIn(child.workdir)).toBe(true);
});

test("B46 a session that was given a PATH without setpriv runs its commands all the same, and so does a system without it", async () => {
  for (const options of [{ given: { PATH: "/nowhere" } }, { programDirs: ["/nowhere"] }]) {
    const driver = driverOf(options);
    const turn = driver.prompt("run echo fine");
    await turn.ended;
    expect(turn.results).toMatchObject([{ status: "completed", result: "fine\n[exit code 0]" }]);
  }
  expect(await deathSignalPrefix(["/nowhere"])).toEqual([]);
});

test("B46 what is called setpriv on a PATH, the daemon's or the session's, is never run by the daemon", async () => {
  const directory = workdir();
  const bin = join(directory, ".venv/bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, "setpriv"), `#!/bin/sh\ntouch ${directory}/taken\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n`);
  chmodSync(join(bin, "setpriv"), 0o755);
  const PATH = `${bin}:${env.PATH}`;
  const driver = driverOf({ workdir: directory, childEnv: { PATH }, given: { PATH } });
  const turn = driver.prompt("run command -v setpriv");
  await turn.ended;
  // There it is for the command, and nobody else has run it.
  expect(turn.results).toMatchObject([{ status: "completed", result: `${bin}/setpriv\n[exit code 0]` }]);
  expect(existsSync(join(directory, "taken"))).toBe(false);
});
