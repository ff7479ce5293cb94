import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmdirSync, rmSync, statSync, truncateSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Whether this account may mount here; a suite that needs it is skipped with a sentence where it may not. */
export const mayMount: boolean = (() => {
  const at = mkdtempSync(join(tmpdir(), "ssm-"));
  const mounted = process.getuid?.() === 0 && spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", at]).status === 0;
  if (mounted) spawnSync("umount", [at]);
  rmdirSync(at);
  return mounted;
})();

/**
 * A disk of its own for one directory: a small tmpfs, which a filler file fills to the
 * last page. `unmount` always works, whoever still has files open on it.
 */
export class SmallDisk {
  readonly path: string;
  readonly #filler: string;

  constructor(path: string, bytes: number) {
    this.path = path;
    this.#filler = join(path, "filler");
    mkdirSync(path, { recursive: true, mode: 0o700 });
    run("mount", "-t", "tmpfs", "-o", `size=${bytes},mode=0700`, "tmpfs", path);
  }

  /** Take all room but so much, in whole pages. */
  fill(left = 0): void {
    const file = openSync(this.#filler, "a", 0o600);
    try {
      const piece = Buffer.alloc(65_536);
      for (;;) writeSync(file, piece);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    } finally {
      closeSync(file);
    }
    if (left > 0) truncateSync(this.#filler, Math.max(0, statSync(this.#filler).size - left));
  }

  /** Give back what was taken. */
  clear(): void {
    rmSync(this.#filler, { force: true });
  }

  resize(bytes: number): void {
    run("mount", "-o", `remount,size=${bytes}`, this.path);
  }

  unmount(): void {
    // What was laid over it goes first.
    while (spawnSync("umount", ["--lazy", this.path]).status === 0);
  }
}

/** From here on nothing new is opened for writing in a directory; what is open already writes on. @returns undoes it */
export function readOnly(path: string): () => void {
  run("mount", "--bind", path, path);
  // Busy, while somebody who came in between has a file open for writing.
  for (let tries = 0; spawnSync("mount", ["-o", "remount,bind,ro", path]).status !== 0; tries++) {
    if (tries < 200) continue;
    run("umount", "--lazy", path);
    throw new Error(`${path} cannot be made read-only`);
  }
  return () => run("umount", "--lazy", path);
}

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
}
