import { setMaxListeners } from "node:events";
import { formatApiKey, readApiKey, schemas, SessiondError, type KeyId, type KeyRecord, type Limits, type Scope } from "@sessiond/shared";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { mintId, mintTokenSecret } from "../ids.ts";
import { hashSecret, sameHash } from "../keys.ts";
import type { DurableStore } from "./durable-store.ts";
import { withRoom } from "./key-places.ts";
import type { Reach } from "./reach.ts";

/**
 * `keys.json`: the API keys, for callers who are not the owner; how many are kept is in key-places.ts. Of
 * a secret it holds the hash. A key lives until it is revoked or expires, and never longer than the key that
 * made it; whoever holds on to it, a connection or a stream, is told the moment its secret ends.
 */
const hash = z.string().regex(/^[0-9a-f]{64}$/);
const storedKey = z.strictObject({ ...schemas.keyRecord.shape, hash, hash_before: hash.optional() });
type StoredKey = z.infer<typeof storedKey>;
export const keysFile = z.strictObject({ version: z.literal(1), keys: z.array(storedKey) });
export type KeysFile = z.infer<typeof keysFile>;

const never = Number.POSITIVE_INFINITY;

export type KeyEndCause = "revoked" | "expired";

/** A key whose secret was shown just now. */
export interface LiveKey {
  readonly record: KeyRecord;
  /** Aborts, with `token_ended` as its reason, when this very secret ends. */
  readonly ends: AbortSignal;
  /** Whether it has not ended yet: by the clock, which may be ahead of `ends`. */
  stands(): boolean;
  /** False for the one before, which counts while its overlap lasts. */
  isNewest(): boolean;
}

export interface CreateOptions {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Real paths, within those of who makes it. */
  readonly roots: readonly string[];
  readonly ttlMs?: number | undefined;
}

/** Who asks for a change. It waits its turn for the file, and what it was asked with may have ended by then. */
type Asker = Pick<Reach, "keyId" | "mustStand">;

export interface ApiKeysOptions {
  readonly store: DurableStore<KeysFile>;
  readonly clock: Clock;
  readonly limits: Limits;
  /** The tokens that were given to them end too. */
  onEnded(keyIds: readonly KeyId[], cause: KeyEndCause): void;
  report(error: unknown): void;
}

export class ApiKeys {
  readonly #options: ApiKeysOptions;
  readonly #used = new Map<KeyId, number>();
  #writingUse = false;
  /** By the hash of the secret that is held on to. */
  readonly #held = new Map<string, AbortController>();
  #look: (() => void) | null = null;
  /** Those that lived at the last look. */
  #living: ReadonlySet<KeyId> = new Set();
  #closed = false;

  constructor(options: ApiKeysOptions) {
    this.#options = options;
    this.#watch();
  }

  /** The live key behind a secret, or null. Counts as use. */
  verify(secret: unknown): LiveKey | null {
    const keyId = readApiKey(secret);
    if (keyId === null || typeof secret !== "string") return null;
    const shown = hashSecret(secret);
    const key = this.#behind(keyId, shown);
    if (key === undefined) return null;
    // Its end was told already, and then the machine's clock was set back.
    if (!this.#living.has(keyId)) this.#watch();
    this.#use(key);
    return {
      record: this.#public(key),
      ends: this.#hold(shown),
      stands: () => this.#behind(keyId, shown) !== undefined,
      isNewest: () => sameHash(this.#find(keyId)?.hash ?? "", shown),
    };
  }

  /** How a key has ended, or null while it lives. One that is forgotten had ended, and what hung on it with it. */
  endOf(keyId: KeyId): KeyEndCause | null {
    const key = this.#find(keyId);
    if (key === undefined) return "revoked";
    return this.#alive(key) ? null : causeOf(key);
  }

  /** True when `ancestor` is the key itself or one that made it, at whatever remove. */
  descends(keyId: KeyId, ancestor: KeyId): boolean {
    for (let at: KeyId | undefined = keyId; at !== undefined; at = this.#find(at)?.parent) if (at === ancestor) return true;
    return false;
  }

  /** Oldest first. */
  list(): KeyRecord[] {
    return this.#keys.map((key) => this.#public(key));
  }

  /**
   * @returns the secret, which exists nowhere else from then on, and the record
   * @throws SessiondError unauthenticated, role_too_small (more than the maker may, or by a secret that was rotated out), limit_reached, storage_failed
   */
  async create({ name, scopes, roots, ttlMs }: CreateOptions, by: Asker): Promise<{ key: string; record: KeyRecord }> {
    const { store, clock, limits: bounds } = this.#options;
    const keyId = mintId("key");
    const key = formatApiKey(keyId, mintTokenSecret());
    const now = clock.now();
    await store.update((file) => {
      by.mustStand();
      const maker = file.keys.find((held) => held.key_id === by.keyId);
      if (maker !== undefined) mustNotExceed(maker, scopes);
      // One that ended a moment ago is not forgotten before what hangs on it has been told so.
      this.#watch();
      file.keys = withRoom(file.keys, maker !== undefined, {
        limits: bounds,
        isAlive: (key) => this.#alive(key),
        descends: (key, ancestor) => this.descends(key.key_id, ancestor.key_id),
      });
      const ends = [ttlMs === undefined ? undefined : now + ttlMs, maker?.expires_at].filter((end) => end !== undefined);
      file.keys.push({
        key_id: keyId,
        name,
        scopes: [...new Set(scopes)],
        roots: [...new Set(roots)],
        created_at: now,
        last_used_at: null,
        hash: hashSecret(key),
        ...(maker !== undefined && { parent: maker.key_id }),
        ...(ends.length > 0 && { expires_at: Math.min(...ends) }),
      });
    });
    this.#watch();
    return { key, record: this.#public(this.#mustFind(keyId)) };
  }

  /** Another secret; the one before counts for `overlapMs` more, and an earlier one not at all. @throws SessiondError unauthenticated, not_found, storage_failed */
  async rotate(keyId: KeyId, overlapMs: number, by: Asker): Promise<{ key: string; record: KeyRecord }> {
    const key = formatApiKey(keyId, mintTokenSecret());
    const now = this.#options.clock.now();
    await this.#options.store.update((file) => {
      by.mustStand();
      const stored = file.keys.find((held) => held.key_id === keyId);
      if (stored === undefined || !this.#alive(stored)) throw new SessiondError("not_found", { what: "key that is live" });
      delete stored.hash_before;
      delete stored.overlap_ends_at;
      if (overlapMs > 0) Object.assign(stored, { hash_before: stored.hash, overlap_ends_at: now + overlapMs });
      stored.hash = hashSecret(key);
      stored.rotated_at = now;
    });
    this.#watch();
    return { key, record: this.#public(this.#mustFind(keyId)) };
  }

  /** @returns ids of the key and of those it made, all ended now; a repeat gets the same. @throws SessiondError unauthenticated, not_found, storage_failed */
  async revoke(keyId: KeyId, by: Asker): Promise<KeyId[]> {
    this.#mustFind(keyId);
    const now = this.#options.clock.now();
    let gone: StoredKey[] = [];
    // In the step that writes: one that it makes meanwhile has its turn before this, and goes too.
    await this.#options.store.update((file) => {
      by.mustStand();
      gone = file.keys.filter((key) => this.descends(key.key_id, keyId));
      for (const key of gone) key.revoked_at ??= now;
    });
    this.#watch();
    return gone.map((key) => key.key_id);
  }

  /** Forget a key that was revoked, and with it those that it made. @throws SessiondError unauthenticated, not_found, conflict, storage_failed */
  async delete(keyId: KeyId, by: Asker): Promise<void> {
    if (this.#mustFind(keyId).revoked_at === undefined) throw new SessiondError("conflict", { reason: "the key has not been revoked; revoke it first" });
    await this.#options.store.update((file) => {
      by.mustStand();
      file.keys = file.keys.filter((key) => !this.descends(key.key_id, keyId));
    });
  }

  /** Best effort, and at the end: without it, last use is forgotten at a restart. */
  async writeUse(): Promise<void> {
    if (this.#used.size === 0) return;
    const used = new Map(this.#used);
    await this.#options.store
      .update((file) => {
        for (const key of file.keys) key.last_used_at = Math.max(key.last_used_at ?? 0, used.get(key.key_id) ?? 0) || null;
      })
      .then(() => {
        for (const [keyId, at] of used) if (this.#used.get(keyId) === at) this.#used.delete(keyId);
      })
      .catch((error: unknown) => this.#options.report(error));
  }

  /** No timer is left. */
  close(): void {
    this.#closed = true;
    this.#look?.();
  }

  get #keys(): readonly StoredKey[] {
    return this.#options.store.data.keys;
  }

  #find(keyId: KeyId): StoredKey | undefined {
    return this.#keys.find((key) => key.key_id === keyId);
  }

  /** The live key of which this is the hash of a secret that counts. */
  #behind(keyId: KeyId, shown: string): StoredKey | undefined {
    const key = this.#find(keyId);
    return key !== undefined && this.#alive(key) && this.#hashes(key).some((each) => sameHash(each, shown)) ? key : undefined;
  }

  #mustFind(keyId: KeyId): StoredKey {
    const key = this.#find(keyId);
    if (key === undefined) throw new SessiondError("not_found", { what: "key" });
    return key;
  }

  /** Those that it was made by live as long: a key ends with its maker in the file itself. */
  #alive({ revoked_at: revokedAt, expires_at: expiresAt = never }: StoredKey): boolean {
    return revokedAt === undefined && expiresAt > this.#options.clock.now();
  }

  /** Hashes of the secrets that count now, of a key that is alive. */
  #hashes({ hash: current, hash_before: before, overlap_ends_at: until }: StoredKey): string[] {
    return before !== undefined && until !== undefined && until > this.#options.clock.now() ? [current, before] : [current];
  }

  #use(key: StoredKey): void {
    const now = this.#options.clock.now();
    this.#used.set(key.key_id, now);
    if (this.#writingUse || now - (key.last_used_at ?? 0) <= this.#options.limits.token_use_written_ms) return;
    this.#writingUse = true;
    void this.writeUse().finally(() => (this.#writingUse = false));
  }

  /** One for each secret, which ends with it: never more than there are secrets that count. */
  #hold(shown: string): AbortSignal {
    const held = this.#held.get(shown) ?? new AbortController();
    // Of as many connections as there may be.
    setMaxListeners(0, held.signal);
    this.#held.set(shown, held);
    return held.signal;
  }

  /** Ends what has to end now, and looks again when the next one may. */
  #watch(): void {
    const { clock, limits: bounds, onEnded } = this.#options;
    this.#look?.();
    const alive = this.#keys.filter((key) => this.#alive(key));
    const before = this.#living;
    this.#living = new Set(alive.map((key) => key.key_id));
    const ended = this.#keys.filter((key) => before.has(key.key_id) && !this.#living.has(key.key_id));
    for (const cause of ["revoked", "expired"] as const) {
      const its = ended.filter((key) => causeOf(key) === cause);
      if (its.length === 0) continue;
      for (const { hash: current, hash_before: former } of its) for (const shown of [current, former]) this.#letGo(shown, cause);
      onEnded(
        its.map((key) => key.key_id),
        cause,
      );
    }
    // Those of keys that live, after a rotation.
    const count = new Set(alive.flatMap((key) => this.#hashes(key)));
    for (const shown of [...this.#held.keys()]) if (!count.has(shown)) this.#letGo(shown, "revoked");
    if (this.#closed) return;
    const now = clock.now();
    const next = Math.min(...alive.flatMap((key) => [key.expires_at ?? never, key.overlap_ends_at ?? never]).filter((end) => end > now));
    // The machine's clock may be set, or have slept, meanwhile.
    if (next !== never) this.#look = clock.after(Math.min(next - now, bounds.clock_look_ms), () => this.#watch());
  }

  #letGo(shown: string | undefined, cause: KeyEndCause): void {
    if (shown === undefined) return;
    this.#held.get(shown)?.abort(new SessiondError("token_ended", { cause }));
    this.#held.delete(shown);
  }

  #public({ hash: _hash, hash_before: _before, ...record }: StoredKey): KeyRecord {
    const used = Math.max(record.last_used_at ?? 0, this.#used.get(record.key_id) ?? 0);
    return { ...record, last_used_at: used || null };
  }
}

/** Of one that has ended; whoever revokes a key says so of those that it made. */
const causeOf = (key: StoredKey): KeyEndCause => (key.revoked_at === undefined ? "expired" : "revoked");

/** @throws SessiondError role_too_small */
function mustNotExceed(maker: StoredKey, scopes: readonly Scope[]): void {
  const missing = scopes.find((scope) => !maker.scopes.includes(scope));
  if (missing !== undefined) throw new SessiondError("role_too_small", { needs: `the scope ${missing}` });
}
