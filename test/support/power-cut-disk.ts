import { mkdir, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { realDisk, type Disk, type DiskFile } from "../../packages/daemon/src/disk.ts";

/**
 * The real disk, which knows what a power cut would leave of it: of each file what was there at
 * its last sync, and of each directory the names at its last sync. A name that was changed since
 * may be the old one or the new one; both are tried.
 */
interface Inode {
  synced: Buffer;
}
type Names = ReadonlyMap<string, Inode>;
export interface Left {
  readonly step: number;
  readonly what: string;
  readonly files: ReadonlyMap<string, Buffer>;
}

export class PowerCutDisk implements Disk {
  readonly #real = realDisk();
  #names: Names = new Map();
  #durable: Names = new Map();
  #step = 0;
  /** What each step left, from the beginning; names as they were synced, and names as they were seen. */
  readonly left: Left[] = [];

  #done(what: string): void {
    this.#step += 1;
    for (const names of [this.#durable, this.#names])
      this.left.push({ step: this.#step, what, files: new Map([...names].map(([path, { synced }]) => [path, synced])) });
  }

  readText = (path: string) => this.#real.readText(path);
  replace = (path: string, text: string) => this.#real.replace(path, text);
  makeDirectory = (path: string) => this.#real.makeDirectory(path);
  list = (path: string) => this.#real.list(path);

  async rename(from: string, to: string): Promise<void> {
    await this.#real.rename(from, to);
    const names = new Map(this.#names);
    const moved = names.get(from);
    names.delete(from);
    if (moved !== undefined) names.set(to, moved);
    this.#names = names;
    this.#done("rename");
  }

  async remove(path: string): Promise<void> {
    await this.#real.remove(path);
    const names = new Map(this.#names);
    names.delete(path);
    this.#names = names;
    this.#done("remove");
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#real.syncDirectory(path);
    const others = [...this.#durable].filter(([name]) => dirname(name) !== path);
    this.#durable = new Map([...others, ...[...this.#names].filter(([name]) => dirname(name) === path)]);
    this.#done("syncDirectory");
  }

  async open(path: string, mode: "read" | "write"): Promise<DiskFile> {
    const file = await this.#real.open(path, mode);
    if (mode === "read") return file;
    let inode = this.#names.get(path);
    if (inode === undefined) this.#names = new Map(this.#names).set(path, (inode = { synced: Buffer.alloc(0) }));
    const own = inode;
    return {
      ...file,
      datasync: async () => {
        await file.datasync();
        own.synced = await file.read(0, await file.size());
        this.#done("datasync");
      },
    };
  }
}

/** Makes of it what a start finds. */
export async function restore(left: Left, directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const [path, bytes] of left.files) await writeFile(join(directory, basename(path)), bytes);
}
