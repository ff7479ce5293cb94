import { realDisk, type Disk } from "../../packages/daemon/src/disk.ts";

/** The machine's disk, with a note of each name that was used, by the step that used it. */
export class NotingDisk implements Disk {
  readonly #real = realDisk();
  readonly noted: { readonly step: keyof Disk; readonly path: string }[] = [];

  #note<T>(step: keyof Disk, path: string, work: () => Promise<T>): Promise<T> {
    this.noted.push({ step, path });
    return work();
  }

  readText = (path: string) => this.#note("readText", path, () => this.#real.readText(path));
  replace = (path: string, text: string) => this.#note("replace", path, () => this.#real.replace(path, text));
  makeDirectory = (path: string) => this.#note("makeDirectory", path, () => this.#real.makeDirectory(path));
  list = (path: string) => this.#note("list", path, () => this.#real.list(path));
  rename = (from: string, to: string) => this.#note("rename", from, () => this.#real.rename(from, to));
  remove = (path: string) => this.#note("remove", path, () => this.#real.remove(path));
  syncDirectory = (path: string) => this.#note("syncDirectory", path, () => this.#real.syncDirectory(path));
  open: Disk["open"] = (path, mode) => this.#note("open", path, () => this.#real.open(path, mode));
}
