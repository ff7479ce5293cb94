import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { processesWith } from "./processes.ts";

/**
 * What /proc tells anybody of this account about a daemon and all that it started: arguments and environment,
 * of the daemon itself, of its descendants, and of what has its mark and has left the family.
 *
 * @returns by place: `daemon cmdline`, `child environ`, … with the pid
 */
export function toldByProc(daemon: number, stateDir: string): Record<string, string> {
  const install = createHash("sha256").update(stateDir).digest("hex").slice(0, 16);
  const marked = processesWith(`SESSIOND_MARK=${install}.`).map(({ pid }) => pid);
  const pids = new Set([daemon, ...descendants(daemon), ...marked]);
  return Object.fromEntries(
    [...pids].flatMap((pid) =>
      (["cmdline", "environ"] as const).map((part) => [`${pid === daemon ? "daemon" : "child"} ${part} (${pid})`, read(`/proc/${pid}/${part}`)]),
    ),
  );
}

function descendants(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc").filter((each) => /^\d+$/.test(each))) {
    const stat = read(`/proc/${name}/stat`);
    parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
  }
  const found = new Set([root]);
  // A parent may have a higher number than its child.
  for (let before = 0; before < found.size;) {
    before = found.size;
    for (const [pid, parent] of parents) if (found.has(parent)) found.add(pid);
  }
  found.delete(root);
  return [...found];
}

/** Empty for one that has gone meanwhile. */
function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
