import { createHash, timingSafeEqual } from "node:crypto";
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

export class HostKey {
  readonly #hash: string;

  private constructor(hash: string) {
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
      return new HostKey(hashSecret(stored));
    }
    const key = formatHostKey(mintHostSecret());
    await disk.replace(path, `${key}\n`);
    return new HostKey(hashSecret(key));
  }

  matches(candidate: unknown): boolean {
    return isHostKey(candidate) && sameHash(hashSecret(candidate), this.#hash);
  }
}
