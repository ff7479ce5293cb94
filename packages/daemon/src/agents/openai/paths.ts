import { constants, readlinkSync } from "node:fs";
import { lstat, open, readdir, realpath, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { ToolError } from "./tools/tool.ts";

/**
 * Decides which files the file tools may touch: those in the workdir, by real path, and never
 * one in the daemon's own directories, whatever the workdir and whatever link leads there.
 *
 * A directory is known by its identity (device and inode), not only by its name: so bind mounts
 * and file systems that ignore case make no way in. What is opened is checked once more by its
 * descriptor, because a path may change between the look and the opening.
 */
export const isInside = (path: string, dir: string): boolean => path === dir || path.startsWith(dir.endsWith(sep) ? dir : dir + sep);

const identity = (of: { dev: number; ino: number }): string => `${of.dev}:${of.ino}`;

export class Paths {
  readonly workdir: string;
  readonly #forbidden: readonly string[];

  /**
   * @param workdir    real path
   * @param forbidden  the daemon's directories; they need not exist yet
   */
  constructor(workdir: string, forbidden: readonly string[]) {
    this.workdir = workdir;
    this.#forbidden = forbidden;
  }

  /**
   * The real path of what the model named; it need not exist.
   *
   * @throws ToolError when it lies outside the workdir or in a forbidden directory
   */
  async resolve(path: string): Promise<string> {
    if (path.includes("\0")) throw new ToolError("The path holds a NUL character.");
    const real = await realPathOf(resolve(this.workdir, path));
    if (!isInside(real, await realPathOf(this.workdir))) throw new ToolError(`${path} lies outside the working directory; only files in it can be used.`);
    if (await this.isForbidden(real)) throw new ToolError(`${path} belongs to sessiond itself and cannot be used.`);
    return real;
  }

  /** As the model should name it. */
  show(real: string): string {
    return relative(this.workdir, real) || ".";
  }

  /** True when `real` is a forbidden directory or lies in one. */
  async isForbidden(real: string): Promise<boolean> {
    const dirs = await Promise.all(this.#forbidden.map(async (dir) => ({ path: await realPathOf(resolve(dir)), id: await identityOf(dir) })));
    if (dirs.some((dir) => isInside(real, dir.path))) return true;
    const ids = new Set(dirs.map((dir) => dir.id));
    for (let path = real; ; path = dirname(path)) {
      const id = await identityOf(path);
      if (id !== null && ids.has(id)) return true;
      if (path === dirname(path)) return false;
    }
  }

  /**
   * Open a regular file for reading, by a path from `resolve` or found below one.
   *
   * @throws ToolError when it is no regular file, or is not where it seemed to be
   */
  async open(real: string): Promise<FileHandle> {
    // Not blocking: opening a named pipe would wait for its writer for ever.
    const file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const facts = await file.stat();
      if (!facts.isFile()) throw new ToolError(`${this.show(real)} is not a regular file.`);
      const opened = pathOfDescriptor(file.fd);
      if (opened !== null && opened !== real) await this.resolve(opened);
      if (facts.nlink > 1 && (await this.#isForbiddenFile(facts))) throw new ToolError(`${this.show(real)} belongs to sessiond itself and cannot be used.`);
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** A hard link has no path that tells: compare with what lies in the forbidden directories on the same device. */
  async #isForbiddenFile(facts: { dev: number; ino: number }): Promise<boolean> {
    for (const dir of this.#forbidden) {
      if ((await stat(dir).catch(() => null))?.dev !== facts.dev) continue;
      for (const entry of await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => [])) {
        if (entry.isFile() && (await identityOf(join(entry.parentPath, entry.name))) === identity(facts)) return true;
      }
    }
    return false;
  }
}

async function identityOf(path: string): Promise<string | null> {
  const facts = await stat(path).catch(() => null);
  return facts === null ? null : identity(facts);
}

/** The real path of the longest part that exists, with the rest behind it. */
async function realPathOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
  }
  // A link that leads nowhere could lead anywhere once its target is made.
  if ((await lstat(path).catch(() => null))?.isSymbolicLink() === true) throw new ToolError(`${basename(path)} is a link that leads nowhere.`);
  return join(await realPathOf(dirname(path)), basename(path));
}

function pathOfDescriptor(fd: number): string | null {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return null;
  }
}
