import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { eventually } from "./eventually.ts";
import { isAlive } from "./processes.ts";

/**
 * Commands whose processes do not want to end, and a look at what is left of them that knows nothing of groups and
 * marks: whoever works in the command's directory. Each is `up` when it has done what it is named for. None outlives
 * five minutes by itself, and none is ever more than a few processes.
 */
export interface HardChild {
  readonly command: string;
  /** Has no mark: after kill -9 of its daemon nothing tells whose it was. Everything else, its group says. */
  readonly unmarked?: boolean;
}

const up = "touch up";
const rest = "sleep 300";

/** Perl clears the environment's memory when it is given a title. */
export const hardChildren = {
  sleeps: { command: `${up}; exec ${rest}` },
  forks: { command: `${rest} & ${up}; ${rest}` },
  "calls setsid": { command: `setsid ${rest} & ${up}; ${rest}` },
  "leaves two groups and its parent": { command: `setsid sh -c "setsid sh -c '${up}; exec ${rest}' >/dev/null 2>&1 &" & ${rest}` },
  "ignores TERM": { command: `trap "" TERM; setsid sh -c '${up}; while :; do ${rest}; done' & while :; do ${rest}; done` },
  "closes its output": { command: `setsid sh -c 'exec >&- 2>&-; ${up}; ${rest}' & exec >&- 2>&-; ${rest}` },
  floods: { command: `${up}; exec yes` },
  "writes what is no text": { command: `head -c 400000 /dev/urandom; head -c 400000 /dev/zero; ${up}; ${rest}` },
  "forks for ever": { command: `perl chain.pl & ${rest}` },
  "forks for ever in groups of their own": { command: `perl chain.pl away & ${rest}` },
  "execs for ever": { command: `setsid sh again.sh 0 & ${rest}` },
  "comes again when told to end": { command: `setsid sh phoenix.sh 0 & ${rest}` },
  "has another name": { command: `setsid bash -c '${up}; exec -a "[kworker/0:1]" ${rest}' & ${rest}` },
  "overwrites its environment": { command: `perl -e '$0 = "worker"; open F, ">up"; sleep 300' & ${rest}`, unmarked: true },
  "clears its environment": { command: `env -i sh -c '${up}; ${rest}' & ${rest}`, unmarked: true },
  "is stopped": { command: `setsid sh -c '${up}; kill -STOP $$' & sh -c 'kill -STOP $$'; ${rest}` },
  "leaves zombies": { command: `setsid perl -e 'fork or exit; open F, ">up"; sleep 300' & ${rest}` },
  "lives on in its other threads": {
    command: `setsid perl -MConfig -Mthreads -e 'threads->create(sub { open F, ">up"; sleep 300 }); syscall($Config{archname} =~ /x86_64/ ? 60 : 93, 0)' & ${rest}`,
  },
  "is another user": { command: `perl -MPOSIX -e 'setuid(65534); exec qw(setsid sleep 300)' & ${up}; ${rest}` },
} satisfies Record<string, HardChild>;

export type HardName = keyof typeof hardChildren;
export const hardNames = Object.keys(hardChildren) as HardName[];
export const hard = (name: HardName): HardChild => hardChildren[name];

const files = {
  // A link of it is gone when the next one is there: whoever looks for it comes too late.
  "chain.pl": `use POSIX; my $end = time + 120; my $n = 0;
while (-e "chain.pl" && time < $end) { my $pid = fork; if (!defined $pid) { sleep 1; next } if ($pid) { POSIX::_exit(0) }
  POSIX::setsid() if @ARGV; if (++$n == 20) { open F, ">up" } open(B, ">>beat"); syswrite(B, "."); close(B); select(undef, undef, undef, 0.001) }`,
  // While a program is replaced by another it shows no environment.
  "again.sh": `[ $1 = 20 ] && ${up}; [ $1 -gt 100000 ] || exec /bin/sh again.sh $(($1 + 1))`,
  "phoenix.sh": `[ $1 -lt 500 ] && trap "setsid sh phoenix.sh $(($1 + 1)) & exit" TERM; ${up}; ${rest} & wait`,
};

/** Put what the commands need into the directory in which one of them is to run. */
export function prepare(workdir: string): void {
  mkdirSync(workdir, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(workdir, name), text);
}

export const isUp = (workdir: string): boolean => existsSync(join(workdir, "up"));

/** Living processes that work in the directory. */
export function workersIn(workdir: string): number[] {
  const pids = readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0);
  return pids.filter((pid) => linkOf(`/proc/${pid}/cwd`) === workdir || linkOf(`/proc/${pid}/task/${anyThread(pid)}/cwd`) === workdir).filter(isAlive);
}

/** Nobody works there, in many looks, and what forks for ever has not beaten meanwhile. */
export async function nobodyWorksIn(workdir: string): Promise<boolean> {
  const beats = (): number => (existsSync(join(workdir, "beat")) ? statSync(join(workdir, "beat")).size : 0);
  const before = beats();
  for (let look = 0; look < 10; look += 1) {
    if (workersIn(workdir).length > 0) return false;
    await pause(2);
  }
  return beats() === before;
}

/** However a test ends, nothing of it stays. */
export async function endWorkers(...workdirs: string[]): Promise<void> {
  // What goes on by its script ends without it.
  for (const workdir of workdirs) for (const name of Object.keys(files)) rmSync(join(workdir, name), { force: true });
  await eventually("nobody works in the test's directories", () => {
    const left = workdirs.flatMap(workersIn);
    for (const pid of left) kill(pid);
    return left.length === 0;
  });
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone meanwhile.
  }
}

const anyThread = (pid: number): string => threads(pid).at(-1) ?? "none";

function threads(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

function linkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
