import { constants, existsSync, readlinkSync } from "node:fs";
import { mkdir, open, realpath } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { isErrno } from "../../disk.ts";

/**
 * A directory that is held open, so that what is done below it is done there, whatever becomes of
 * its name meanwhile: what may be renamed by another session's command is judged once it is held.
 *
 * Where the system shows a process its descriptors (Linux) everything goes by the descriptor;
 * elsewhere a name is looked at just before it is used, and a moment is left between the two.
 */
export const identity = (of: { dev: number; ino: number }): string => `${of.dev}:${of.ino}`;

/** Neither read nor listed by this, so it needs no permission to: only what is done below it does. Linux' O_PATH, which Node does not name. */
const asPlace = 0o10000000;

const showsDescriptors = (): boolean => existsSync("/proc/self/fd");

export class HeldDirectory {
  /** Where it was when it was opened; real. */
  readonly path: string;
  /** Device and inode. */
  readonly id: string;
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle, facts: { path: string; id: string }) {
    this.#handle = handle;
    this.path = facts.path;
    this.id = facts.id;
  }

  /** By its name, of which every part but the last may be a link: look at `path`. */
  static async open(name: string): Promise<HeldDirectory> {
    const byDescriptor = showsDescriptors();
    const handle = await open(name, constants.O_DIRECTORY | constants.O_NOFOLLOW | (byDescriptor ? asPlace : constants.O_RDONLY));
    try {
      const path = byDescriptor ? readlinkSync(`/proc/self/fd/${handle.fd}`) : await realpath(name);
      return new HeldDirectory(handle, { path, id: identity(await handle.stat()) });
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** For a child that is to be given it. */
  get fd(): number {
    return this.#handle.fd;
  }

  /** A name for what is in it, or for itself; good while it is held. The last part may be a link. */
  at(name = "."): string {
    return showsDescriptors() ? `/proc/self/fd/${this.fd}/${name}` : join(this.path, name);
  }

  /** One in it that is no link; made with that mode where there is none and `make` is given. */
  async child(name: string, make?: number): Promise<HeldDirectory> {
    try {
      return await HeldDirectory.open(this.at(name));
    } catch (error) {
      if (make === undefined || !isErrno(error, "ENOENT")) throw error;
    }
    await mkdir(this.at(name), make).catch((error: unknown) => (isErrno(error, "EEXIST") ? undefined : Promise.reject(error)));
    return HeldDirectory.open(this.at(name));
  }

  /** Let go of when the work on it is done, however that ends. */
  async released<T>(work: (held: HeldDirectory) => Promise<T>): Promise<T> {
    try {
      return await work(this);
    } finally {
      await this.close();
    }
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
