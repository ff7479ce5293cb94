import type { Auth, KeyRecord, Scope, VerbOutput } from "@sessiond/shared";
import type { CallOptions } from "./call-limit.ts";
import type { Connection } from "./connection.ts";

export interface KeyRequest {
  /** 1 to 64 characters, for lists and audit lines. */
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Directories in which its sessions may live; at least one. */
  readonly roots: readonly string[];
  /** Milliseconds until it ends by itself, from 1,000 to a year; for ever unless given. */
  readonly ttlMs?: number | undefined;
}

/** The only time that the key's secret is shown. */
export interface ShownKey {
  readonly key: string;
  readonly record: KeyRecord;
}

/** The keys of a daemon, for whoever may give them: the host key, or an API key with `keys:admin`, which gives no more than it has. */
export abstract class KeyRing {
  readonly #calls: Connection;
  readonly #auth: Auth;

  constructor({ calls, auth }: { readonly calls: Connection; readonly auth: Auth }) {
    this.#calls = calls;
    this.#auth = auth;
  }

  /**
   * A key for a caller who is not the owner. Never repeated by the library: after a lost link the error says that it may
   * have happened, and `listKeys` shows whether it did.
   *
   * @throws SessiondError `role_too_small` and `workdir_invalid` (more than the key that asks has), `limit_reached`, …
   */
  createKey({ name, scopes, roots, ttlMs }: KeyRequest, options: CallOptions = {}): Promise<ShownKey> {
    return this.#calls.call("create_key", { name, scopes: [...scopes], roots: [...roots], ttl_ms: ttlMs }, this.#auth, options);
  }

  /** Records without secrets, oldest first, those of ended keys too. */
  async listKeys(options: CallOptions = {}): Promise<KeyRecord[]> {
    return (await this.#calls.call("list_keys", {}, this.#auth, options)).keys;
  }

  /** Another secret for a key. The one before counts for `overlapMs` more, not at all unless given; what was opened with it ends then. */
  rotateKey(keyId: string, { overlapMs, ...options }: CallOptions & { readonly overlapMs?: number | undefined } = {}): Promise<ShownKey> {
    return this.#calls.call("rotate_key", { key_id: keyId, overlap_ms: overlapMs }, this.#auth, options);
  }

  /** Ends a key, the keys that it made, their connections, and the tokens they were given. @returns the ids of the keys */
  async revokeKey(keyId: string, options: CallOptions = {}): Promise<string[]> {
    return (await this.#calls.call("revoke_key", { key_id: keyId }, this.#auth, options)).revoked;
  }

  /** Forgets a key that was revoked. @throws SessiondError `conflict` when it was not, `not_found` */
  async deleteKey(keyId: string, options: CallOptions = {}): Promise<void> {
    const alreadyDone = ({ code }: { code: string }): VerbOutput<"delete_key"> | undefined => (code === "not_found" ? { deleted: true } : undefined);
    await this.#calls.call("delete_key", { key_id: keyId }, this.#auth, { ...options, alreadyDone });
  }

  /**
   * Another host key, in its file, which is named; handles that hold the one before read it there by themselves. What was
   * opened with it ends; the tokens and API keys that it made live on. Needs the host key.
   */
  async rotateHostKey(options: CallOptions = {}): Promise<{ file: string }> {
    const rotated = await this.#calls.call("rotate_host_key", {}, this.#auth, options);
    // The daemon is about to close it, and a call that never repeats would be lost with it.
    this.#calls.leaveLink();
    return rotated;
  }
}

export const isApiKey = (auth: Auth): boolean => auth.api_key !== undefined;
