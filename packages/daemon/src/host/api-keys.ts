import { formatApiKey, limits, readApiKey, schemas, SessiondError, type KeyId, type KeyRecord, type Limits, type Scope } from "@sessiond/shared";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { mintId, mintTokenSecret } from "../ids.ts";
import { hashSecret, sameHash } from "../keys.ts";
import type { DurableStore } from "./durable-store.ts";
import { isWithin } from "./workdir.ts";

/**
 * `keys.json`: the API keys, for callers who are not the owner. Of a secret it holds the hash. A key lives
 * until it is revoked or expires, and never longer than the key that made it; whoever holds on to it, a
 * connection or a stream, is told the moment its secret ends.
 */
const hash = z.string().regex(/^[0-9a-f]{64}$/);
const storedKey = z.strictObject({ ...schemas.keyRecord.shape, hash, hash_before: hash.optional() });
type StoredKey = z.infer<typeof storedKey>;
export const keysFile = z.strictObject({ version: z.literal(1), keys: z.array(storedKey).max(limits.keys_max) });
export type KeysFile = z.infer<typeof keysFile>;

export type KeyEndCause = "revoked" | "expired";

/** A key whose secret was shown just now. */
export interface LiveKey {
  readonly record: KeyRecord;
  /** Aborts, with `token_ended` as its reason, when this very secret ends. */
  readonly ends: AbortSignal;
}

export interface CreateOptions {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Real paths. */
  readonly roots: readonly string[];
  readonly ttlMs?: number | undefined;
  /** Who makes it, where that is a key. */
  readonly parent?: KeyId | undefined;
}

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
  /** Those whose end was told. */
  readonly #told = new Set<KeyId>();

  constructor(options: ApiKeysOptions) {
    this.#options = options;
    for (const key of this.#keys) if (!this.#alive(key)) this.#told.add(key.key_id);
    this.#watch();
  }

  /** The live key behind a secret, or null. Counts as use. */
  verify(secret: unknown): LiveKey | null {
    const keyId = readApiKey(secret);
    if (keyId === null || typeof secret !== "string") return null;
    const key = this.#find(keyId);
    if (key === undefined || !this.#alive(key)) return null;
    const shown = hashSecret(secret);
    if (!this.#hashes(key).some((each) => sameHash(each, shown))) return null;
    this.#use(key);
    return { record: this.#public(key), ends: this.#hold(shown) };
  }

  /** False also for one that was deleted: what hangs on it has ended. */
  isLive(keyId: KeyId): boolean {
    const key = this.#find(keyId);
    return key !== undefined && this.#alive(key);
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
   * @throws SessiondError unauthenticated (the maker has ended), role_too_small and workdir_invalid (more than the maker has), limit_reached, storage_failed
   */
  async create({ name, scopes, roots, ttlMs, parent }: CreateOptions): Promise<{ key: string; record: KeyRecord }> {
    const { store, clock, limits: bounds } = this.#options;
    const keyId = mintId("key");
    const key = formatApiKey(keyId, mintTokenSecret());
    const now = clock.now();
    await store.update((file) => {
      const maker = parent === undefined ? undefined : file.keys.find((held) => held.key_id === parent);
      if (parent !== undefined && (maker === undefined || !this.#alive(maker))) throw new SessiondError("unauthenticated");
      if (maker !== undefined) mustNotExceed(maker, scopes, roots);
      if (file.keys.length >= bounds.keys_max) throw new SessiondError("limit_reached", { limit: "keys_max", value: bounds.keys_max, unit: "keys" });
      const ends = [ttlMs === undefined ? undefined : now + ttlMs, maker?.expires_at].filter((end) => end !== undefined);
      file.keys.push({
        key_id: keyId,
        name,
        scopes: [...new Set(scopes)],
        roots: [...new Set(roots)],
        created_at: now,
        last_used_at: null,
        hash: hashSecret(key),
        ...(parent !== undefined && { parent }),
        ...(ends.length > 0 && { expires_at: Math.min(...ends) }),
      });
    });
    this.#watch();
    return { key, record: this.#public(this.#mustFind(keyId)) };
  }

  /** Another secret; the one before counts for `overlapMs` more, and an earlier one not at all. @throws SessiondError not_found, storage_failed */
  async rotate(keyId: KeyId, overlapMs: number): Promise<{ key: string; record: KeyRecord }> {
    const key = formatApiKey(keyId, mintTokenSecret());
    const now = this.#options.clock.now();
    await this.#options.store.update((file) => {
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

  /** @returns ids of the key and of those it made, all ended now; a repeat gets the same. @throws SessiondError not_found, storage_failed */
  async revoke(keyId: KeyId): Promise<KeyId[]> {
    this.#mustFind(keyId);
    const gone = this.#keys.filter((key) => this.descends(key.key_id, keyId)).map((key) => key.key_id);
    const now = this.#options.clock.now();
    await this.#options.store.update((file) => {
      for (const key of file.keys) if (gone.includes(key.key_id)) key.revoked_at ??= now;
    });
    this.#watch();
    return gone;
  }

  /** Forget a key that was revoked, and with it those that it made. @throws SessiondError not_found, conflict, storage_failed */
  async delete(keyId: KeyId): Promise<void> {
    if (this.#mustFind(keyId).revoked_at === undefined) throw new SessiondError("conflict", { reason: "the key has not been revoked; revoke it first" });
    const gone = new Set(this.#keys.filter((key) => this.descends(key.key_id, keyId)).map((key) => key.key_id));
    await this.#options.store.update((file) => void (file.keys = file.keys.filter((key) => !gone.has(key.key_id))));
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
    this.#look?.();
    this.#look = null;
  }

  get #keys(): readonly StoredKey[] {
    return this.#options.store.data.keys;
  }

  #find(keyId: KeyId): StoredKey | undefined {
    return this.#keys.find((key) => key.key_id === keyId);
  }

  #mustFind(keyId: KeyId): StoredKey {
    const key = this.#find(keyId);
    if (key === undefined) throw new SessiondError("not_found", { what: "key" });
    return key;
  }

  #alive(key: StoredKey): boolean {
    if (key.revoked_at !== undefined || (key.expires_at !== undefined && key.expires_at <= this.#options.clock.now())) return false;
    if (key.parent === undefined) return true;
    const parent = this.#find(key.parent);
    return parent !== undefined && this.#alive(parent);
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

  #hold(shown: string): AbortSignal {
    const held = this.#held.get(shown) ?? new AbortController();
    this.#held.set(shown, held);
    return held.signal;
  }

  /** Ends what has to end now, and looks again when the next one may. */
  #watch(): void {
    const { clock, limits: bounds, onEnded } = this.#options;
    this.#look?.();
    this.#look = null;
    const alive = this.#keys.filter((key) => this.#alive(key));
    const ended = this.#keys.filter((key) => !alive.includes(key) && !this.#told.has(key.key_id));
    for (const { key_id: keyId } of ended) this.#told.add(keyId);
    const count = new Set(alive.flatMap((key) => this.#hashes(key)));
    for (const [shown, held] of this.#held) {
      if (count.has(shown)) continue;
      this.#held.delete(shown);
      const expired = ended.some((key) => key.revoked_at === undefined && [key.hash, key.hash_before].includes(shown));
      held.abort(new SessiondError("token_ended", { cause: expired ? "expired" : "revoked" }));
    }
    const [revoked, expired] = [ended.filter((key) => key.revoked_at !== undefined), ended.filter((key) => key.revoked_at === undefined)];
    for (const [keys, cause] of [
      [revoked, "revoked"],
      [expired, "expired"],
    ] as const)
      if (keys.length > 0)
        onEnded(
          keys.map((key) => key.key_id),
          cause,
        );
    const now = clock.now();
    const next = Math.min(...alive.flatMap((key) => [key.expires_at, key.overlap_ends_at].filter((end) => end !== undefined && end > now) as number[]));
    // The machine's clock may be set, or have slept, meanwhile.
    if (next !== Number.POSITIVE_INFINITY) this.#look = clock.after(Math.min(next - now, bounds.clock_look_ms), () => this.#watch());
  }

  #public({ hash: _hash, hash_before: _before, ...record }: StoredKey): KeyRecord {
    const used = Math.max(record.last_used_at ?? 0, this.#used.get(record.key_id) ?? 0);
    return { ...record, last_used_at: used || null };
  }
}

/** @throws SessiondError role_too_small, workdir_invalid */
function mustNotExceed(maker: StoredKey, scopes: readonly Scope[], roots: readonly string[]): void {
  const missing = scopes.find((scope) => !maker.scopes.includes(scope));
  if (missing !== undefined) throw new SessiondError("role_too_small", { needs: `the scope ${missing}` });
  if (!roots.every((root) => maker.roots.some((own) => isWithin(root, own))))
    throw new SessiondError("workdir_invalid", { reason: "it lies outside the roots of the key that asks" });
}
