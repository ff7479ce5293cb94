import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { nanoid } from "nanoid";
import { afterEach, expect, test } from "vitest";
import type { MarkedChild } from "../../packages/daemon/src/agents/children.ts";
import { deathSignalPrefix, killMarked, reapOrphans, spawnMarked } from "../../packages/daemon/src/agents/children.ts";
import { systemProgramDirs } from "../../packages/daemon/src/system-program.ts";
import { AgentDriver, tempDir } from "../support/agent-driver.ts";
import type { DrivenTurn, DriverOptions } from "../support/agent-driver.ts";

const env = { PATH: process.env["PATH"] ?? "" };

// Of this run only: another run beside it, or what a broken one left, must not be counted or hit.
const ins = `ins${nanoid().replace(/[._-]/g, "x")}`;
const mark = (callId: string): string => `${ins}.boot.${callId}`;
const marksUsed = new Set<string>();
afterEach(async () => {
  // A test that fails must leave nothing either.
  for (const used of marksUsed) await killMarked(used);
  marksUsed.clear();
  // Nor may a broken killer, as in a mutant: by group, without the code under test.
  for (const pid of printed) if (isAlive(pid)) process.kill(-groupOf(pid), "SIGKILL");
  printed.clear();
});
const printed = new Set<number>();
const started = (command: string, used: string): MarkedChild => (marksUsed.add(used), spawnMarked({ command, cwd: tempDir(), env, mark: used, prefix: [] }));
const driverOf = (options: DriverOptions = {}): AgentDriver => new AgentDriver({ ...options, mark: (callId) => (marksUsed.add(mark(callId)), mark(callId)) });

/** Neither gone nor only waiting to be collected. */
function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return !["Z", "X"].includes(stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3));
  } catch {
    return false;
  }
}

function groupOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2]);
}

async function gone(pid: number): Promise<void> {
  while (isAlive(pid)) await pause(5);
}

async function run(command: string, options: DriverOptions = {}): Promise<{ turn: DrivenTurn; result: string; status: string | undefined }> {
  const turn = driverOf(options).prompt(`run ${command}`);
  await turn.ended;
  return { turn, result: turn.results[0]?.result ?? "", status: turn.results[0]?.status };
}

/** Numbers that the command printed as `name=pid`, once they are all there. */
async function pidsOf(turn: DrivenTurn, ...names: string[]): Promise<number[]> {
  const pid = (name: string): number => Number(new RegExp(`${name}=(\\d+)\n`).exec(turn.text("tool_call_chunk"))?.[1] ?? 0);
  await turn.until(() => names.every((name) => pid(name) > 0));
  const pids = names.map(pid);
  for (const one of pids) printed.add(one);
  return pids;
}

const stubborn = `trap "" TERM; while :; do sleep 1000; done`;
/** A first process, one in its group, and one that left the group; none listens to TERM. */
const family = `echo first=$$; sh -c 'echo group=$$; ${stubborn}' & setsid sh -c 'echo away=$$; ${stubborn}' & ${stubborn}`;

test("a command's output streams, and its result has the exit code", async () => {
  const { turn, result, status } = await run("echo out; echo err >&2; exit 3");
  expect(turn.text("tool_call_chunk").split("\n").sort()).toEqual(["", "err", "out"]);
  expect(result).toMatch(/\n\[exit code 3\]$/);
  expect(status).toBe("failed");
  expect(await run("true")).toMatchObject({ status: "completed", result: "(no output)\n[exit code 0]" });
});

test("stdin is closed, and the directory is the workdir", async () => {
  const { turn, result } = await run("cat; pwd");
  expect(turn.text("tool_call_chunk").trim()).toBe(result.split("\n")[0]);
  expect(result).toMatch(/sessiond-agent-.*\n\[exit code 0\]/);
});

test("a character that comes in two pieces stays one", async () => {
  const { turn } = await run(String.raw`printf 'a\303'; sleep 0.1; printf '\244z'`);
  expect(turn.text("tool_call_chunk")).toBe("aäz");
});

test("a flood is drained, and only its head and tail are kept and shown", async () => {
  const { turn, result, status } = await run("echo head; head -c 200000000 /dev/zero | tr '\\0' x; echo; echo tail", {
    limits: { tool_output_bytes_max: 4_096 },
  });
  expect(status).toBe("completed");
  expect(result).toMatch(/^head\nx+\n… 1999\d+ bytes left out …\nx+\ntail\n\[exit code 0\]$/);
  expect(result.length).toBeLessThan(4_300);
  expect(turn.text("tool_call_chunk").length).toBeLessThanOrEqual(4_096);
}, 60_000);

test("B39 an interrupt ends the group and what left it with the mark, also when it ignores TERM", async () => {
  const turn = driverOf({ limits: { kill_wait_ms: 100 } }).prompt(`run ${family}`);
  const pids = await pidsOf(turn, "first", "group", "away");
  turn.interrupt();
  expect((await turn.ended).stop_reason).toBe("cancelled");
  expect(turn.results[0]).toMatchObject({ status: "failed", result: expect.stringContaining("[ended: interrupted]") });
  expect(pids.map(isAlive)).toEqual([false, false, false]);
});

test("B39 the time limit ends the same", async () => {
  const turn = driverOf({ limits: { kill_wait_ms: 50, shell_ms_max: 2_000 } }).prompt(`run ${family}`);
  const pids = await pidsOf(turn, "first", "group", "away");
  await turn.ended;
  expect(turn.results[0]?.result).toMatch(/\[ended: it ran longer than 2000 ms\]$/);
  expect(pids.map(isAlive)).toEqual([false, false, false]);
});

test("B39 what a command leaves in the background ends with it, and the result says so", async () => {
  const { turn, result } = await run("setsid sleep 1000 & echo away=$!; sleep 1000 >/dev/null 2>&1 & echo group=$!");
  expect(result).toMatch(/\[exit code 0\]\n\[2 processes left in the background ended with the command\]$/);
  for (const pid of await pidsOf(turn, "away", "group")) expect(isAlive(pid)).toBe(false);
});

test("B39 closing the agent ends its commands", async () => {
  const driver = driverOf({ limits: { kill_wait_ms: 50 } });
  const turn = driver.prompt(`run ${family}`);
  const pids = await pidsOf(turn, "first", "group", "away");
  await driver.agent.close();
  expect(pids.map(isAlive)).toEqual([false, false, false]);
  expect((await turn.ended).stop_reason).toBe("cancelled");
});

test("B39 a mark's processes are killed, and those of another mark are not", async () => {
  const [mine, other] = [started("echo up; exec sleep 1000", mark("a")), started("echo up; exec sleep 1000", mark("ab"))];
  await Promise.all([mine, other].map((child) => new Promise((resolve) => child.stdout.once("data", resolve))));
  expect(await killMarked(mark("a"))).toBe(1);
  expect(await mine.exited).toMatchObject({ signal: "SIGKILL" });
  expect(await killMarked(mark("ab"))).toBe(1);
  expect(await killMarked(mark("ab"))).toBe(0);
});

test("B39 a start reaps what earlier boots of this installation left, and nothing else", async () => {
  const marks = [`${ins}.old.a`, `${ins}.now.a`, `${ins}Y.old.a`, `other${ins}.old.a`];
  const children = marks.map((used) => started("echo $$; setsid sleep 1000 & exec sleep 1000", used));
  const pids = await Promise.all(children.map((child) => new Promise<number>((resolve) => child.stdout.once("data", (data) => resolve(Number(data))))));
  const killed = await reapOrphans(ins, "now");
  expect(killed).toContain(pids[0]);
  await children[0]?.exited;
  expect(pids.map(isAlive)).toEqual([false, true, true, true]);
  await Promise.all(children.map((child) => child.end(50)));
  expect(pids.map(isAlive)).toEqual([false, false, false, false]);
});

test("B39 when its parent is killed the first process dies with it, where the system can do that", async ({ skip }) => {
  const prefix = await deathSignalPrefix(systemProgramDirs);
  if (prefix.length === 0) skip("no setpriv here");
  const script = `const { spawn } = require("node:child_process"); spawn(process.argv[1], process.argv.slice(2), { detached: true, stdio: ["ignore", "inherit", "ignore"] });`;
  const parent = spawn(process.execPath, ["-e", script, ...prefix, "/bin/sh", "-c", "echo $$; exec sleep 1000"], { stdio: ["ignore", "pipe", "ignore"] });
  const pid = await new Promise<number>((resolve) => parent.stdout?.once("data", (data) => resolve(Number(data))));
  expect(isAlive(pid)).toBe(true);
  parent.kill("SIGKILL");
  await gone(pid);
});

test("B25 B46 no line of a command's, nor of a directory's name, can be taken in a question for where and in which sandbox it runs", async () => {
  const claim = "in a sandbox without network, in which only this directory can be written";
  const parent = tempDir();
  const shown = async (command: string, workdir: string, sandbox: "off" | "no_network"): Promise<string | undefined> => {
    const turn = driverOf({ workdir, sandbox, judge: () => ({ allowed: false, reason: "" }) }).prompt(`run ${command}`);
    await turn.ended;
    return turn.questions[0]?.preview.replace(parent, "P");
  };
  for (const name of ["work", `a\n${claim}`, "\ttab\n"]) mkdirSync(join(parent, name), { recursive: true });
  expect([
    await shown(`true\n\nin P/work\n${claim}`, join(parent, "work"), "off"),
    await shown("true", join(parent, `a\n${claim}`), "off"),
    await shown("true", join(parent, "\ttab\n"), "no_network"),
  ]).toEqual([`$ true\n  \n  in P/work\n  ${claim}\n\nin P/work`, `$ true\n\nin P/a\\u{a}${claim}`, `$ true\n\nin P/\\u{9}tab\\u{a}\n${claim}`]);
});

test.skipIf(process.getuid?.() !== 0)("a command that cannot be started is a failed call with the reason", async () => {
  const bin = tempDir();
  const setpriv = join(bin, "setpriv");
  writeFileSync(setpriv, '#!/bin/sh\nshift 3\nexec "$@"\n');
  chmodSync(setpriv, 0o755);
  const driver = driverOf({ programDirs: [bin] });
  await driver.prompt("run true").ended;
  rmSync(setpriv);
  const turn = driver.prompt("run true");
  expect((await turn.ended).stop_reason).toBe("end_turn");
  expect(turn.results[0]).toMatchObject({ status: "failed", result: expect.stringContaining("could not be started") });
});
