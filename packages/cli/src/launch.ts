import { createRequire } from "node:module";
import { join } from "node:path";
import { Script } from "node:vm";
import { bytesOf, keepCode, keptCode, letGo, ownDirectory } from "./kept-code.ts";

/**
 * Runs a bundle beside this file, with the code that V8 made of it at an earlier start (kept-code.ts): to compile took a
 * third of a start's CPU time. Where there is none, or V8 does not take it, the text is compiled, and the next start has it.
 */
type Exports = Readonly<Record<string, unknown>>;

/** Compiled by this start. */
interface Fresh {
  readonly path: string;
  readonly text: Buffer;
  readonly script: Script;
}

/** What is smaller is compiled sooner than its code is read. */
const textBytesMin = 16 * 1024;
const settledMs = 2_000;
const parameters = '(function (exports, require, __filename, __dirname) { "use strict";';

/** @param keep  false where so little of it is run that the next start had better make its own */
export function launch(dist: string, entry: string, keep: boolean): void {
  const cache = ownDirectory();
  const loaded = new Map<string, Exports>();
  const fresh: Fresh[] = [];

  function load(name: string): Exports {
    const before = loaded.get(name);
    if (before !== undefined) return before;
    const exports: Exports = {};
    // Before it is run: its parts ask for it in turn.
    loaded.set(name, exports);
    try {
      run(name, exports);
    } catch (error) {
      // As `require` has it: who asks again, when there are descriptors or the file is back, gets all of it.
      loaded.delete(name);
      throw error;
    }
    return exports;
  }

  function run(name: string, exports: Exports): void {
    const filename = join(dist, name);
    const text = bytesOf(filename);
    const path = cache === null || text.length < textBytesMin ? null : join(cache, `${name}.code`);
    const cachedData = path === null ? undefined : keptCode(path, text);
    const script = new Script(`${parameters}${text.toString("latin1")}\n})`, {
      filename,
      columnOffset: -parameters.length,
      ...(cachedData && { cachedData }),
    });
    if (cachedData !== undefined) letGo(cachedData);
    if (path !== null && (cachedData === undefined || script.cachedDataRejected === true)) fresh.push({ path, text, script });
    else letGo(text);
    const beside = createRequire(filename);
    const require = (wanted: string): unknown => (wanted.startsWith("./") ? load(wanted.slice(2)) : beside(wanted));
    // In the place of `import()` (scripts/build.mjs).
    require.import = (specifier: string): Promise<unknown> => import(specifier);
    (script.runInThisContext() as (...given: unknown[]) => void)(exports, require, filename, dist);
  }

  load(entry);
  if (!keep) return;
  const write = (): void => fresh.splice(0).forEach(({ path, text, script }) => keepCode(path, text, script));
  // When what is needed to be there has been run, or at the end of what ends before.
  setTimeout(write, settledMs).unref();
  process.once("exit", write);
}
