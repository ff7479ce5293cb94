import { execFile, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { readFile, readdir, stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";

/**
 * Owns every process that a tool starts: how it is started and how it is ended.
 *
 * A call's processes are known by three things: the group of the first one, the mark in their
 * environment (`SESSIOND_MARK=<install>.<boot>.<call>`), and the start time, which is read again
 * just before each signal, so that a reused pid is never hit. Without /proc only the group is
 * known. What leaves its group and clears its environment escapes.
 */
const markName = "SESSIOND_MARK";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Set when the process could not be started at all. */
  readonly error?: string;
}

export interface MarkedChild {
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when the first process has ended; never rejects. */
  readonly exited: Promise<Exit>;
  /** Resolves when nobody holds the output pipes any more. */
  readonly closed: Promise<void>;
  /**
   * TERM to all that is left of the call, KILL after `waitMs`.
   *
   * @returns how many processes were still there; repeated calls join the first
   */
  end(waitMs: number): Promise<number>;
}

export interface MarkedCommand {
  readonly command: string;
  readonly cwd: string;
  /** Scrubbed; the mark is added here. */
  readonly env: Readonly<Record<string, string>>;
  readonly mark: string;
  /** From `deathSignalPrefix`: makes the first process die with the daemon. */
  readonly prefix: readonly string[];
}

/** Words to put in front of a command so that it is killed when the daemon dies; none where the system cannot do it. */
export function deathSignalPrefix(env: Readonly<Record<string, string>>): Promise<readonly string[]> {
  const prefix = ["setpriv", "--pdeathsig", "KILL", "--"];
  return new Promise((resolve) => {
    execFile("setpriv", [...prefix.slice(1), "true"], { env: { ...env }, timeout: 2_000 }, (error) => resolve(error === null ? prefix : []));
  });
}

/** Start a shell command in a session and process group of its own, with stdin closed. */
export function spawnMarked({ command, cwd, env, mark, prefix }: MarkedCommand): MarkedChild {
  const [first, ...rest] = prefix;
  const shell = ["/bin/sh", "-c", command] as const;
  const [file, args] = first === undefined ? [shell[0], shell.slice(1)] : [first, [...rest, ...shell]];
  const child = spawn(file, args, { cwd, env: { ...env, [markName]: mark }, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  const startedAt = child.pid === undefined ? undefined : look(child.pid)?.startTime;
  let running = child.pid !== undefined;
  const exited = new Promise<Exit>((resolve) => {
    child.once("error", (error) => resolve({ code: null, signal: null, error: error.message }));
    child.once("exit", (code, signal) => resolve({ code, signal }));
  }).finally(() => (running = false));
  const closed = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => child.pid === undefined && resolve());
  });

  const isOurs = (found: Found): boolean => found.mark === mark || (startedAt !== undefined && found.group === child.pid && found.startTime >= startedAt);
  const signalGroup = (signal: NodeJS.Signals): void => {
    // Until its exit was collected the pid, and so the group's number, cannot be anyone else's.
    if (running && child.pid !== undefined) signalQuietly(-child.pid, signal);
  };
  let ending: Promise<number> | undefined;
  const end = async (waitMs: number): Promise<number> => {
    const wasRunning = running;
    signalGroup("SIGTERM");
    const count = await endAll(isOurs, waitMs);
    if (running && count === 0) await Promise.race([exited, pause(waitMs)]);
    signalGroup("SIGKILL");
    return Math.max(count, wasRunning ? 1 : 0);
  };
  return { stdout: child.stdout, stderr: child.stderr, exited, closed, end: (waitMs) => (ending ??= end(waitMs)) };
}

/** End every process that carries exactly this mark: TERM, and KILL after `waitMs`. @returns how many there were */
export const killMarked = (mark: string, waitMs = 0): Promise<number> => endAll((found) => found.mark === mark, waitMs);

/**
 * Kill what an earlier boot of this installation left behind.
 *
 * @returns pids that were killed
 */
export async function reapOrphans(installId: string, bootId: string): Promise<number[]> {
  const ours = `${installId}.`;
  const isOrphan = ({ mark }: Found): boolean => mark !== null && mark.startsWith(ours) && !mark.startsWith(`${ours}${bootId}.`);
  return killUntilGone(isOrphan);
}

/** One process as it was seen. */
interface Found {
  readonly pid: number;
  readonly group: number;
  /** Ticks since the machine started: with the pid, the identity of a process. */
  readonly startTime: number;
  readonly mark: string | null;
}
type IsOurs = (found: Found) => boolean;

const passes = 20;
const pollMs = 25;

async function endAll(isOurs: IsOurs, waitMs: number): Promise<number> {
  const found = await scan(isOurs);
  if (found.length === 0) return 0;
  if (waitMs > 0) for (const one of found) signalIfSame(one, "SIGTERM");
  const deadline = performance.now() + waitMs;
  while (found.some((one) => look(one.pid)?.startTime === one.startTime) && performance.now() < deadline) await pause(pollMs);
  const killed = await killUntilGone(isOurs);
  return new Set([...found.map((one) => one.pid), ...killed]).size;
}

/** A process may fork while it is looked for: look again until nothing is found. */
async function killUntilGone(isOurs: IsOurs): Promise<number[]> {
  const killed = new Set<number>();
  for (let pass = 0; pass < passes; pass += 1) {
    const found = await scan(isOurs);
    if (found.length === 0) break;
    for (const one of found) if (signalIfSame(one, "SIGKILL")) killed.add(one.pid);
    await pause(pollMs);
  }
  return [...killed];
}

/** All living processes of this user for which `isOurs` holds; never this one. Cost: one small read a process. */
async function scan(isOurs: IsOurs): Promise<Found[]> {
  const names = await readdir("/proc").catch(() => []);
  const pids = names.map(Number).filter((pid) => pid > 0 && pid !== process.pid);
  const found = await Promise.all(pids.map(read));
  return found.filter((one) => one !== null && isOurs(one)) as Found[];
}

async function read(pid: number): Promise<Found | null> {
  const before = look(pid);
  if (before === null || (await stat(`/proc/${pid}`).catch(() => null))?.uid !== process.getuid?.()) return null;
  // Another user's, or ended meanwhile: nothing to be seen, so nothing of ours.
  const environment = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "");
  const entry = environment.split("\0").find((line) => line.startsWith(`${markName}=`));
  return { pid, ...before, mark: entry === undefined ? null : entry.slice(markName.length + 1) };
}

/** Group and start time of a living process; null for one that is gone or only waits to be collected. */
function look(pid: number): { group: number; startTime: number } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name in parentheses may hold anything: count from behind it.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? null : { group: Number(fields[2]), startTime: Number(fields[19]) };
  } catch {
    return null;
  }
}

function signalIfSame(found: Found, signal: NodeJS.Signals): boolean {
  return look(found.pid)?.startTime === found.startTime && signalQuietly(found.pid, signal);
}

function signalQuietly(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}
