import { realDisk, type Disk, type DiskFile } from "../../packages/daemon/src/disk.ts";

/** The machine's disk, except that an armed step fails: before it did anything, or after it was done and could not be made sure of. */
export type Failure = "once, before" | "once, after" | "from then on";

const full = () => Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });

export class StepwiseDisk implements Disk {
  readonly #real = realDisk();
  #step = 0;
  #at = 0;
  #how: Failure = "once, before";
  /** What the failed step was; null while none has failed. */
  failed: string | null = null;

  /** The k-th step from now on fails. */
  arm(k: number, how: Failure): void {
    this.#step = 0;
    this.#at = k;
    this.#how = how;
    this.failed = null;
  }

  disarm(): void {
    this.#at = 0;
  }

  async #do<T>(what: string, work: () => Promise<T>): Promise<T> {
    this.#step += 1;
    const due = this.#at > 0 && (this.#step === this.#at || (this.#how === "from then on" && this.#step > this.#at));
    if (!due) return work();
    this.failed ??= what;
    if (this.#how === "once, after") await work();
    throw full();
  }

  readText = (path: string) => this.#do("readText", () => this.#real.readText(path));
  replace = (path: string, text: string) => this.#do(`replace ${path.split("/").at(-1)}`, () => this.#real.replace(path, text));
  makeDirectory = (path: string) => this.#do("makeDirectory", () => this.#real.makeDirectory(path));
  list = (path: string) => this.#do("list", () => this.#real.list(path));
  rename = (from: string, to: string) => this.#do("rename", () => this.#real.rename(from, to));
  remove = (path: string) => this.#do("remove", () => this.#real.remove(path));
  syncDirectory = (path: string) => this.#do("syncDirectory", () => this.#real.syncDirectory(path));

  async open(path: string, mode: "read" | "write"): Promise<DiskFile> {
    let opened: DiskFile | null = null;
    const file = await this.#do("open", async () => (opened = await this.#real.open(path, mode))).catch(async (error: unknown) => {
      await opened?.close();
      throw error;
    });
    return {
      ...file,
      write: (position, bytes) => this.#do("write", () => file.write(position, bytes)),
      datasync: () => this.#do("datasync", () => file.datasync()),
      truncate: (length) => this.#do("truncate", () => file.truncate(length)),
    };
  }
}
