import { closeSync, readdirSync, readFileSync } from "node:fs";

/**
 * Files and sockets that whoever started the daemon left it, an editor or a shell, would go on to
 * every command, in a sandbox too. They are closed before the daemon opens anything: all that Node
 * opens itself is closed on exec, and so are those with low numbers, which it marks as it starts.
 */
export function closeInheritedDescriptors(): void {
  for (const fd of open()) if (fd > 2 && (flagsOf(fd) & closedOnExec) === 0) closeSync(fd);
}

const closedOnExec = 0o2000000;

/** None where the system does not tell. */
function open(): number[] {
  try {
    return readdirSync("/proc/self/fd").map(Number);
  } catch {
    return [];
  }
}

function flagsOf(fd: number): number {
  try {
    return Number.parseInt(/^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1] ?? "0", 8);
  } catch {
    // That by which they were listed is gone.
    return closedOnExec;
  }
}
