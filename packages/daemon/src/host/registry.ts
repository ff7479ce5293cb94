import type { KeyId, SessionId } from "@sessiond/shared";
import type { Disk } from "../disk.ts";
import { DurableStore } from "./durable-store.ts";
import { registryForm, type RegistryEntry, type RegistryFile } from "./registry-file.ts";

/**
 * `registry.json`: which sessions there are. Written when one is created, stopped, begun again
 * or deleted, and at no other time. A session exists from the moment its entry is on disk.
 */
export class Registry {
  readonly #store: DurableStore<RegistryFile>;
  readonly #byId: Map<SessionId, RegistryEntry>;
  /** Deleted: gone from here for good, and from the file with its next write. */
  readonly #dropped = new Set<SessionId>();

  private constructor(store: DurableStore<RegistryFile>) {
    this.#store = store;
    this.#byId = new Map(store.data.sessions.map((entry) => [entry.id, entry]));
  }

  /**
   * @param rebuild   entries as the session folders tell them; used when the file is missing or unreadable
   * @param putAside  keeps an unreadable file under another name, and says so
   */
  static async open(
    disk: Disk,
    path: string,
    rebuild: () => Promise<RegistryEntry[]>,
    putAside: (path: string, reason: string) => Promise<void>,
  ): Promise<Registry> {
    let lost = (await disk.readText(path)) === null;
    const store = await DurableStore.open<RegistryFile>(disk, path, {
      ...registryForm(),
      initial: { version: 1, sessions: [] },
      unreadable: async (reason) => {
        await putAside(path, `the registry cannot be read: ${reason}; it was rebuilt from the session folders`);
        lost = true;
        return { version: 1, sessions: [] };
      },
    });
    if (lost) {
      const found = await rebuild();
      if (found.length > 0) await store.replace((file) => ({ ...file, sessions: found }));
    }
    return new Registry(store);
  }

  get(id: SessionId): RegistryEntry | undefined {
    return this.#byId.get(id);
  }

  /** Newest first. */
  all(): RegistryEntry[] {
    return [...this.#byId.values()].reverse();
  }

  stableOf(workdir: string): RegistryEntry | undefined {
    return this.#newest((entry) => entry.stable && entry.workdir === workdir);
  }

  /** @param keyId  whose request it was: another's is not repeated by its name */
  byRequest(requestId: string, keyId: KeyId | undefined): RegistryEntry | undefined {
    return this.#newest((entry) => entry.request_id === requestId && entry.key_id === keyId);
  }

  /** The commit point of a creation. @throws SessiondError storage_failed */
  add(entry: RegistryEntry): Promise<void> {
    return this.#rewrite(entry.id, (entries) => [...entries, entry]);
  }

  /** @throws SessiondError storage_failed */
  change(id: SessionId, change: Partial<Omit<RegistryEntry, "id">>): Promise<void> {
    return this.#rewrite(id, (entries) => entries.map((entry) => (entry.id === id ? { ...entry, ...change } : entry)));
  }

  /** Undo an `add` that failed: it may have reached the disk nevertheless. @throws SessiondError storage_failed */
  withdraw(id: SessionId): Promise<void> {
    return this.#rewrite(id, (entries) => entries.filter((entry) => entry.id !== id));
  }

  /**
   * Forget a session whose deletion is decided: in this step, and in the file when this resolves.
   *
   * @throws SessiondError storage_failed  the file has it still, and the next write leaves it out
   */
  drop(id: SessionId): Promise<void> {
    this.#dropped.add(id);
    this.#byId.delete(id);
    return this.#rewrite(id, (entries) => entries);
  }

  /** @param id  the one entry that is another afterwards */
  async #rewrite(id: SessionId, change: (entries: readonly RegistryEntry[]) => readonly RegistryEntry[]): Promise<void> {
    await this.#store.replace((file) => ({ ...file, sessions: change(file.sessions).filter((entry) => !this.#dropped.has(entry.id)) }));
    const entry = this.#newest((stored) => stored.id === id);
    if (entry === undefined) this.#byId.delete(id);
    else this.#byId.set(id, entry);
  }

  #newest(holds: (entry: RegistryEntry) => boolean): RegistryEntry | undefined {
    return this.#store.data.sessions.findLast((entry) => holds(entry) && !this.#dropped.has(entry.id));
  }
}
