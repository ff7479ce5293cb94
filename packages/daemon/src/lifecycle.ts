import { constants } from "node:fs";
import { lstat, mkdir, open, rename, rm, type FileHandle } from "node:fs/promises";
import { createConnection, type Server } from "node:net";
import { dirname, join } from "node:path";
import { limits, SessiondError } from "@sessiond/shared";
import { diskReason } from "./disk.ts";

/**
 * One daemon a runtime directory. A kernel lock decides who it is: it ends with its process,
 * however that ends, so there is no stale one. The holder binds its socket under a temporary name
 * and renames it into place, over whatever a dead daemon left; so the name never points to
 * nothing, and nobody removes a successor's socket.
 */
export interface Claim {
  /** @throws SessiondError storage_failed */
  listen(server: Server): Promise<void>;
  release(): Promise<void>;
}

/** @throws SessiondError storage_failed  when the directory is not this account's alone */
export async function privateDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    const stat = await lstat(path);
    if (!stat.isDirectory()) throw new SessiondError("storage_failed", { reason: `${path} is not a directory` });
    if (stat.uid !== process.getuid?.()) throw new SessiondError("storage_failed", { reason: `${path} belongs to another account` });
    if ((stat.mode & 0o077) !== 0) throw new SessiondError("storage_failed", { reason: `${path} is open to other accounts; run: chmod 700 ${path}` });
    const probe = join(path, `.probe-${process.pid}`);
    const handle = await open(probe, "w", 0o600);
    await handle.close();
    await rm(probe, { force: true });
  } catch (error) {
    if (error instanceof SessiondError) throw error;
    throw new SessiondError("storage_failed", { reason: `${path}: ${diskReason(error)}` }, { cause: error });
  }
}

/** @returns null when another daemon holds the directory */
export async function claim(socketPath: string): Promise<Claim | null> {
  if (Buffer.byteLength(socketPath) > limits.socket_path_bytes_max) {
    throw new SessiondError("limit_reached", {
      limit: "socket_path_bytes_max",
      value: limits.socket_path_bytes_max,
      unit: `bytes; ${socketPath} is longer. Set XDG_RUNTIME_DIR to a shorter directory`,
    });
  }
  const lock = await open(join(dirname(socketPath), "lock"), constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  // Native, so loaded only when it is needed.
  const { tryLock } = await import("fs-native-extensions");
  if (!tryLock(lock.fd)) {
    await lock.close();
    return null;
  }
  return { listen: (server) => listen(server, socketPath), release: () => release(lock, socketPath) };
}

async function listen(server: Server, path: string): Promise<void> {
  const temporary = `${path}.${process.pid}`;
  await rm(temporary, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(temporary, () => {
      server.off("error", reject);
      resolve();
    });
  }).catch((error: unknown) => {
    throw new SessiondError("storage_failed", { reason: `cannot listen on ${path}: ${diskReason(error)}` }, { cause: error });
  });
  await rename(temporary, path);
}

/** The socket's name goes first, while the lock still keeps a successor from binding it. */
async function release(lock: FileHandle, path: string): Promise<void> {
  await rm(path, { force: true });
  await lock.close();
}

/** Whether something answers on the socket. */
export function dials(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
