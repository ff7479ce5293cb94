import { constants } from "node:fs";
import { lstat, open, readdir, realpath, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { HeldDirectory, identity } from "./held-directory.ts";
import { ToolError } from "./tools/tool.ts";
import type { Workdir } from "./workdir.ts";

/**
 * Decides which files the file tools may touch: those in the workdir, by real path, and never
 * one in the daemon's own directories, whatever the workdir and whatever link leads there.
 *
 * A directory is known by its identity (device and inode), not only by its name: so bind mounts
 * and file systems that ignore case make no way in. A path may change between the look and the use:
 * so what is judged is used from the workdir down, by directories that are held, through no link.
 */
export const isInside = (path: string, dir: string): boolean => path === dir || path.startsWith(dir.endsWith(sep) ? dir : dir + sep);

export class Paths {
  readonly workdir: string;
  readonly #workdir: Workdir;
  readonly #forbidden: readonly string[];

  /** @param forbidden  the daemon's directories, and files of its own elsewhere; they need not exist yet */
  constructor(workdir: Workdir, forbidden: readonly string[]) {
    this.workdir = workdir.path;
    this.#workdir = workdir;
    this.#forbidden = forbidden;
  }

  /** @throws ToolError when the working directory is not where it was */
  async mustStand(): Promise<void> {
    const held = await this.#workdir.hold();
    // Not waited for: the answer is known, and a question stands behind it.
    void held.close().catch(() => undefined);
  }

  /**
   * The real path of what the model named; it need not exist.
   *
   * @throws ToolError when it lies outside the workdir or in a forbidden directory, or the workdir is not where it was
   */
  async resolve(path: string): Promise<string> {
    if (path.includes("\0")) throw new ToolError("The path holds a NUL character.");
    await this.mustStand();
    const real = await realPathOf(resolve(this.workdir, path));
    if (!isInside(real, this.workdir)) throw new ToolError(`${path} lies outside the working directory; only files in it can be used.`);
    if (await this.#isForbidden(real)) throw new ToolError(`${path} belongs to sessiond itself and cannot be used.`);
    return real;
  }

  /** As the model should name it. */
  show(real: string): string {
    return relative(this.workdir, real) || ".";
  }

  /** True when `real` is a forbidden directory or lies in one. */
  async #isForbidden(real: string): Promise<boolean> {
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
   * The directory at a path from `resolve`, as it stands now: to be closed.
   *
   * @param make  the mode of what is not there yet; else it must be
   * @throws ToolError when it is not where it seemed to be
   */
  async hold(real: string, make?: number): Promise<HeldDirectory> {
    const parts = relative(this.workdir, real).split(sep);
    let held = await this.#workdir.hold();
    for (const part of parts.filter((each) => each !== "")) held = await held.released((parent) => this.holdIn(parent, part, make));
    return held;
  }

  /** The same, of one step. */
  async holdIn(parent: HeldDirectory, name: string, make?: number): Promise<HeldDirectory> {
    const held = await parent.child(name, make);
    const forbidden = await Promise.all(this.#forbidden.map(identityOf));
    if (!forbidden.includes(held.id)) return held;
    await held.close();
    throw new ToolError(`${this.show(held.path)} belongs to sessiond itself and cannot be used.`);
  }

  /**
   * Open a regular file for reading, by a path from `resolve`.
   *
   * @throws ToolError when it is no regular file, or is not where it seemed to be
   */
  async open(real: string): Promise<FileHandle> {
    if (real === this.workdir) throw new ToolError(". is not a regular file.");
    const dir = await this.hold(dirname(real));
    return dir.released(() => this.openIn(dir, basename(real)));
  }

  async openIn(dir: HeldDirectory, name: string): Promise<FileHandle> {
    // Not blocking: opening a named pipe would wait for its writer for ever.
    const file = await open(dir.at(name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const facts = await file.stat();
      const shown = this.show(join(dir.path, name));
      if (!facts.isFile()) throw new ToolError(`${shown} is not a regular file.`);
      if (await this.#isForbiddenFile(facts)) throw new ToolError(`${shown} belongs to sessiond itself and cannot be used.`);
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** One that is named itself; of a hard link no path tells: compare with what lies in the forbidden directories on the same device. */
  async #isForbiddenFile(facts: { dev: number; ino: number; nlink: number }): Promise<boolean> {
    for (const dir of this.#forbidden) {
      const own = await stat(dir).catch(() => null);
      if (own?.dev !== facts.dev) continue;
      if (own.ino === facts.ino) return true;
      if (facts.nlink < 2) continue;
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
