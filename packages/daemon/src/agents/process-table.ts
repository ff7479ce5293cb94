import { readFileSync, readdirSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { limits } from "@sessiond/shared";

/**
 * Reads the machine's processes from /proc, and signals one only as the same that was read: a pid
 * is given anew, a pid with its start time is not. Small reads, one after another and in slices:
 * a machine with thousands of processes blocks nobody, and one free descriptor is enough. As UTF-8,
 * whatever is in them: what is looked for is ASCII, and for UTF-8 alone Node reads a file in one call.
 */
export const markName = "SESSIOND_MARK";
/** Stand before the mark in the words of a sandbox. */
export const markWords = ["--setenv", markName] as const;

/** One living process as it was seen. */
export interface Found {
  readonly pid: number;
  readonly group: number;
  readonly session: number;
  /** Ticks since the machine started. */
  readonly startTime: number;
  /** Null also where the environment is not ours to read. */
  readonly mark: string | null;
  /** It holds a sandbox together: it has no environment, and its mark stands in its words. What it holds dies with it, at once. */
  readonly frame: boolean;
}
export type IsOurs = (found: Found) => boolean;

export interface Sweep {
  readonly isOurs: IsOurs;
  /** Called in the step in which it was read: what forks has no time to. */
  visit(found: Found): void;
  /** Of `performance.now()`: until then new ones of ours are looked for. */
  readonly until: number;
  /** Of those that are looked for the first: what was there before it cannot be ours. */
  readonly first?: First | undefined;
}

/** The first process of a call. */
export interface First {
  readonly pid: number;
  readonly startTime: number;
  /** How often the machine had forked before it; null where that is not told. */
  readonly forks: number | null;
}

/**
 * Visit all processes for which `isOurs` holds, each once; never this one.
 *
 * A process may fork and end, or run another program and show no environment meanwhile, between
 * being listed and being read. So what was ours, or could not be read, asks for a further listing,
 * of which only newcomers are read, until one has nothing of the kind. On a busy machine something
 * always slips away: without any of ours among it, so many listings are enough.
 *
 * @returns false when it ended with something that could not be read
 */
export async function sweep({ isOurs, visit, until, first }: Sweep): Promise<boolean> {
  const known = new Set([process.pid]);
  const { kill_looks_max: looksMax, processes_read_at_once: slice } = limits;
  for (let look = 1, fruitless = 0; ; look += 1) {
    const listed = list();
    const lowest = first === undefined ? 0 : lowestSince(first);
    let [ours, unclear] = [0, listed === null];
    for (const [index, pid] of (listed ?? []).filter((one) => one >= lowest && !known.has(one)).entries()) {
      if (index % slice === slice - 1) await nextTurn();
      const found = read(pid, first?.startTime ?? 0);
      if (found !== "changing") known.add(pid);
      if (typeof found === "string") unclear = true;
      else if (found !== null && isOurs(found)) {
        visit(found);
        ours += 1;
      }
    }
    await nextTurn();
    if (ours === 0 && !unclear) return true;
    fruitless = ours > 0 ? 0 : fruitless + 1;
    // On a machine without time to spare, time alone says nothing.
    if (fruitless >= looksMax || (look >= looksMax && performance.now() >= until)) return false;
  }
}

/**
 * Numbers are given in ascending order, and from below again when there are no more of them. Until then whatever came after
 * the first has a higher one: of hundreds of processes a few need be read. Asked after they were listed, so that what comes
 * round in between is not passed over.
 *
 * A fork takes one number, and passes over those that are in use: as many as there are threads at most. One that fails
 * takes one too, and is not counted; then the newest number tells, unless somebody has gone all the way round.
 */
function lowestSince({ pid, forks }: First): number {
  const now = forksSoFar();
  const [, threads, newest] = (/\/(\d+) (\d+)$/.exec(textOf("/proc/loadavg").trim()) ?? []).map(Number);
  if (forks === null || now === null || threads === undefined || newest === undefined) return 0;
  // The first itself counts, where forks are counted at all.
  return now > forks && newest >= pid && pid + (now - forks) + threads < highestPid() ? pid : 0;
}

/** Processes and threads since the machine started, whoever made them; null where that is not told. */
export function forksSoFar(): number | null {
  const told = /^processes (\d+)$/m.exec(textOf("/proc/stat"))?.[1];
  return told === undefined ? null : Number(told);
}

const highestPid = (): number => Number(textOf("/proc/sys/kernel/pid_max")) || 0;

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Newest first, as far as the numbers tell; null when it could not be read now. */
function list(): number[] | null {
  try {
    const pids = readdirSync("/proc").map(Number);
    return pids.filter((pid) => pid > 0).toSorted((a, b) => b - a);
  } catch (error) {
    // Without /proc there is nothing to be seen; without descriptors there is, later.
    return error instanceof Error && "code" in error && error.code === "ENOENT" ? [] : null;
  }
}

/** @returns null for what is not ours for certain; `gone`, with whatever it may have left; `changing` for one that is about to run another program */
function read(pid: number, since: number): Found | null | "gone" | "changing" {
  const stat = statOf(pid);
  if (stat === null || !stat.alive) return "gone";
  const { group, session, startTime } = stat;
  if (startTime < since || stat.kernel) return null;
  try {
    const environment = readFileSync(`/proc/${pid}/${stat.firstThreadEnded ? `task/${otherThread(pid)}/` : ""}environ`, "utf8");
    if (environment === "" && !stat.cleared) return "changing";
    const entry = environment.split("\0").find((line) => line.startsWith(`${markName}=`));
    const words = environment === "" ? markInWords(pid) : null;
    return { pid, group, session, startTime, mark: entry === undefined ? words : entry.slice(markName.length + 1), frame: words !== null };
  } catch (error) {
    const denied = error instanceof Error && "code" in error && (error.code === "EACCES" || error.code === "EPERM");
    return denied ? { pid, group, session, startTime, mark: null, frame: false } : "gone";
  }
}

/** What bubblewrap gives to its command as a variable, it is told in these words. */
function markInWords(pid: number): string | null {
  const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  const at = words.findIndex((word, index) => word === markWords[0] && words[index + 1] === markWords[1]);
  return at < 0 ? null : (words[at + 2] ?? null);
}

/** The same that was seen, and living. */
export const isThere = ({ pid, startTime }: Pick<Found, "pid" | "startTime">): boolean => {
  const stat = statOf(pid);
  return stat !== null && stat.alive && stat.startTime === startTime;
};

/** Its start time, also of one that has ended and waits to be collected; null when nobody has the number. */
export const startTimeOf = (pid: number): number | null => statOf(pid)?.startTime ?? null;

/** The living process of that number, if that one started it; null when it is another's by now. */
export function asChildOf(parent: number, pid: number): Pick<Found, "pid" | "startTime"> | null {
  const stat = statOf(pid);
  return stat !== null && stat.alive && stat.parent === parent ? { pid, startTime: stat.startTime } : null;
}

/** @returns false when it is another by now, or not ours to signal */
export const signalIfSame = (found: Pick<Found, "pid" | "startTime">, signal: NodeJS.Signals): boolean => isThere(found) && signalQuietly(found.pid, signal);

export function signalQuietly(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

interface Stat {
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  readonly startTime: number;
  readonly alive: boolean;
  /** It lives on in its other threads; its own environment is gone. */
  readonly firstThreadEnded: boolean;
  /** Its environment is empty for good, and not only while execve puts another in its place. */
  readonly cleared: boolean;
  readonly kernel: boolean;
}

const kernelThread = 0x0020_0000;

function statOf(pid: number): Stat | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may hold anything: count from behind it. The numbers are those of proc(5), less three.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const field = (index: number): number => Number(fields[index]);
    const ended = fields[0] === "Z" || fields[0] === "X";
    const firstThreadEnded = ended && field(17) > 1;
    const cleared = field(48) > 0 && field(47) === field(48);
    const kernel = (field(6) & kernelThread) !== 0;
    return { parent: field(1), group: field(2), session: field(3), startTime: field(19), alive: !ended || firstThreadEnded, firstThreadEnded, cleared, kernel };
  } catch {
    return null;
  }
}

const otherThread = (pid: number): string => readdirSync(`/proc/${pid}/task`).find((thread) => thread !== String(pid)) ?? String(pid);
