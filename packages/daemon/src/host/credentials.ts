import { SessiondError, type KeyId, type Limits, type SessionId } from "@sessiond/shared";
import type { Clock } from "../clock.ts";
import type { TokenEndCause } from "./tokens.ts";
import type { DurableStore } from "./durable-store.ts";
import type { RegistryEntry } from "./registry-file.ts";
import type { SessionFile } from "./session-file.ts";
import type { Store } from "./store.ts";
import { Tokens } from "./tokens.ts";

/** What the gate asks about a session, awake or not. */
export interface Credentials {
  readonly file: DurableStore<SessionFile>;
  readonly tokens: Tokens;
}

export interface CredentialsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly limits: Limits;
  keyEnd(keyId: KeyId): TokenEndCause | null;
  /** Seats taken with these tokens end. */
  onEnded(id: SessionId, tokenIds: readonly string[], why: SessiondError): void;
  /** False while the session needs them in memory. */
  mayLetGo(id: SessionId): boolean;
  /** Does this while nobody has the session in hand. @returns false, and nothing was done, where somebody has or it needs them */
  unattended(id: SessionId, work: () => Promise<void>): Promise<boolean>;
  /** Resolves when nobody has the session in hand. */
  freed(id: SessionId): Promise<void>;
  report(error: unknown): void;
}

/**
 * The slow facts and tokens of each session: read from disk when they are first asked for, and never
 * twice at a time, so that each file has one writer. Of sessions that are not in memory the last few are
 * kept; the others' are let go of, and read again when a call names them.
 */
export class SessionCredentials {
  readonly #options: CredentialsOptions;
  readonly #loading = new Map<SessionId, Promise<Credentials>>();
  /** Those that were asked for last are last. */
  readonly #loaded = new Map<SessionId, Credentials>();
  readonly #leaving = new Set<SessionId>();

  constructor(options: CredentialsOptions) {
    this.#options = options;
  }

  /**
   * @param isNew  the session's directory was made just now: there is nothing to read
   * @throws SessiondError storage_failed; the next call tries again
   */
  of(entry: RegistryEntry, isNew = false): Promise<Credentials> {
    let loading = this.#loading.get(entry.id);
    if (loading === undefined) {
      loading = this.#load(entry, isNew);
      this.#loading.set(entry.id, loading);
      loading.catch(() => this.#loading.delete(entry.id));
    }
    const held = this.#loaded.get(entry.id);
    if (held !== undefined && this.#loaded.delete(entry.id)) this.#loaded.set(entry.id, held);
    return loading;
  }

  /** One more session is not in memory any more. */
  spare(): void {
    const idle = [...this.#loaded.keys()].filter((id) => this.#options.mayLetGo(id) && !this.#leaving.has(id));
    for (const id of idle.slice(0, Math.max(0, idle.length - this.#options.limits.credentials_idle_max))) void this.#letGo(id);
  }

  /** Those of a session, where they are in memory. */
  loaded(id: SessionId): Credentials | undefined {
    return this.#loaded.get(id);
  }

  /** API keys have ended: so have the tokens that they were given, and who streams on one is told. */
  keysEnded(keyIds: readonly KeyId[], cause: TokenEndCause): void {
    for (const { tokens } of this.#loaded.values()) tokens.keysEnded(keyIds, cause);
  }

  /** If they are in memory, they are those of a session that does not exist. */
  forget(id: SessionId): void {
    this.#loading.delete(id);
    this.#loaded.delete(id);
  }

  /**
   * The last uses of its tokens, where they are in memory: one that was used a moment ago must not look
   * idle after a restart. Best effort: as long as the daemon runs, the tokens know it themselves.
   */
  async writeUse(id: SessionId): Promise<void> {
    const held = this.#loaded.get(id);
    await held?.tokens.writeUse().catch((error: unknown) => this.#options.report(error));
  }

  /** @param passedOver  written by somebody else */
  async writeUses(passedOver: (id: SessionId) => boolean): Promise<void> {
    await Promise.all([...this.#loaded.keys()].filter((id) => !passedOver(id)).map((id) => this.writeUse(id)));
  }

  async #letGo(id: SessionId): Promise<void> {
    this.#leaving.add(id);
    let gone = true;
    try {
      gone = await this.#options.unattended(id, async () => {
        const held = this.#loaded.get(id);
        await held?.tokens.writeUse();
        // Nobody waits for the writes of last uses: one that outlived this would undo what the next reader writes.
        await held?.file.settled();
        this.forget(id);
      });
      if (!gone) await this.#options.freed(id);
    } catch (error) {
      // What could not be written down is known here alone.
      this.#options.report(error);
    } finally {
      this.#leaving.delete(id);
    }
    // A call was at work on it; by now another may be the one to go.
    if (!gone) this.spare();
  }

  async #load(entry: RegistryEntry, isNew: boolean): Promise<Credentials> {
    const { store, clock, limits, keyEnd, onEnded } = this.#options;
    const file = await store.sessionFile(entry, isNew);
    const ended = (ids: readonly string[], cause: TokenEndCause) => onEnded(entry.id, ids, new SessiondError("token_ended", { cause }));
    const credentials = { file, tokens: new Tokens({ store: file, clock, limits, keyEnd, onEnded: ended }) };
    this.#loaded.set(entry.id, credentials);
    this.spare();
    return credentials;
  }
}
