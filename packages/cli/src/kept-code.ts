import { closeSync, fstatSync, lstatSync, mkdirSync, openSync, readSync, renameSync, rmSync, statSync, writeFileSync, type Stats } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { cachedDataVersionTag } from "node:v8";
import type { Script } from "node:vm";
import { crc32 } from "node:zlib";

/**
 * The code that V8 made of a text at an earlier start, in the account's cache directory, in which nobody else may write and
 * no tool of an agent (`Config.cacheDir`): it is run as the program is. It counts with a sum over it, the very text that it
 * was made of and the Node that made it, because V8 looks at the text's length alone, and trusts the rest. Nothing here is
 * why a start fails.
 */
const sumBytes = 4;

/** Null where there is none that is this account's alone. It is there from now on, so that what hides it from tools finds it. */
export function ownDirectory(): string | null {
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

/** @returns to be let go of */
export function keptCode(path: string, text: Buffer): Buffer | undefined {
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
export function keepCode(path: string, text: Buffer, script: Script): void {
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

// Of ES2024, and in Node 20.
const Resizable = ArrayBuffer as unknown as new (bytes: number, most: { maxByteLength: number }) => ArrayBuffer & { resize(bytes: number): void };

/** In memory of its own, to be let go of at once: an idle daemon collects its garbage late, and this would be megabytes of it. */
export function bytesOf(path: string, mayBe: (found: Stats) => boolean = () => true): Buffer {
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

export const letGo = ({ buffer }: Buffer): void => (buffer as InstanceType<typeof Resizable>).resize(0);
