import { realDisk, type Disk, type DiskFile } from "../../packages/daemon/src/disk.ts";

/**
 * The real disk, with a hand on it: the n-th write, sync or replacement of files whose path
 * contains a text can be made to fail, or to wait. Counts what was done.
 */
export type Step = "write" | "sync" | "replace" | "open" | "read";

interface Trap {
  readonly step: Step;
  readonly file: string;
  /** How many matching steps pass first. */
  skip: number;
  /** How many are caught. */
  times: number;
  act(): Promise<void>;
}

export interface Hold {
  /** Resolves when the step has been reached and waits. */
  readonly reached: Promise<void>;
  /** Let it go on; with a code, it fails instead. */
  release(code?: "EIO" | "ENOSPC"): void;
}

const failure = (code: string, step: Step): Error => Object.assign(new Error(`${code}: made to fail, ${step}`), { code });

export class TrappedDisk implements Disk {
  readonly #real = realDisk();
  readonly #traps: Trap[] = [];
  readonly counts: Record<Step, number> = { write: 0, sync: 0, replace: 0, open: 0, read: 0 };
  /** The most journal writes, and journal syncs, that were ever under way at once. */
  readonly most = { write: 0, sync: 0 };
  readonly #under = { write: 0, sync: 0 };

  /** Fail matching steps: `skip` of them pass before. @returns what resolves at the first failure */
  fail(step: Step, file: string, { code = "EIO", skip = 0, times = 1 }: { code?: "EIO" | "ENOSPC"; skip?: number; times?: number } = {}): Promise<void> {
    return new Promise((reach) => {
      this.#traps.push({
        step,
        file,
        skip,
        times,
        act: () => {
          reach();
          return Promise.reject(failure(code, step));
        },
      });
    });
  }

  /** Make one matching step wait until it is released. */
  hold(step: Step, file: string, skip = 0): Hold {
    let reach = (): void => undefined;
    let release: Hold["release"] = () => undefined;
    const reached = new Promise<void>((resolve) => (reach = resolve));
    const released = new Promise<void>((resolve, reject) => {
      release = (code) => (code === undefined ? resolve() : reject(failure(code, step)));
    });
    this.#traps.push({
      step,
      file,
      skip,
      times: 1,
      act: () => {
        reach();
        return released;
      },
    });
    return { reached, release };
  }

  /** Nothing fails any more. */
  mend(): void {
    this.#traps.length = 0;
  }

  async #step(step: Step, path: string): Promise<void> {
    this.counts[step] += 1;
    for (const trap of this.#traps) {
      if (trap.step !== step || trap.times === 0 || !path.includes(trap.file)) continue;
      if (trap.skip > 0) {
        trap.skip -= 1;
        continue;
      }
      trap.times -= 1;
      await trap.act();
      return;
    }
  }

  async #counted<T>(step: "write" | "sync", path: string, work: () => Promise<T>): Promise<T> {
    if (path.endsWith("/journal")) this.most[step] = Math.max(this.most[step], ++this.#under[step]);
    try {
      await this.#step(step, path);
      return await work();
    } finally {
      if (path.endsWith("/journal")) this.#under[step] -= 1;
    }
  }

  readText(path: string): Promise<string | null> {
    return this.#real.readText(path);
  }
  async replace(path: string, text: string): Promise<void> {
    await this.#step("replace", path);
    await this.#real.replace(path, text);
  }
  makeDirectory(path: string): Promise<boolean> {
    return this.#real.makeDirectory(path);
  }
  list(path: string): Promise<string[]> {
    return this.#real.list(path);
  }
  rename(from: string, to: string): Promise<void> {
    return this.#real.rename(from, to);
  }
  remove(path: string): Promise<void> {
    return this.#real.remove(path);
  }
  syncDirectory(path: string): Promise<void> {
    return this.#real.syncDirectory(path);
  }

  async open(path: string, mode: "read" | "write"): Promise<DiskFile> {
    await this.#step("open", path);
    const file = await this.#real.open(path, mode);
    const running = new Set<Promise<void>>();
    const run = (step: "write" | "sync", work: () => Promise<void>): Promise<void> => {
      const done = this.#counted(step, path, work).finally(() => running.delete(done));
      running.add(done);
      return done;
    };
    return {
      size: () => file.size(),
      read: async (position, length) => {
        await this.#step("read", path);
        return file.read(position, length);
      },
      write: (position, bytes) => run("write", () => file.write(position, bytes)),
      datasync: () => run("sync", () => file.datasync()),
      truncate: (length) => file.truncate(length),
      // As Node does: what is under way ends first.
      close: async () => {
        await Promise.allSettled(running);
        await file.close();
      },
    };
  }
}
