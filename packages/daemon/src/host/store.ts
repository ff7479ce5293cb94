import { join } from "node:path";
import { SessiondError, type SessionId } from "@sessiond/shared";
import type { Clock } from "../clock.ts";
import { diskReason, isHalfReplaced, type Disk } from "../disk.ts";
import { SessionLog, type LogOptions } from "../session/session-log.ts";
import { keysFile, type KeysFile } from "./api-keys.ts";
import { DurableStore } from "./durable-store.ts";
import type { RegistryEntry } from "./registry-file.ts";
import { Registry } from "./registry.ts";
import { RememberedAnswers, rulesFile, type RulesFile } from "./remembered-answers.ts";
import { sessionFile, type SessionFile } from "./session-file.ts";
import { UnusedMarks } from "./unused-marks.ts";

/**
 * Where things lie in the state directory, and what is done with what cannot be read: it is kept
 * under another name and reported, never overwritten.
 *
 *     registry.json             which sessions there are
 *     rules.json                answers remembered for a directory
 *     keys.json                 the API keys
 *     sessions/<id>/            session.json, journal
 *     open/<id>                 present while the session may be written to: a start opens exactly these
 *     unused/<id>               present while a session that never had a turn is not in memory
 */
export class Store {
  readonly root: string;
  readonly disk: Disk;
  readonly unused: UnusedMarks;
  readonly setAside: { path: string; reason: string }[] = [];
  readonly #clock: Clock;
  /** What every session's log is given. */
  readonly #log: Pick<LogOptions, "counters" | "limits" | "report">;

  constructor(root: string, disk: Disk, clock: Clock, log: Pick<LogOptions, "counters" | "limits" | "report">) {
    this.root = root;
    this.disk = disk;
    this.unused = new UnusedMarks(root, disk);
    this.#clock = clock;
    this.#log = log;
  }

  readonly keepAside = (path: string, reason: string): void => void this.setAside.push({ path, reason });

  /** What cannot be read is kept under another name, and reported. */
  readonly #putAside = async (path: string, reason: string): Promise<void> => {
    const kept = `${path}.unreadable-${this.#clock.now()}`;
    await this.disk.rename(path, kept);
    this.keepAside(kept, reason);
  };

  /** @throws SessiondError storage_failed */
  async prepare(): Promise<Registry> {
    return this.#typed(async () => {
      for (const directory of [this.root, join(this.root, "sessions"), join(this.root, "open"), this.unused.directory])
        await this.disk.makeDirectory(directory);
      for (const directory of [this.root, join(this.root, "open"), this.unused.directory]) await this.#sweep(directory);
      return Registry.open(this.disk, join(this.root, "registry.json"), () => this.#rebuild(), this.#putAside);
    });
  }

  /** Answers remembered for directories; where the file cannot be read, none is. @throws SessiondError storage_failed */
  async remembered(): Promise<RememberedAnswers> {
    const path = join(this.root, "rules.json");
    const none: RulesFile = { version: 1, workdirs: {} };
    const store = await DurableStore.open<RulesFile>(this.disk, path, {
      schema: rulesFile,
      initial: none,
      unreadable: async (reason) => {
        await this.#putAside(path, `the remembered answers cannot be read: ${reason}; none counts, so they are asked for again`);
        return none;
      },
    });
    return new RememberedAnswers(store);
  }

  /** The API keys. Unreadable ones count no more: nobody is let in by a guess. */
  apiKeys(): Promise<DurableStore<KeysFile>> {
    const path = join(this.root, "keys.json");
    const none: KeysFile = { version: 1, keys: [] };
    return DurableStore.open<KeysFile>(this.disk, path, {
      schema: keysFile,
      initial: none,
      unreadable: async (reason) => {
        await this.#putAside(path, `the API keys cannot be read: ${reason}; none counts, so make new ones`);
        return none;
      },
    });
  }

  directory(id: SessionId): string {
    return join(this.root, "sessions", id);
  }

  /** Sessions that were being written to when the daemon last ended. @throws SessiondError storage_failed */
  openSessions(): Promise<string[]> {
    return this.#typed(() => this.disk.list(join(this.root, "open")));
  }

  /**
   * It may be used from here on.
   *
   * @param isKnown  false while it is being created: it was never out of memory
   */
  markOpen(id: SessionId, isKnown: boolean): Promise<void> {
    return this.#typed(async () => {
      await this.disk.replace(join(this.root, "open", id), "");
      if (isKnown) await this.unused.remove(id);
    });
  }

  unmarkOpen(id: SessionId): Promise<void> {
    return this.#typed(() => this.disk.remove(join(this.root, "open", id)));
  }

  /** @returns whether it is new, and nothing in it. @throws SessiondError storage_failed */
  makeSessionDirectory(id: SessionId): Promise<boolean> {
    return this.#typed(async () => {
      const isNew = await this.disk.makeDirectory(this.directory(id));
      await this.disk.syncDirectory(join(this.root, "sessions"));
      return isNew;
    });
  }

  /** True when something of it could not be read at some time, and lies beside it. */
  async holdsSetAside(id: SessionId): Promise<boolean> {
    return (await this.disk.list(this.directory(id))).some((name) => /\.(damaged|unreadable)-/.test(name));
  }

  removeSession(id: SessionId): Promise<void> {
    return this.#typed(() => this.disk.remove(this.directory(id)));
  }

  /**
   * The session's slow facts; an unreadable file is set aside, and its tokens are gone with it.
   *
   * @param isNew  its directory was made just now
   */
  async sessionFile(entry: RegistryEntry, isNew = false): Promise<DurableStore<SessionFile>> {
    if (!isNew) await this.#typed(() => this.#sweep(this.directory(entry.id)));
    const path = join(this.directory(entry.id), "session.json");
    const fresh: SessionFile = {
      version: 1,
      session_id: entry.id,
      workdir: entry.workdir,
      stable: entry.stable,
      created_at: entry.created_at,
      tokens: [],
      env: {},
      drivers: [],
      ...(entry.request_id !== undefined && { request_id: entry.request_id }),
      ...(entry.key_id !== undefined && { key_id: entry.key_id }),
    };
    return DurableStore.open<SessionFile>(this.disk, path, {
      schema: sessionFile,
      initial: fresh,
      isNew,
      isOwn: (file) => file.session_id === entry.id,
      unreadable: async (reason) => {
        await this.#putAside(path, `a session's file cannot be read: ${reason}; its tokens are gone, mint new ones`);
        return fresh;
      },
    });
  }

  logOptions(id: SessionId): LogOptions {
    return { sessionId: id, directory: this.directory(id), disk: this.disk, clock: this.#clock, setAside: this.keepAside, ...this.#log };
  }

  /** What a daemon that was killed left half replaced; called before this one replaces anything there. */
  async #sweep(directory: string): Promise<void> {
    for (const name of await this.disk.list(directory)) if (isHalfReplaced(name)) await this.disk.remove(join(directory, name));
  }

  /** A lost registry, as the folders tell it. What cannot be read is set aside and left out. */
  async #rebuild(): Promise<RegistryEntry[]> {
    const found: RegistryEntry[] = [];
    for (const id of await this.disk.list(join(this.root, "sessions"))) {
      // Its deletion had begun; what is left of it may be no whole session.
      if ((await this.unused.read(id))?.doomed === true) continue;
      try {
        const text = await this.disk.readText(join(this.directory(id), "session.json"));
        const file = sessionFile.parse(JSON.parse(text ?? "null"));
        if (file.session_id !== id) throw new Error("it names another session");
        const log = await SessionLog.openForReading(this.logOptions(id));
        const state = log.shown.state;
        await log.close();
        // A session whose first frame was never written was never created.
        if (state.life === 0) continue;
        found.push({
          id,
          workdir: file.workdir,
          stable: file.stable,
          life: state.life,
          stopped: state.life_state === "stopped",
          created_at: file.created_at,
          ...(file.request_id !== undefined && { request_id: file.request_id }),
          // Who began its last life is told nowhere else: most likely whoever began its first.
          ...(file.key_id !== undefined && { key_id: file.key_id, begun_by: file.key_id }),
        });
      } catch (error) {
        if (id.includes(".unreadable-")) continue;
        await this.#putAside(this.directory(id), `a session's folder cannot be read: ${diskReason(error instanceof SessiondError ? error.cause : error)}`);
      }
    }
    return found.sort((a, b) => a.created_at - b.created_at);
  }

  async #typed<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof SessiondError) throw cause;
      throw new SessiondError("storage_failed", { reason: diskReason(cause) }, { cause });
    }
  }
}
