import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { DaemonHome } from "./daemon-home.ts";
import { eventually } from "./eventually.ts";

/**
 * Stops the real daemons of a home at one exact operation on a file, whoever starts them: they are loaded with
 * test/fixtures/halting.mjs, which wraps node's own file functions.
 */
export interface HaltPoint {
  readonly op: "open" | "read" | "write" | "writeFile" | "datasync" | "sync" | "truncate" | "rename" | "mkdir" | "readFile" | "readdir" | "rm";
  /** Of the path as the daemon names it; of a rename the old one. */
  readonly path: RegExp;
  /** Of a write: what its bytes begin with. */
  readonly begins?: string;
  /** `half`: a write of which only the first half has reached the file. */
  readonly when: "before" | "half" | "after";
  /** `kill`: SIGKILL in that very step. `hold`: the operation never returns, and everything else goes on. */
  readonly act: "kill" | "hold";
  /** Which of those that match, from now on; the first unless given. */
  readonly nth?: number;
}

const fixture = resolve(import.meta.dirname, "../fixtures/halting.mjs");

export class Halt {
  readonly #directory: string;
  #orders = 0;

  /** Before the first daemon of this home is started. */
  constructor(home: DaemonHome) {
    this.#directory = join(home.root, "halt");
    mkdirSync(this.#directory);
    home.env["NODE_OPTIONS"] = `--import=${fixture}`;
    home.env["HALT_DIR"] = this.#directory;
  }

  arm({ op, path, begins, when, act, nth = 1 }: HaltPoint): void {
    this.disarm();
    // Each order is another text, so that a daemon that knows the last one counts anew.
    const order = { order: ++this.#orders, op, path: path.source, begins, when, act, nth };
    writeFileSync(this.#path("new"), JSON.stringify(order));
    renameSync(this.#path("new"), this.#path("armed"));
  }

  disarm(): void {
    rmSync(this.#path("armed"), { force: true });
    rmSync(this.#path("hit"), { force: true });
  }

  get hit(): boolean {
    return existsSync(this.#path("hit"));
  }

  /** Resolves when a daemon has come to the operation. @param unless  holds: it never will; with what then is said */
  async reached(unless: () => boolean = () => false, otherwise = "the operation was never done"): Promise<void> {
    await eventually("a daemon comes to the operation", () => {
      if (this.hit) return true;
      if (unless() && !this.hit) throw new Error(otherwise);
      return false;
    });
  }

  /** Files that took another's name before they were on disk: `from -> to`. */
  get unsynced(): string[] {
    return existsSync(this.#path("unsynced")) ? readFileSync(this.#path("unsynced"), "utf8").split("\n").filter(Boolean) : [];
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}
