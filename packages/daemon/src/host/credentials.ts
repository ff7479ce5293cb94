import { SessiondError, type Limits, type SessionId } from "@sessiond/shared";
import type { Clock } from "../clock.ts";
import type { TokenEndCause } from "./tokens.ts";
import type { DurableStore } from "./durable-store.ts";
import type { RegistryEntry } from "./registry.ts";
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
  /** Seats taken with these tokens end. */
  onEnded(id: SessionId, tokenIds: readonly string[], why: SessiondError): void;
  report(error: unknown): void;
}

/** The slow facts and tokens of each session: read from disk once, when they are first asked for, so that each file has one writer. */
export class SessionCredentials {
  readonly #options: CredentialsOptions;
  readonly #loading = new Map<SessionId, Promise<Credentials>>();
  readonly #loaded = new Map<SessionId, Credentials>();

  constructor(options: CredentialsOptions) {
    this.#options = options;
  }

  /** @throws SessiondError storage_failed; the next call tries again */
  of(entry: RegistryEntry): Promise<Credentials> {
    let loading = this.#loading.get(entry.id);
    if (loading === undefined) {
      loading = this.#load(entry);
      this.#loading.set(entry.id, loading);
      loading.catch(() => this.#loading.delete(entry.id));
    }
    return loading;
  }

  /** Those of a session, where they are in memory. */
  loaded(id: SessionId): Credentials | undefined {
    return this.#loaded.get(id);
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

  async #load(entry: RegistryEntry): Promise<Credentials> {
    const { store, clock, limits, onEnded } = this.#options;
    const file = await store.sessionFile(entry);
    const ended = (ids: readonly string[], cause: TokenEndCause) => onEnded(entry.id, ids, new SessiondError("token_ended", { cause }));
    const credentials = { file, tokens: new Tokens(file, clock, limits, ended) };
    this.#loaded.set(entry.id, credentials);
    return credentials;
  }
}
