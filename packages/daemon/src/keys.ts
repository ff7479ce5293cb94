import { createHash, timingSafeEqual } from "node:crypto";
import { setMaxListeners } from "node:events";
import { chmod, lstat } from "node:fs/promises";
import { formatHostKey, isHostKey, SessiondError } from "@sessiond/shared";
import { diskReason, type Disk } from "./disk.ts";
import { mintHostSecret } from "./ids.ts";

/**
 * Secrets: how they are hashed and compared, and the host key's file. Of every other secret
 * the disk holds only the hash. A hash without salt is enough, because the secrets are random
 * and long; nobody can try them out.
 */
export const hashSecret = (secret: string): string => createHash("sha256").update(secret).digest("hex");

/** Compares two hashes in constant time. */
export function sameHash(left: string, right: string): boolean {
  const a = Buffer.from(left, "hex");
  const b = Buffer.from(right, "hex");
  return a.length === b.length && timingSafeEqual(a, b);
}

/** The host key, as it was shown just now. */
export interface LiveHostKey {
  /** Aborts, with `token_ended` as its reason, when another has taken its place. */
  readonly ends: AbortSignal;
  stands(): boolean;
}

export class HostKey {
  readonly #disk: Disk;
  readonly #path: string;
  #hash: string;
  /** Of the one that is being put into the file: it counts from the moment it can be read there, which is before its sync has ended. */
  #coming: string | null = null;
  #rotating: Promise<string> | null = null;
  /** By the hash of a key that somebody holds on to: they are told when it ends. */
  readonly #held = new Map<string, AbortController>();

  private constructor(disk: Disk, path: string, hash: string) {
    this.#disk = disk;
    this.#path = path;
    this.#hash = hash;
  }

  /** Read the key's file, or make it. @throws SessiondError storage_failed, also when the file is not the owner's alone or damaged */
  static async load(disk: Disk, path: string): Promise<HostKey> {
    try {
      return await HostKey.#readOrMake(disk, path);
    } catch (cause) {
      if (cause instanceof SessiondError) throw cause;
      throw new SessiondError("storage_failed", { reason: `${path}: ${diskReason(cause)}` }, { cause });
    }
  }

  static async #readOrMake(disk: Disk, path: string): Promise<HostKey> {
    const stored = (await disk.readText(path))?.trim();
    if (stored !== undefined) {
      const stat = await lstat(path);
      if (!stat.isFile() || stat.uid !== process.getuid?.()) throw new SessiondError("storage_failed", { reason: `${path} is not a file of this account` });
      if ((stat.mode & 0o077) !== 0) await chmod(path, 0o600);
      if (!isHostKey(stored)) throw new SessiondError("storage_failed", { reason: `${path} is damaged; remove it and a new key is made at the next start` });
      return new HostKey(disk, path, hashSecret(stored));
    }
    const key = formatHostKey(mintHostSecret());
    await disk.replace(path, `${key}\n`);
    return new HostKey(disk, path, hashSecret(key));
  }

  /**
   * Another key, in the same file; the one before counts no more when this resolves. Two at a time get one key.
   *
   * @returns the file
   * @throws SessiondError storage_failed
   */
  rotate(): Promise<string> {
    this.#rotating ??= this.#rotate().finally(() => (this.#rotating = null));
    return this.#rotating;
  }

  async #rotate(): Promise<string> {
    const key = formatHostKey(mintHostSecret());
    try {
      this.#coming = hashSecret(key);
      await this.#disk.replace(this.#path, `${key}\n`);
      this.#hash = this.#coming;
      return this.#path;
    } catch (cause) {
      // It may be in its place for all that: the key that counts is the one that can be read there.
      const stored = (await this.#disk.readText(this.#path).catch(() => null))?.trim();
      if (isHostKey(stored)) this.#hash = hashSecret(stored);
      throw new SessiondError("storage_failed", { reason: `${this.#path}: ${diskReason(cause)}` }, { cause });
    } finally {
      this.#coming = null;
      this.#letGo();
    }
  }

  /** The key that was shown, while it counts; or null. */
  verify(candidate: unknown): LiveHostKey | null {
    if (!isHostKey(candidate)) return null;
    const shown = hashSecret(candidate);
    if (!this.#counts(shown)) return null;
    const held = this.#held.get(shown) ?? new AbortController();
    // Of as many connections as there may be.
    setMaxListeners(0, held.signal);
    this.#held.set(shown, held);
    return { ends: held.signal, stands: () => this.#counts(shown) };
  }

  #counts(shown: string): boolean {
    return sameHash(shown, this.#hash) || (this.#coming !== null && sameHash(shown, this.#coming));
  }

  #letGo(): void {
    for (const [shown, held] of this.#held) {
      if (this.#counts(shown)) continue;
      this.#held.delete(shown);
      held.abort(new SessiondError("token_ended", { cause: "revoked" }));
    }
  }
}
