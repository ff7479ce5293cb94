import { basename, dirname, join } from "node:path";
import type { Disk, DiskFile } from "../../packages/daemon/src/disk.ts";
import type { Chance } from "../support/chance.ts";
import type { Faults } from "./faults.ts";
import { Directory, errno, Inode, type Platter } from "./platter.ts";
import type { OperationKind, Scheduler } from "./scheduler.ts";

/**
 * The disk as one run of the daemon sees it. Each operation waits until the scheduler lets it come
 * true; then it may fail, in whole or after a part of it, or take the daemon with it. Of a run that
 * has ended nothing reaches the platter any more.
 */
export interface DiskParts {
  readonly platter: Platter;
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  chance(): Chance;
  /** A file has more in it. */
  written(path: string): void;
  /** The process is killed, or the power goes, in this very step. */
  crash(power: boolean): void;
}

/** How much of an operation comes true: nothing, a part, or all. */
type Effect<T> = (share: number) => T;

export class SimDisk implements Disk {
  readonly #parts: DiskParts;
  #dead = false;
  #writes = 0;

  constructor(parts: DiskParts) {
    this.#parts = parts;
  }

  /** Its process is gone. */
  end(): void {
    this.#dead = true;
  }

  readText(path: string): Promise<string | null> {
    return this.#run("read", path, () => this.#platter.file(path)?.bytes.toString("utf8") ?? null);
  }

  replace(path: string, text: string): Promise<void> {
    const temporary = join(dirname(path), `.${basename(path)}.1-${++this.#writes}`);
    return this.#run("replace", path, (share) => {
      const directory = this.#platter.directory(dirname(path));
      const inode = this.#platter.create(temporary);
      inode.write(0, Buffer.from(text));
      if (share < 0.4) return;
      inode.sync();
      this.#platter.rename(temporary, path);
      if (share === 1) directory.sync();
    });
  }

  makeDirectory(path: string): Promise<boolean> {
    return this.#run("directory", path, (share) => share === 1 && this.#platter.make(path));
  }

  list(path: string): Promise<string[]> {
    return this.#run("read", path, () => {
      const node = this.#platter.find(path);
      return node instanceof Directory ? [...node.names.keys()] : [];
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run("rename", from, (share) => (share === 1 ? this.#platter.rename(from, to) : undefined));
  }

  remove(path: string): Promise<void> {
    return this.#run("remove", path, (share) => this.#platter.remove(path, share));
  }

  syncDirectory(path: string): Promise<void> {
    return this.#run("directory_sync", path, (share) => (share === 1 ? this.#platter.directory(path).sync() : undefined));
  }

  async open(path: string, mode: "read" | "write"): Promise<DiskFile> {
    const inode = await this.#run("open", path, () => {
      const found = mode === "write" ? this.#platter.create(path) : this.#platter.file(path);
      if (!(found instanceof Inode)) throw errno("ENOENT", path);
      return found;
    });
    return {
      size: () => this.#run("read", path, () => inode.bytes.length),
      read: (position, length) => this.#run("read", path, () => Buffer.from(inode.bytes.subarray(position, position + length))),
      write: (position, bytes) => {
        const copy = Buffer.from(bytes);
        return this.#run("write", path, (share) => inode.write(position, share === 1 ? copy : copy.subarray(0, Math.floor(copy.length * share))));
      },
      datasync: () => this.#run("sync", path, (share) => (share === 1 ? inode.sync() : undefined)),
      truncate: (length) => this.#run("truncate", path, (share) => (share === 1 ? inode.truncate(length) : undefined)),
      close: () => Promise.resolve(),
    };
  }

  get #platter(): Platter {
    return this.#parts.platter;
  }

  /** @param effect  with the share of it that comes true; not called where nothing does */
  #run<T>(kind: OperationKind, path: string, effect: Effect<T>): Promise<T> {
    const { scheduler, faults } = this.#parts;
    // Its process is gone: whoever still runs in it waits for ever.
    if (this.#dead) return new Promise(() => undefined);
    const slow = faults.judge({ kind, path }, true);
    return new Promise<T>((resolve, reject) => {
      const partly = (): void => {
        try {
          effect(0.1 + this.#parts.chance().upTo(0.8));
        } catch {
          // What it was about is not there.
        }
      };
      scheduler.add({
        kind,
        path,
        due: scheduler.tick + (slow?.type === "slow" ? slow.ticks : 0),
        complete: () => {
          const fault = faults.judge({ kind, path }, false);
          if (fault?.type === "crash") return this.#crash(fault, partly, () => effect(1));
          if (fault?.type === "fail") {
            if (fault.effect === "part") partly();
            if (fault.effect === "all") effect(1);
            return reject(errno(fault.code, `${kind} ${basename(path)}`));
          }
          try {
            const result = effect(1);
            if (kind === "write") this.#parts.written(path);
            resolve(result);
          } catch (error) {
            reject(error as Error);
          }
        },
        cutShort: (chance) => {
          const share = chance.upTo(3);
          if (share < 1) partly();
          else if (share < 2) this.#quietly(effect);
        },
      });
    });
  }

  #crash({ moment, power }: { moment: "before" | "during" | "after"; power: boolean }, partly: () => void, whole: () => void): void {
    if (moment === "during") partly();
    if (moment === "after") whole();
    this.#parts.crash(power);
  }

  #quietly(effect: Effect<unknown>): void {
    try {
      effect(1);
    } catch {
      // What it was about is not there.
    }
  }
}
