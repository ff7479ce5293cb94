import type { ChildProcess } from "node:child_process";
import { Writable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { limits } from "@sessiond/shared";
import { asChildOf, isThere, signalIfSame, type Found } from "./process-table.ts";

/**
 * How a program is started that runs a command's shell in a sandbox: with nothing of the daemon's
 * environment, and told on a descriptor what nobody else may read.
 */
export interface Enclosure {
  /** Its path and its arguments, up to where the shell's begin. They are public. */
  readonly words: readonly string[];
  /** What it reads from descriptor 3: there the environment stands, which is nobody's but the command's. It tells about itself on 4. */
  readonly fed: string;
  /** What it reads from descriptor 5: which system calls it and all in it get. */
  readonly filter: Uint8Array;
  /** Directories that it is given, from descriptor 6 on. */
  readonly descriptors: readonly number[];
}

/** A sandbox that was started. */
export interface Held {
  /** Resolves when nothing that was in it lives, which only what is stuck in the kernel delays for long. Never rejects. */
  end(): Promise<void>;
}

const pollMs = 5;

/** What could not be started reads nothing, and says why where the command's errors go. */
export function feed(child: ChildProcess, descriptor: number, what: string | Uint8Array): void {
  const input = child.stdio.at(descriptor);
  input?.on("error", () => undefined);
  if (input instanceof Writable) input.end(what);
}

export function hold(child: ChildProcess, { fed, filter }: Pick<Enclosure, "fed" | "filter">): Held {
  feed(child, 3, fed);
  feed(child, 5, filter);
  const report = child.stdio[4];
  let told = "";
  let first: Pick<Found, "pid" | "startTime"> | undefined;
  report?.on("error", () => undefined);
  report?.on("data", (piece: Buffer) => {
    told += piece.toString("latin1");
    const pid = Number(/"child-pid":\s*(\d+)\D/.exec(told)?.[1]);
    // While what holds it is not collected its number is nobody else's, and what it has as a child is what it started.
    const isHolding = child.pid !== undefined && child.exitCode === null && child.signalCode === null;
    if (pid > 0 && isHolding) first ??= asChildOf(child.pid, pid) ?? undefined;
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
