import { constants } from "node:fs";
import { lstat, mkdir, open, readFile, rename, rm, type FileHandle } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { dirname, join } from "node:path";
import { limits, SessiondError } from "@sessiond/shared";
import { diskReason, isErrno } from "./disk.ts";
import { kernelLock } from "./kernel-lock.ts";

/**
 * One daemon a directory. A kernel lock decides who it is: it ends with its process,
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
    // One name for all: what one that was killed left, the next removes.
    const probe = join(path, ".probe");
    const handle = await open(probe, "w", 0o600);
    await handle.close();
    await rm(probe, { force: true });
  } catch (error) {
    if (error instanceof SessiondError) throw error;
    throw new SessiondError("storage_failed", { reason: `${path}: ${diskReason(error)}` }, { cause: error });
  }
}

/**
 * Two locks: the runtime directory's, so that there is one daemon behind a socket, and the state
 * directory's, so that there is one behind the journals: a shell without XDG_RUNTIME_DIR looks for
 * its socket elsewhere, and would start a second writer.
 *
 * @returns null when another daemon holds the runtime directory: it is the one to talk to
 * @throws SessiondError conflict, naming the socket, when one with another runtime directory holds the state; storage_failed
 */
export async function claim(socketPath: string, stateDir: string): Promise<Claim | null> {
  if (Buffer.byteLength(socketPath) > limits.socket_path_bytes_max) {
    throw new SessiondError("limit_reached", {
      limit: "socket_path_bytes_max",
      value: limits.socket_path_bytes_max,
      unit: `bytes; ${socketPath} is longer. Set XDG_RUNTIME_DIR to a shorter directory`,
    });
  }
  const runtime = await lockFile(join(dirname(socketPath), "lock"));
  if (runtime === null) return null;
  const statePath = join(stateDir, "lock");
  const state = await lockFile(statePath).catch(async (error: unknown) => {
    await runtime.close();
    throw error;
  });
  if (state === null) {
    await runtime.close();
    const holder = await readFile(statePath, "utf8").catch(() => "");
    throw new SessiondError("conflict", { reason: `another daemon, behind ${holder || "another socket"}, owns ${stateDir}; use the same XDG_RUNTIME_DIR` });
  }
  // Only the words of a refusal: on a full disk the daemon starts without them.
  await state
    .truncate(0)
    .then(() => state.write(socketPath, 0))
    .catch(() => undefined);
  return {
    listen: (server) => listen(server, socketPath),
    // The socket's name goes first, while the lock still keeps a successor from binding it.
    async release() {
      await rm(socketPath, { force: true });
      await state.close();
      await runtime.close();
    },
  };
}

/** An exclusive lock that ends with the handle or the process; null when another has it. @throws SessiondError storage_failed */
async function lockFile(path: string): Promise<FileHandle | null> {
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600).catch((cause: unknown) => {
    throw new SessiondError("storage_failed", { reason: `${path}: ${diskReason(cause)}` }, { cause });
  });
  if (kernelLock()(handle.fd)) return handle;
  await handle.close();
  return null;
}

async function listen(server: Server, path: string): Promise<void> {
  // No longer than the name itself, which is as long as it may be; and the lock's holder is alone.
  const temporary = join(dirname(path), ".new");
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

/** What a socket's name leads to: a daemon, one that hangs, one that is dead, nothing. */
export type Dialled = "answers" | "silent" | "refused" | "absent";

/** Knock, as whoever wants to know does: a socket or a lock is stale when nobody answers, however old it is. */
export function dial(path: string, waitMs: number): Promise<Dialled> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (answer: Dialled): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(waitMs, () => end("silent"));
    socket.on("error", (error) => end(isErrno(error, "ENOENT") ? "absent" : isErrno(error, "EAGAIN") ? "silent" : "refused"));
    socket.on("end", () => end("silent"));
    socket.on("data", () => end("answers"));
    socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  });
}
