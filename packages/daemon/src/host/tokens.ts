import { formatToken, readToken, SessiondError, type KeyId, type Limits, type TokenRecord } from "@sessiond/shared";
import type { Clock } from "../clock.ts";
import { mintId, mintTokenSecret } from "../ids.ts";
import { hashSecret, sameHash } from "../keys.ts";
import type { DurableStore } from "./durable-store.ts";
import type { Standing } from "./reach.ts";
import type { SessionFile, StoredToken } from "./session-file.ts";
import { displacedBy } from "./token-places.ts";

/**
 * The tokens of one session; how many there may be is in token-places.ts. A token lives until it
 * is revoked, displaced or expired, and never longer than its parent. Whoever streams on a token is told the moment it ends.
 */
export type TokenEndCause = "revoked" | "expired" | "displaced";

export interface MintOptions {
  readonly right: "view" | "control";
  readonly label: string;
  readonly life: number;
  readonly origin: TokenRecord["origin"];
  readonly parent?: string;
  /** The API key that it is given to. */
  readonly keyId?: KeyId | undefined;
  readonly ttl_ms?: number;
  /** The variables of its life, where they begin with it: one change of the file. */
  readonly env?: Readonly<Record<string, string>>;
  /** Who asks. It waits its turn for the file, and what it was asked with may have ended by then. */
  readonly by: Standing;
}

export interface TokensOptions {
  readonly store: DurableStore<SessionFile>;
  readonly clock: Clock;
  readonly limits: Limits;
  /** A token ends with the API key that it was given to; null: it lives. */
  keyEnd(keyId: KeyId): TokenEndCause | null;
  onEnded(tokenIds: readonly string[], cause: TokenEndCause): void;
}

export class Tokens {
  readonly #store: DurableStore<SessionFile>;
  readonly #clock: Clock;
  readonly #limits: Limits;
  readonly #used = new Map<string, number>();
  /** One at a time is begun by calls: a disk that hangs must not gather one for each. */
  #writingUse = false;
  /** When this process last gave one out, by the clock that nobody sets. */
  givenAt = Number.NEGATIVE_INFINITY;
  readonly #streams = new Map<string, Set<AbortController>>();
  readonly #timers = new Map<string, () => void>();
  readonly #options: TokensOptions;

  constructor(options: TokensOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#clock = options.clock;
    this.#limits = options.limits;
  }

  /** The live record behind a secret, or null. Counts as use. */
  verify(secret: string): TokenRecord | null {
    const claim = readToken(secret);
    if (claim === null || claim.sessionId !== this.#store.data.session_id) return null;
    const wanted = hashSecret(secret);
    const stored = this.#store.data.tokens.find((token) => sameHash(token.hash, wanted));
    if (stored === undefined || stored.right !== claim.right || !this.#alive(stored)) return null;
    this.#used.set(stored.token_id, this.#clock.now());
    if (!this.#writingUse && this.#clock.now() - stored.last_used_at > this.#limits.token_use_written_ms) {
      this.#writingUse = true;
      const written = this.writeUse().catch(() => undefined);
      void written.finally(() => (this.#writingUse = false));
    }
    return publicRecord(stored, this.#lastUse(stored));
  }

  isLive(tokenId: string): boolean {
    return this.#store.data.tokens.some((token) => token.token_id === tokenId && this.#alive(token));
  }

  list(): TokenRecord[] {
    return this.#store.data.tokens.filter((token) => this.#alive(token)).map((token) => publicRecord(token, this.#lastUse(token)));
  }

  /** The record of a token, dead or alive, as long as it is stored. */
  find(tokenId: string): TokenRecord | undefined {
    return this.#store.data.tokens.find((token) => token.token_id === tokenId);
  }

  /** The one from which a token descends in the end: itself, where nobody's token minted it. */
  root(tokenId: string): TokenRecord | undefined {
    const token = this.find(tokenId);
    return token?.parent === undefined ? token : this.root(token.parent);
  }

  /** True when `ancestor` is the token itself or one from which it descends. */
  descends(tokenId: string, ancestor: string): boolean {
    for (let at: string | undefined = tokenId; at !== undefined; at = this.find(at)?.parent) if (at === ancestor) return true;
    return false;
  }

  /**
   * @returns the secret, which exists nowhere else from then on, and its record
   * @throws SessiondError storage_failed; limit_reached when nothing may be displaced; unauthenticated when who asks has ended
   */
  async mint(options: MintOptions, holdsSeat: (tokenId: string) => boolean = () => false): Promise<{ token: string; record: TokenRecord }> {
    const token = formatToken(options.right, this.#store.data.session_id, mintTokenSecret());
    const now = this.#clock.now();
    let displaced: readonly string[] = [];
    let record: StoredToken | undefined;
    await this.#store.update((file) => {
      options.by.mustStand();
      const parent = options.parent === undefined ? undefined : file.tokens.find((held) => held.token_id === options.parent);
      const ends = [options.ttl_ms === undefined ? undefined : now + options.ttl_ms, parent?.expires_at].filter((end) => end !== undefined);
      record = {
        token_id: mintId("tok"),
        right: options.right,
        label: options.label,
        life: parent?.life ?? options.life,
        origin: options.origin,
        created_at: now,
        last_used_at: now,
        hash: hashSecret(token),
        ...(options.parent !== undefined && { parent: options.parent }),
        ...(options.keyId !== undefined && { key_id: options.keyId }),
        ...(ends.length > 0 && { expires_at: Math.min(...ends) }),
      };
      // What has ended needs no place; it is only forgotten here, so that `list` stays cheap.
      file.tokens = file.tokens.filter((held) => this.#alive(held));
      const gone = displacedBy(record, file.tokens, {
        limits: this.#limits,
        isFree: ({ token_id: id }) => !holdsSeat(id) && !this.#streams.has(id),
        lastUse: (held) => this.#lastUse(held),
      });
      displaced = gone === undefined ? [] : [gone.token_id];
      file.tokens = [...file.tokens.filter((held) => held !== gone), record];
      if (options.env !== undefined) file.env = { ...options.env };
    });
    if (record === undefined) throw new SessiondError("internal");
    this.givenAt = this.#clock.steady();
    this.#end(displaced, "displaced");
    return { token, record: publicRecord(record, now) };
  }

  /** @returns ids of the token and its children, all ended now. @throws SessiondError not_found, unauthenticated, storage_failed */
  async revoke(tokenId: string, by: Standing): Promise<string[]> {
    if (!this.isLive(tokenId)) throw new SessiondError("not_found", { what: "token" });
    let gone: string[] = [];
    // In the step that writes: a child that is being made has its turn before this, and goes too.
    await this.#store.update((file) => {
      by.mustStand();
      gone = withChildren(file.tokens, tokenId);
      file.tokens = file.tokens.filter((token) => !gone.includes(token.token_id));
    });
    this.#end(gone, "revoked");
    return gone;
  }

  /** API keys have ended, and what they were given with them. */
  keysEnded(keyIds: readonly KeyId[], cause: TokenEndCause): void {
    const { tokens } = this.#store.data;
    const given = tokens.filter((token) => token.key_id !== undefined && keyIds.includes(token.key_id));
    this.#end([...new Set(given.flatMap((token) => withChildren(tokens, token.token_id)))], cause);
  }

  /**
   * A signal that aborts, with `token_ended` as reason, when the token ends; `release` when the
   * stream does. An open stream counts as use.
   */
  stream(tokenId: string): { signal: AbortSignal; release: () => void } {
    const controller = new AbortController();
    const open = this.#streams.get(tokenId) ?? new Set();
    this.#streams.set(tokenId, open.add(controller));
    this.#watchExpiry(tokenId);
    // It may have ended between the gate's look at it and now.
    const stored = this.#store.data.tokens.find((token) => token.token_id === tokenId);
    const cause = stored === undefined ? "revoked" : this.#endOf(stored);
    if (cause !== null) controller.abort(new SessiondError("token_ended", { cause }));
    const release = () => {
      open.delete(controller);
      this.#used.set(tokenId, this.#clock.now());
      if (open.size > 0) return;
      this.#streams.delete(tokenId);
      this.#timers.get(tokenId)?.();
      this.#timers.delete(tokenId);
    };
    return { signal: controller.signal, release };
  }

  /** Write last use down; without it, use is forgotten at a restart. */
  async writeUse(): Promise<void> {
    if (this.#used.size === 0) return;
    const used = new Map(this.#used);
    await this.#store.update((file) => {
      for (const token of file.tokens) token.last_used_at = Math.max(token.last_used_at, used.get(token.token_id) ?? 0);
    });
    // Kept until it is on disk: a token must not look unused while, or because, it cannot be written.
    for (const [tokenId, at] of used) if (this.#used.get(tokenId) === at) this.#used.delete(tokenId);
  }

  #lastUse(token: StoredToken): number {
    return this.#streams.has(token.token_id) ? this.#clock.now() : Math.max(token.last_used_at, this.#used.get(token.token_id) ?? 0);
  }

  #alive(token: StoredToken): boolean {
    return this.#endOf(token) === null;
  }

  /** How one has ended that is stored, or null while it lives. */
  #endOf(token: StoredToken): TokenEndCause | null {
    const now = this.#clock.now();
    if (token.expires_at !== undefined && token.expires_at <= now) return "expired";
    const keyEnd = token.key_id === undefined ? null : this.#options.keyEnd(token.key_id);
    if (keyEnd !== null) return keyEnd;
    if (token.origin === "start" && now - this.#lastUse(token) > this.#limits.start_token_idle_ms) return "expired";
    // A child never outlives its parent, whatever ended that.
    if (token.parent === undefined) return null;
    const parent = this.#store.data.tokens.find((held) => held.token_id === token.parent);
    return parent === undefined ? "revoked" : this.#endOf(parent);
  }

  #watchExpiry(tokenId: string): void {
    const stored = this.#store.data.tokens.find((token) => token.token_id === tokenId);
    if (stored === undefined || this.#timers.has(tokenId)) return;
    const ends = this.#endsAt(stored);
    if (ends === Number.POSITIVE_INFINITY) return;
    const check = () => {
      this.#timers.delete(tokenId);
      const cause = this.#endOf(stored);
      if (cause === null) this.#watchExpiry(tokenId);
      else this.#end(withChildren(this.#store.data.tokens, tokenId), cause);
    };
    // The machine's clock may be set, or have slept, meanwhile.
    this.#timers.set(tokenId, this.#clock.after(Math.max(0, Math.min(ends - this.#clock.now(), this.#limits.clock_look_ms)), check));
  }

  /** When a token ends at the earliest, by its own time or an ancestor's; use may put that off. */
  #endsAt(token: StoredToken): number {
    const parent = this.#store.data.tokens.find((held) => held.token_id === token.parent);
    return Math.min(
      token.expires_at ?? Number.POSITIVE_INFINITY,
      token.origin === "start" ? this.#lastUse(token) + this.#limits.start_token_idle_ms + 1 : Number.POSITIVE_INFINITY,
      parent === undefined ? Number.POSITIVE_INFINITY : this.#endsAt(parent),
    );
  }

  #end(tokenIds: readonly string[], cause: TokenEndCause): void {
    if (tokenIds.length === 0) return;
    for (const tokenId of tokenIds) {
      for (const controller of this.#streams.get(tokenId) ?? []) controller.abort(new SessiondError("token_ended", { cause }));
    }
    this.#options.onEnded(tokenIds, cause);
  }
}

const publicRecord = ({ hash: _hash, ...record }: StoredToken, last_used_at: number): TokenRecord => ({ ...record, last_used_at });

function withChildren(tokens: readonly StoredToken[], tokenId: string): string[] {
  const gone = [tokenId];
  for (let index = 0; index < gone.length; index++) for (const token of tokens) if (token.parent === gone[index]) gone.push(token.token_id);
  return gone;
}
