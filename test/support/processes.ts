import { readdirSync, readFileSync } from "node:fs";

/** Processes as /proc tells of them: by what stands in their environment, never by name alone. */
export interface Found {
  readonly pid: number;
  readonly command: string;
}

/** Living processes whose environment, as they were started, has this line or one that begins so. */
export function processesWith(line: string): Found[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .flatMap((pid) => {
      const environment = read(`/proc/${pid}/environ`).split("\0");
      const command = read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim();
      return command !== "" && isAlive(pid) && environment.some((each) => each === line || (line.endsWith(".") && each.startsWith(line)))
        ? [{ pid, command }]
        : [];
    });
}

/** False for one that is gone or only waits to be collected: its first thread may be so while others still hold its sockets. */
export function isAlive(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  return stat !== "" && (!/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2)) || threadsOf(pid).length > 1);
}

/** One letter, as in /proc/<pid>/stat: R runs, S sleeps, T is stopped, Z has ended; empty when there is none. */
export function stateOf(pid: number): string {
  const stat = read(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2).slice(0, 1);
}

/** Its parent, the parent of that, and so on, as they are now. */
export function ancestorsOf(pid: number): number[] {
  const stat = read(`/proc/${pid}/stat`);
  const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1] ?? 0);
  return parent > 0 ? [parent, ...ancestorsOf(parent)] : [];
}

/** The process groups of these, as far as they live. */
export const groupsOf = (pids: readonly number[]): Set<number> => new Set(pids.filter(isAlive).map(groupOf));

/** Living members of these groups. */
export function membersOf(groups: ReadonlySet<number>): number[] {
  const pids = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  return pids.filter((pid) => groups.has(groupOf(pid)) && isAlive(pid));
}

/** NaN for one that is gone. */
function groupOf(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2]);
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
