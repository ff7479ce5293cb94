import { lstat, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { limits, type Finding } from "@sessiond/shared";
import { findOrphans, killFound } from "../agents/children.ts";
import { installIdOf } from "../ids.ts";
import { dial, type Dialled } from "../lifecycle.ts";
import type { Examination, Trouble } from "./examination.ts";
import { count } from "./finding.ts";
import { holdersOf, type Holder } from "./lock-holders.ts";

/** Whether a daemon is there, by knocking; who holds its locks; and what earlier ones left running. */
export interface Presence {
  readonly answer: Dialled;
  readonly runtimeHolder: Holder | undefined;
  readonly stateHolder: Holder | undefined;
}

const lookAgainMs = 200;
/** A process may fork while it is ended. */
const passes = 20;

export async function presenceOf({ socket, runtimeDir, stateDir, silent }: Examination): Promise<Presence> {
  const until = performance.now() + limits.doctor_wait_ms;
  for (;;) {
    const answer = Buffer.byteLength(socket) > limits.socket_path_bytes_max ? "absent" : silent ? "silent" : await dial(socket, limits.doctor_wait_ms);
    const [[runtimeHolder], [stateHolder]] = await Promise.all([holdersOf(join(runtimeDir, "lock")), holdersOf(join(stateDir, "lock"))]);
    const between = runtimeHolder !== undefined && !runtimeHolder.stopped && (answer === "absent" || answer === "refused");
    // One that starts, or goes, has its lock and no socket for a moment.
    if (!between || performance.now() > until) return { answer, runtimeHolder, stateHolder };
    await pause(lookAgainMs);
  }
}

export async function daemonTroubles(
  { socket, runtimeDir, stateDir, running }: Examination,
  { answer, runtimeHolder, stateHolder }: Presence,
): Promise<Trouble[]> {
  const locks = (await Promise.all([runtimeDir, stateDir].map((directory) => badLock(join(directory, "lock"))))).flat();
  if (answer === "answers") return [...locks, ...(await lostLock({ running, runtimeDir, stateDir }))];
  const found = await lstat(socket).catch(() => null);
  if (runtimeHolder !== undefined) return [...locks, { finding: halfDead(socket, answer, runtimeHolder) }];
  if (stateHolder !== undefined) {
    const behind = (await readFile(join(stateDir, "lock"), "utf8").catch(() => "")) || "another socket";
    const what = `process ${stateHolder.pid}, a daemon behind ${behind}, owns ${stateDir}; from this shell nobody reaches it, and none can be started`;
    return [
      ...locks,
      { finding: { kind: "lock", weight: "wrong", path: join(stateDir, "lock"), what, mend: "use the same XDG_RUNTIME_DIR as the shell that started it" } },
    ];
  }
  if (found === null) return locks;
  if (!found.isSocket()) {
    const finding: Finding = {
      kind: "socket",
      weight: "wrong",
      path: socket,
      what: `${socket} is no socket`,
      mend: `move it away: mv ${socket} ${socket}.away`,
    };
    return [...locks, { finding }];
  }
  const what =
    answer === "silent"
      ? "something that is no daemon of ours holds the socket, and says nothing"
      : "a daemon that was killed left its socket; nobody answers there";
  const finding: Finding = {
    kind: "socket",
    weight: "wrong",
    path: socket,
    what,
    mend: "nothing to do, or `sessiond doctor --fix`",
    next_start: "it is replaced",
  };
  return [...locks, { finding, repair: { beside: false, run: () => rm(socket, { force: true }) } }];
}

/** The kernel's lock ends with its holder, so a file that nobody holds is no obstacle; one that cannot be opened is. */
async function badLock(path: string): Promise<Trouble[]> {
  const found = await lstat(path).catch(() => null);
  if (found === null || (found.isFile() && found.uid === process.getuid?.())) return [];
  const what = `${path} is ${found.isFile() ? "another account's" : "no plain file"}: no daemon can take its lock`;
  return [{ finding: { kind: "lock", weight: "wrong", path, what, mend: `move it away: mv ${path} ${path}.away` } }];
}

/** What keeps a second daemon out is the file under that name, not the one that the daemon holds. */
async function lostLock({ running, runtimeDir, stateDir }: Pick<Examination, "running" | "runtimeDir" | "stateDir">): Promise<Trouble[]> {
  if (running === null || (await readdir("/proc/self/fd").catch(() => null)) === null) return [];
  const paths = [join(runtimeDir, "lock"), join(stateDir, "lock")];
  const lost = await Promise.all(paths.map(async (path) => ((await holdersOf(path)).some(({ pid }) => pid === running.pid) ? [] : [path])));
  return lost.flat().map((path) => ({
    finding: {
      kind: "lock",
      weight: "wrong",
      path,
      what: `the running daemon does not hold ${path}: the file was removed or replaced, and a second daemon could start`,
      mend: "`sessiond down`; the next start makes it again",
    },
  }));
}

function halfDead(path: string, answer: Dialled, { pid, stopped }: Holder): Finding {
  const wake = `wake it with \`kill -CONT ${pid}\``;
  const end = `end it with \`kill -9 ${pid}\`; its sessions are on disk, and the next start goes on with them`;
  const how = answer === "silent" ? (stopped ? "is stopped, and answers nobody" : "does not answer") : "has no socket that anybody could reach";
  return {
    kind: "daemon_silent",
    weight: "wrong",
    path,
    what: `process ${pid} holds the daemon's lock and ${how}`,
    mend: stopped ? `${wake}, or ${end}` : end,
  };
}

/**
 * What earlier daemons left running. Beside a daemon only those that were there while it was: then
 * none of them can be a later daemon's.
 */
export async function orphanTroubles({ stateDir, running }: Examination, { runtimeHolder, stateHolder, answer }: Presence): Promise<Trouble[]> {
  const nobody = answer !== "answers" && runtimeHolder === undefined && stateHolder === undefined;
  if (!nobody && running === null) return [];
  // A daemon that a tool started carries that tool's mark, and is nobody's orphan.
  const daemons = [running?.pid, runtimeHolder?.pid, stateHolder?.pid];
  const find = async () => (await findOrphans(installIdOf(stateDir), running?.bootId ?? null)).filter(({ pid }) => !daemons.includes(pid));
  const orphans = await find();
  if (orphans.length === 0) return [];
  const mine = async (): Promise<boolean> => running === null || (await holdersOf(join(stateDir, "lock"))).some(({ pid }) => pid === running.pid);
  const run = async (): Promise<void> => {
    let found = orphans;
    for (let pass = 0; pass < passes && found.length > 0; pass++, found = await find()) {
      if (!(await mine())) throw new Error("the daemon is another one now");
      killFound(found);
      await pause(lookAgainMs / 4);
    }
    if (found.length > 0) throw new Error(`they do not end: ${found.map(({ pid }) => pid).join(", ")}`);
  };
  const pids = orphans.map(({ pid }) => pid).join(", ");
  const what = `${count(orphans.length, "process", "processes")} of an earlier daemon's tools still ${orphans.length === 1 ? "runs" : "run"}: ${pids}`;
  return [
    {
      finding: { kind: "orphans", weight: "wrong", what, mend: "`sessiond doctor --fix` ends them", ...(running === null && { next_start: "they are ended" }) },
      // Without a daemon every mark counts as left behind: then none may start meanwhile.
      repair: { beside: running !== null, run },
    },
  ];
}
