import { readdir, readFile, readlink, realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * Who holds a daemon's lock, without touching it: a lock that is taken for a look would turn away a
 * daemon that starts in that moment. Only a holder keeps the file open. Known where there is /proc.
 */
export interface Holder {
  readonly pid: number;
  /** Stopped by a signal: it holds everything and answers nothing. */
  readonly stopped: boolean;
}

export async function holdersOf(lockPath: string): Promise<Holder[]> {
  // As /proc names it: the directory may be reached through a link. The lock itself never is.
  const directory = await realpath(dirname(lockPath)).catch(() => null);
  if (directory === null) return [];
  const path = join(directory, basename(lockPath));
  const pids = (await readdir("/proc").catch(() => [])).map(Number).filter((pid) => pid > 0 && pid !== process.pid);
  const found = await Promise.all(pids.map(async (pid) => ((await holds(pid, path)) ? [{ pid, stopped: await isStopped(pid) }] : [])));
  return found.flat();
}

async function holds(pid: number, path: string): Promise<boolean> {
  if ((await stat(`/proc/${pid}`).catch(() => null))?.uid !== process.getuid?.()) return false;
  const files = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const targets = await Promise.all(files.map((file) => readlink(`/proc/${pid}/fd/${file}`).catch(() => "")));
  return targets.includes(path);
}

async function isStopped(pid: number): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => "");
  return /^[Tt] /.test(text.slice(text.lastIndexOf(")") + 2));
}
