import { closeSync, fstatSync, lstatSync, mkdirSync, openSync, readSync, renameSync, rmSync, statSync, writeFileSync, type Stats } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { cachedDataVersionTag } from "node:v8";
import { Script } from "node:vm";
import { crc32 } from "node:zlib";

/**
 * Runs a bundle beside this file, with the code that V8 made of it at an earlier start: to compile took a third of a start's
 * CPU time. What is kept lies in the account's cache directory, in which nobody else may write and no tool of an agent
 * (`Config.cacheDir`): it is run as the program is. It counts with a sum over it and the very text that it was made of,
 * because V8 itself looks at the text's length alone, and trusts the rest; where it does not fit, or this V8 does not know it,
 * the text is compiled, and the next start has it anew. Nothing here is why a start fails.
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
const sumBytes = 4;
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
  const write = (): void => fresh.splice(0).forEach(keepCode);
  // When what is needed to be there has been run, or at the end of what ends before.
  setTimeout(write, settledMs).unref();
  process.once("exit", write);
}

/** Null where there is none that is this account's alone. It is there from now on, so that what hides it from tools finds it. */
function ownDirectory(): string | null {
  try {
    const { HOME, XDG_CACHE_HOME: home } = process.env;
    const directory = join(home !== undefined && isAbsolute(home) ? home : join(HOME ?? homedir(), ".cache"), "sessiond");
    // Without a home it would be one of wherever this was started.
    if (!isAbsolute(directory)) return null;
    if (isOurs(nearest(directory))) mkdirSync(directory, { recursive: true, mode: 0o700 });
    const found = lstatSync(directory);
    return found.isDirectory() && isOurs(found) && (found.mode & 0o777) === 0o700 ? directory : null;
  } catch {
    return null;
  }
}

/** Itself, or the first above it that is there: in another's home, as with sudo, nothing is made. */
const nearest = (path: string): Stats => lstatSync(path, { throwIfNoEntry: false }) ?? nearest(dirname(path));

const isOurs = ({ uid }: Stats): boolean => uid === process.getuid?.();

// Of ES2024, and in Node 20.
const Resizable = ArrayBuffer as unknown as new (bytes: number, most: { maxByteLength: number }) => ArrayBuffer & { resize(bytes: number): void };

/** In memory of its own, to be let go of at once: an idle daemon collects its garbage late, and this would be megabytes of it. */
function bytesOf(path: string, mayBe: (found: Stats) => boolean = () => true): Buffer {
  const file = openSync(path, "r");
  try {
    const found = fstatSync(file);
    if (!mayBe(found)) throw new Error(`${path} is another's`);
    const { size } = found;
    const bytes = Buffer.from(new Resizable(size, { maxByteLength: size }));
    for (let at = 0, read = -1; at < size && read !== 0; at += read) read = readSync(file, bytes, at, size - at, at);
    return bytes;
  } finally {
    closeSync(file);
  }
}

const letGo = ({ buffer }: Buffer): void => (buffer as InstanceType<typeof Resizable>).resize(0);

function keptCode(path: string, text: Buffer): Buffer | undefined {
  try {
    // The directory may have been exchanged since it was looked at.
    const kept = bytesOf(path, (found) => found.isFile() && isOurs(found) && (found.mode & 0o077) === 0);
    const code = kept.subarray(sumBytes);
    return kept.readUInt32LE(0) === sumOf(text, code) ? code : undefined;
  } catch {
    return undefined;
  }
}

/** Whole or not at all, whoever else starts or ends meanwhile. */
function keepCode({ path, text, script }: Fresh): void {
  const temporary = `${path}.${process.pid}`;
  try {
    const code = script.createCachedData();
    const sum = Buffer.alloc(sumBytes);
    sum.writeUInt32LE(sumOf(text, code));
    writeFileSync(temporary, Buffer.concat([sum, code]), { mode: 0o600, flag: "wx" });
    renameSync(temporary, path);
  } catch {
    try {
      rmSync(temporary, { force: true });
    } catch {
      // Nothing can be written here, nor taken away.
    }
  }
}

/** Of what V8 would believe: it looks neither at the machine's kind nor at which build of it made the code. */
function sumOf(text: Buffer, code: Buffer): number {
  const { size, mtimeMs } = statSync(process.execPath);
  const maker = [process.version, process.platform, process.arch, cachedDataVersionTag(), size, mtimeMs].join(" ");
  return crc32(code, crc32(text, crc32(maker)));
}
