import { schemas, type KeyId, type SessionId } from "@sessiond/shared";
import { z } from "zod";
import type { Disk } from "../disk.ts";
import { DurableStore } from "./durable-store.ts";

/**
 * `registry.json`: which sessions there are. Written when one is created, stopped, begun again
 * or deleted, and at no other time. A session exists from the moment its entry is on disk.
 */
const registryEntry = z.strictObject({
  id: schemas.sessionId,
  workdir: z.string(),
  /** The one session of its workdir. */
  stable: z.boolean(),
  life: z.int().nonnegative(),
  stopped: z.boolean(),
  created_at: schemas.millis,
  request_id: schemas.requestId.optional(),
  /** The API key that started it. */
  key_id: schemas.keyId.optional(),
  /** The API key that began the present life: in its share of the sessions it counts. */
  begun_by: schemas.keyId.optional(),
});
export type RegistryEntry = z.infer<typeof registryEntry>;

export const registryFile = z.strictObject({ version: z.literal(1), sessions: z.array(registryEntry) });
type RegistryFile = z.infer<typeof registryFile>;

export class Registry {
  readonly #store: DurableStore<RegistryFile>;
  #byId: Map<SessionId, RegistryEntry>;
  /** Deleted: gone from here for good, and from the file with its next write. */
  readonly #dropped = new Set<SessionId>();

  private constructor(store: DurableStore<RegistryFile>) {
    this.#store = store;
    this.#byId = new Map(store.data.sessions.map((entry) => [entry.id, entry]));
  }

  /**
   * @param rebuild   entries as the session folders tell them; used when the file is missing or unreadable
   * @param setAside  told what became of an unreadable file
   */
  static async open(
    disk: Disk,
    path: string,
    now: number,
    rebuild: () => Promise<RegistryEntry[]>,
    setAside: (path: string, reason: string) => void,
  ): Promise<Registry> {
    let lost = (await disk.readText(path)) === null;
    const store = await DurableStore.open<RegistryFile>(disk, path, {
      schema: registryFile,
      initial: { version: 1, sessions: [] },
      unreadable: async (reason) => {
        const kept = `${path}.unreadable-${now}`;
        await disk.rename(path, kept);
        setAside(kept, `the registry cannot be read: ${reason}; it was rebuilt from the session folders`);
        lost = true;
        return { version: 1, sessions: [] };
      },
    });
    if (lost) {
      const found = await rebuild();
      if (found.length > 0) await store.update((file) => void file.sessions.push(...found));
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
    return this.all().find((entry) => entry.stable && entry.workdir === workdir);
  }

  /** @param keyId  whose request it was: another's is not repeated by its name */
  byRequest(requestId: string, keyId: KeyId | undefined): RegistryEntry | undefined {
    return this.all().find((entry) => entry.request_id === requestId && entry.key_id === keyId);
  }

  /** The commit point of a creation. @throws SessiondError storage_failed */
  async add(entry: RegistryEntry): Promise<void> {
    await this.#update((file) => void file.sessions.push(entry));
  }

  /** @throws SessiondError storage_failed */
  async change(id: SessionId, change: Partial<Omit<RegistryEntry, "id">>): Promise<void> {
    await this.#update((file) => {
      const entry = file.sessions.find((stored) => stored.id === id);
      if (entry !== undefined) Object.assign(entry, change);
    });
  }

  /** Undo an `add` that failed: it may have reached the disk nevertheless. @throws SessiondError storage_failed */
  async withdraw(id: SessionId): Promise<void> {
    await this.#update((file) => void (file.sessions = file.sessions.filter((entry) => entry.id !== id)));
  }

  /**
   * Forget a session whose deletion is decided: in this step, and in the file when this resolves.
   *
   * @throws SessiondError storage_failed  the file has it still, and the next write leaves it out
   */
  drop(id: SessionId): Promise<void> {
    this.#dropped.add(id);
    this.#refresh();
    return this.#update(() => undefined);
  }

  async #update(change: (file: RegistryFile) => void): Promise<void> {
    await this.#store.update((file) => {
      change(file);
      file.sessions = file.sessions.filter(({ id }) => !this.#dropped.has(id));
    });
    this.#refresh();
  }

  #refresh(): void {
    this.#byId = new Map(this.#store.data.sessions.filter(({ id }) => !this.#dropped.has(id)).map((entry) => [entry.id, entry]));
  }
}
