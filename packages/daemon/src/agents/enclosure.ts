import type { ChildProcess, IOType } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";
import { Writable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { limits } from "@sessiond/shared";
import { isThere, signalIfSame, startTimeOf } from "./process-table.ts";

/**
 * How a program is started that runs a command's shell in a sandbox: with nothing of the daemon's,
 * neither environment nor descriptors, and told on a descriptor what nobody else may read.
 */
export interface Enclosure {
  /** Its path and its arguments, up to where the shell's begin. They are public. */
  readonly words: readonly string[];
  /** What it reads from descriptor 3: there the environment stands, which is nobody's but the command's. It tells about itself on 4. */
  readonly fed: string;
}

/** A sandbox that was started. */
export interface Held {
  /** Resolves when nothing that was in it lives, which only what is stuck in the kernel delays for long. Never rejects. */
  end(): Promise<void>;
}

const pollMs = 5;

/** @param start  called with what stands behind descriptor 2 */
export function startedWith<C>(start: (descriptors: (IOType | number)[]) => C): C {
  const nothing = openSync("/dev/null", "r+");
  try {
    const descriptors: (IOType | number)[] = ["pipe", "pipe"];
    // Whoever started the daemon may have left it files and sockets; what is in their place here is nothing.
    for (const fd of inherited()) {
      while (descriptors.length < fd - 3) descriptors.push("ignore");
      if (fd > 4) descriptors[fd - 3] = nothing;
    }
    return start(descriptors);
  } finally {
    closeSync(nothing);
  }
}

const closedOnExec = 0o2000000;

/** Descriptors of this process that its children would get, in ascending order. */
function inherited(): number[] {
  const fds = readdirSync("/proc/self/fd").map(Number);
  return fds.filter((fd) => fd > 2 && (flagsOf(fd) & closedOnExec) === 0).toSorted((a, b) => a - b);
}

function flagsOf(fd: number): number {
  try {
    return Number.parseInt(/^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))?.[1] ?? "0", 8);
  } catch {
    // That by which they were listed is gone.
    return closedOnExec;
  }
}

export function hold(child: ChildProcess, fed: string): Held {
  const [, , , input, report] = child.stdio;
  // One that could not be made reads nothing, and says why where the command's errors go.
  input?.on("error", () => undefined);
  if (input instanceof Writable) input.end(fed);
  let told = "";
  let first: { readonly pid: number; readonly startTime: number } | undefined;
  report?.on("error", () => undefined);
  report?.on("data", (piece: Buffer) => {
    told += piece.toString("latin1");
    const pid = Number(/"child-pid":\s*(\d+)\D/.exec(told)?.[1]);
    const startTime = pid > 0 ? startTimeOf(pid) : null;
    if (startTime !== null) first ??= { pid, startTime };
  });
  return {
    async end() {
      // Whatever has become of its parent, its words or its wish to die: all others die with the sandbox's first process, and it goes last.
      if (first !== undefined) signalIfSame(first, "SIGKILL");
      const isHeld = (): boolean => first !== undefined && isThere(first);
      for (const until = performance.now() + limits.kill_chase_ms; isHeld() && performance.now() < until;) await pause(pollMs);
    },
  };
}
