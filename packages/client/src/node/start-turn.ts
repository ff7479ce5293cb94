import { mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "@sessiond/shared";

/**
 * Whose turn it is to start a daemon, so that many clients that find none start one and not one
 * each. Only a courtesy: a file that its writer touches while it tries. It decides nothing, because
 * the lock in the daemon does; whoever cannot read or write it starts one at once, and one whose
 * writer is not heard of any more holds up the others for `start_turn_ms`.
 */
export class StartTurn {
  readonly #directory: string;
  readonly #path: string;
  #mine = false;

  constructor(runtimeDir: string) {
    this.#directory = runtimeDir;
    this.#path = join(runtimeDir, "starting");
  }

  /** @returns true when it is ours now; also to be called while it is, so that it stays so */
  take(): boolean {
    try {
      if (!this.#mine && this.#make()) return true;
      if (!this.#mine && Math.abs(Date.now() - statSync(this.#path).mtimeMs) < limits.start_turn_ms) return false;
      const now = new Date();
      utimesSync(this.#path, now, now);
    } catch {
      // It cannot be written there, or is gone again.
    }
    return (this.#mine = true);
  }

  leave(): void {
    try {
      if (this.#mine) rmSync(this.#path, { force: true });
    } catch {
      // It grows stale by itself.
    }
    this.#mine = false;
  }

  #make(): boolean {
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      writeFileSync(this.#path, "", { flag: "wx", mode: 0o600 });
      return (this.#mine = true);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
      throw error;
    }
  }
}
