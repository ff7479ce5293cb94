import { constants, fstatSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * The disk as the store uses it, injected so that tests can make it fail at any step.
 * Everything it makes is private to the owner: files 0600, directories 0700.
 */
export interface Disk {
  /** @returns null when there is no such file */
  readText(path: string): Promise<string | null>;
  /** All or nothing, and on disk when it resolves: temporary file, sync, rename, sync of the directory. */
  replace(path: string, text: string): Promise<void>;
  /** @returns false when it is there already; else it holds nothing */
  makeDirectory(path: string): Promise<boolean>;
  /** Names in a directory; empty when it is missing. */
  list(path: string): Promise<string[]>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  /** @param mode  `write` makes the file when it is missing and refuses a symbolic link */
  open(path: string, mode: "read" | "write"): Promise<DiskFile>;
}

export interface DiskFile {
  size(): Promise<number>;
  /** At most `length` bytes from `position`; fewer at the end of the file. */
  read(position: number, length: number): Promise<Buffer>;
  /** Writes all of it. */
  write(position: number, bytes: Buffer): Promise<void>;
  /** @throws also when the file has no name any more: what it holds will be gone with the process */
  datasync(): Promise<void>;
  truncate(length: number): Promise<void>;
  close(): Promise<void>;
}

export const isErrno = (error: unknown, ...codes: string[]): boolean => error instanceof Error && "code" in error && codes.includes(String(error.code));

/** A short reason for a failed file operation, without the path: `ENOSPC: no space left on device`. */
export const diskReason = (error: unknown): string => (error instanceof Error ? (error.message.split(",")[0] ?? error.message) : String(error));

/** A name that `replace` gives for the time of its writing: of a process that has ended, what it left half done. */
export const isHalfReplaced = (name: string): boolean => /^\..+\.\d+-\d+$/.test(name);

async function openFile(path: string, mode: "read" | "write"): Promise<DiskFile> {
  const flags = mode === "read" ? constants.O_RDONLY : constants.O_RDWR | constants.O_CREAT;
  const handle = await open(path, flags | constants.O_NOFOLLOW, 0o600);
  return {
    size: async () => (await handle.stat()).size,
    async read(position, length) {
      const bytes = Buffer.allocUnsafe(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await handle.read(bytes, filled, length - filled, position + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return bytes.subarray(0, filled);
    },
    async write(position, bytes) {
      let done = 0;
      while (done < bytes.length) done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
    },
    async datasync() {
      await handle.datasync();
      // The kernel keeps a removed file for whoever has it open, and nobody else will ever read it.
      if (fstatSync(handle.fd).nlink === 0) throw new Error("ENOENT: the file was removed");
    },
    truncate: (length) => handle.truncate(length),
    close: () => handle.close(),
  };
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export function realDisk(): Disk {
  // One temporary name a write: two writers of one file must not share it.
  let writes = 0;
  return {
    async readText(path) {
      try {
        return await readFile(path, "utf8");
      } catch (error) {
        if (isErrno(error, "ENOENT")) return null;
        throw error;
      }
    },
    async replace(path, text) {
      const temporary = join(dirname(path), `.${basename(path)}.${process.pid}-${++writes}`);
      try {
        const handle = await open(temporary, "wx", 0o600);
        try {
          await handle.writeFile(text);
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(temporary, path);
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
      await syncDirectory(dirname(path));
    },
    async makeDirectory(path) {
      return (await mkdir(path, { recursive: true, mode: 0o700 })) !== undefined;
    },
    async list(path) {
      try {
        return await readdir(path);
      } catch (error) {
        if (isErrno(error, "ENOENT")) return [];
        throw error;
      }
    },
    rename,
    async remove(path) {
      await rm(path, { force: true, recursive: true });
    },
    syncDirectory,
    open: openFile,
  };
}
