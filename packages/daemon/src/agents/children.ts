import { execFile, spawn, type ChildProcess } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { limits } from "@sessiond/shared";
import { hold, type Enclosure, type Held } from "./enclosure.ts";
import { forksSoFar, isThere, markName, signalIfSame, signalQuietly, startTimeOf, sweep, type First, type Found, type IsOurs } from "./process-table.ts";
import { systemProgram } from "../system-program.ts";

/**
 * Owns every process that a tool starts: how it is started and how it is ended.
 *
 * A call's processes are known by three things: the group of the first one, the mark in their
 * environment (`SESSIOND_MARK=<install>.<boot>.<call>`), and the start time, which is read again
 * just before each signal, so that a reused pid is never hit. Without /proc only the group is
 * known. What leaves its group and clears its environment, or hides it, escapes; from a sandbox
 * nothing does: the system ends all that is in it together with the processes that hold it.
 */
const pollMs = 25;

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
  /** Runs it in a sandbox; absent: in none. */
  readonly enclosure?: Enclosure | undefined;
}

/** A program that is talked with. */
export interface MarkedProgram extends Omit<MarkedCommand, "command" | "enclosure"> {
  /** The program's path, and its arguments: no shell reads them. */
  readonly words: readonly [string, ...string[]];
}

export interface TalkingChild extends MarkedChild {
  readonly stdin: Writable;
}

/**
 * Words to put in front of a command so that it is killed when the daemon dies; none where the system cannot do it.
 * The program is the system's, named by its path: what is run here is in no sandbox yet.
 */
export async function deathSignalPrefix(programDirs: readonly string[]): Promise<readonly string[]> {
  const path = await systemProgram("setpriv", programDirs);
  if (path === null) return [];
  const words = [path, "--pdeathsig", "KILL", "--"] as const;
  return new Promise((resolve) => {
    execFile(path, [...words.slice(1), "/bin/sh", "-c", ":"], { env: {}, timeout: limits.setpriv_wait_ms }, (error) => resolve(error === null ? words : []));
  });
}

/** Start a shell command in a session and process group of its own, with stdin closed. */
export function spawnMarked({ command, cwd, env, mark, prefix, enclosure }: MarkedCommand): MarkedChild {
  const [file, ...args] = [...prefix, ...(enclosure?.words ?? []), "/bin/sh", "-c", command];
  const forks = forksSoFar();
  const child =
    enclosure === undefined
      ? spawn(file, args, { cwd, env: { ...env, [markName]: mark }, detached: true, stdio: ["ignore", "pipe", "pipe"] })
      : // What holds a sandbox shows its own environment to all that is in it.
        spawn(file, args, { cwd, env: {}, detached: true, stdio: ["ignore", "pipe", "pipe", "pipe", "pipe", "pipe", ...enclosure.descriptors] });
  return owned(child, { mark, forks, held: enclosure === undefined ? null : hold(child, enclosure) });
}

/** Start a program in a session and process group of its own, with pipes to talk with it. */
export function spawnMarkedProgram({ words, cwd, env, mark, prefix }: MarkedProgram): TalkingChild {
  const [file, ...args] = [...prefix, ...words];
  const forks = forksSoFar();
  const child = spawn(file ?? words[0], args, { cwd, env: { ...env, [markName]: mark }, detached: true, stdio: ["pipe", "pipe", "pipe"] });
  // Who does not read any more is told nothing any more; that it has ended is told by its exit.
  child.stdin.on("error", () => undefined);
  return { ...owned(child, { mark, forks, held: null }), stdin: child.stdin };
}

/** @param forks  how many there had been before it was started */
function owned(child: ChildProcess, { mark, forks, held }: { mark: string; forks: number | null; held: Held | null }): MarkedChild {
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new Error("pipes were asked for");
  // Known also when it has ended already: it is not collected before this step is over.
  const since = (child.pid === undefined ? null : startTimeOf(child.pid)) ?? undefined;
  const first = child.pid === undefined || since === undefined ? undefined : { pid: child.pid, startTime: since, forks };
  let running = child.pid !== undefined;
  const exited = new Promise<Exit>((resolve) => {
    child.once("error", (error) => resolve({ code: null, signal: null, error: error.message }));
    child.once("exit", (code, signal) => resolve({ code, signal }));
  }).finally(() => (running = false));
  const closed = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => child.pid === undefined && resolve());
  });

  /** Its number is given anew only when the whole group is gone, and then the first to have it is another process. */
  const isStillOurs = (group: number): boolean => [null, since].includes(startTimeOf(group) ?? null);
  const isOurs = (found: Found): boolean =>
    found.mark === mark || (since !== undefined && found.group === child.pid && found.session === child.pid && isStillOurs(found.group));
  const signalGroup = (signal: NodeJS.Signals): void => {
    // Until its exit was collected the pid, and so the group's number, cannot be anyone else's.
    if (running && child.pid !== undefined) signalQuietly(-child.pid, signal);
  };
  let ending: Promise<number> | undefined;
  const end = async (waitMs: number): Promise<number> => {
    const wasRunning = running;
    if (held === null) signalGroup("SIGTERM");
    const count = await endAll({ isOurs, group: child.pid, first }, waitMs);
    if (running && count === 0) await Promise.race([exited, pause(waitMs)]);
    signalGroup("SIGKILL");
    await held?.end();
    // Of a sandbox whose command has ended the system ends the rest, and nobody has counted it.
    return held !== null && !wasRunning ? 0 : Math.max(count, wasRunning ? 1 : 0);
  };
  return { stdout, stderr, exited, closed, end: (waitMs) => (ending ??= end(waitMs)) };
}

/** End every process that carries exactly this mark: TERM, and KILL after `waitMs`. @returns how many there were */
export const killMarked = (mark: string, waitMs = 0): Promise<number> => endAll({ isOurs: (found) => found.mark === mark }, waitMs);

/**
 * Kill what an earlier boot of this installation left behind.
 *
 * @returns pids that were killed
 */
export const reapOrphans = (installId: string, bootId: string): Promise<number[]> => killUntilGone({ isOurs: isOrphanOf(installId, bootId) });

/** The same, only looked for. @param bootId  null: no daemon runs, so every one is left behind */
export async function findOrphans(installId: string, bootId: string | null): Promise<readonly Found[]> {
  const found: Found[] = [];
  await sweep({ isOurs: isOrphanOf(installId, bootId), visit: (one) => void found.push(one), until: performance.now() + limits.kill_chase_ms });
  return found;
}

/** Kill exactly those that were found, if they are still the same. @returns pids that were killed */
export const killFound = (found: readonly Found[]): number[] => found.filter((one) => signalIfSame(one, "SIGKILL")).map(({ pid }) => pid);

function isOrphanOf(installId: string, bootId: string | null): IsOurs {
  const ours = `${installId}.`;
  return ({ mark }) => mark !== null && mark.startsWith(ours) && (bootId === null || !mark.startsWith(`${ours}${bootId}.`));
}

/** Whom to end. */
interface Targets {
  readonly isOurs: IsOurs;
  /** A group of which every member is. */
  readonly group?: number | undefined;
  /** None is older. */
  readonly first?: First | undefined;
}

async function endAll(targets: Targets, waitMs: number): Promise<number> {
  const until = performance.now() + waitMs;
  const told = new Map<number, Found>();
  if (waitMs > 0) {
    const tell = (one: Found): void => void ((one.frame ? isThere(one) : signalIfSame(one, "SIGTERM")) && told.set(one.pid, one));
    const seenAll = await sweep({ ...targets, until, visit: tell });
    if (seenAll && told.size === 0) return 0;
    // What holds a sandbox ends with the command in it, which would have no time if it were told too. Where nothing else is found, it is all there is.
    if ([...told.values()].every(({ frame }) => frame)) for (const frame of told.values()) signalIfSame(frame, "SIGTERM");
    while ([...told.values()].some(isThere) && performance.now() < until) await pause(pollMs);
  }
  const killed = await killUntilGone(targets);
  return new Set([...told.keys(), ...killed]).size;
}

/** What forks or runs other programs all the time may slip through one sweep, not through many. */
async function killUntilGone(targets: Targets): Promise<number[]> {
  const killed = new Set<number>();
  const until = performance.now() + limits.kill_chase_ms;
  let left = true;
  // On a machine without time to spare, time alone says nothing.
  for (let pass = 0; left && (pass < limits.kill_passes_min || performance.now() < until); pass += 1) {
    left = false;
    const visit = (one: Found): void => {
      if (!signalIfSame(one, "SIGKILL")) return;
      killed.add(one.pid);
      left = true;
      // In one step, so that no member has time to fork; while one lives the group's number is nobody else's.
      if (one.group === targets.group) signalQuietly(-one.group, "SIGKILL");
    };
    await sweep({ ...targets, until, visit });
    // What is killed may still be on its way out.
    if (left) await pause(pollMs);
  }
  return [...killed];
}
