import childProcess from "node:child_process";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

/**
 * Lets a test do something just before the n-th call of the system that is made with a name, in this process:
 * so that every moment between a look and a use is tried, and none is left to chance.
 */
const ofNames = ["access", "chmod", "lstat", "mkdir", "open", "readdir", "readlink", "realpath", "rename", "stat", "unlink"] as const;
const ofNamesSync = ["existsSync", "lstatSync", "mkdirSync", "openSync", "readlinkSync", "realpathSync", "statSync"] as const;

type Call = (...given: unknown[]) => unknown;

export class BetweenCalls {
  /** How many there were. */
  count = 0;
  readonly #undo: (() => void)[] = [];

  /** @param before  called before each, with its name and how many came before it; what it does itself is not counted */
  constructor(before: (name: string, count: number) => void) {
    let acting = false;
    const patch = (owner: object, name: string): void => {
      const original = Reflect.get(owner, name) as Call;
      const patched: Call = (...given) => {
        if (!acting) {
          acting = true;
          before(name, this.count);
          this.count += 1;
          acting = false;
        }
        return original.apply(owner, given);
      };
      Reflect.set(owner, name, Object.assign(patched, original));
      this.#undo.push(() => void Reflect.set(owner, name, original));
    };
    for (const name of ofNames) patch(fs.promises, name);
    for (const name of ofNamesSync) patch(fs, name);
    patch(childProcess, "spawn");
    syncBuiltinESMExports();
  }

  end(): void {
    for (const undo of this.#undo) undo();
    syncBuiltinESMExports();
  }
}
