import { Low, type Adapter } from "lowdb";
import { SessiondError } from "@sessiond/shared";
import type { z } from "zod";
import { dirname } from "node:path";
import { diskReason, type Disk } from "../disk.ts";

/**
 * lowdb on a disk that keeps what it was given: each write is atomic and synced, 0600, and
 * fails to the caller who made it. The stock adapter does none of that.
 *
 * A store is changed only through `update` and `replace`: what follows is made beside what there is,
 * validated, written, and only then seen by others; so a failed write leaves no half-change in memory.
 */
export class DurableStore<T extends object> {
  readonly #low: Low<T>;
  readonly #schema: z.ZodType<T>;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(low: Low<T>, schema: z.ZodType<T>) {
    this.#low = low;
    this.#schema = schema;
  }

  /** @throws SessiondError storage_failed  when the disk cannot be read */
  static async open<T extends object>(disk: Disk, path: string, contents: Contents<T>): Promise<DurableStore<T>> {
    const { schema, initial, isNew = false, encode = JSON.stringify } = contents;
    // A write has failed: the file holds what it held, or what was to be written.
    let uncertain = false;
    const adapter: Adapter<T> = {
      async read() {
        const text = await disk.readText(path);
        if (text === null) return null;
        let reason = "it has another form, or is of another version";
        try {
          const data = schema.parse(JSON.parse(text));
          if (contents.isOwn?.(data) !== false) return data;
        } catch (error) {
          if (error instanceof SyntaxError) reason = "it is not JSON";
        }
        return contents.unreadable(reason);
      },
      async write(data) {
        const text = encode(data);
        // Then taking it back may be no work at all: on a full disk another write would fail as well.
        const there = uncertain && (await disk.readText(path)) === text;
        uncertain = true;
        await (there ? disk.syncDirectory(dirname(path)) : disk.replace(path, text));
        uncertain = false;
      },
    };
    const low = new Low<T>(adapter, initial);
    try {
      if (!isNew) await low.read();
    } catch (cause) {
      if (cause instanceof SessiondError) throw cause;
      throw new SessiondError("storage_failed", { reason: diskReason(cause) }, { cause });
    }
    return new DurableStore(low, schema);
  }

  get data(): Readonly<T> {
    return this.#low.data;
  }

  /** Changes run one after another; resolves when the change is on disk. @throws SessiondError storage_failed */
  update(change: (draft: T) => void): Promise<void> {
    return this.replace((data) => {
      const draft = structuredClone(data);
      change(draft);
      return draft;
    });
  }

  /** As `update`, for what is too large to be copied: what follows shares with what there was all that stays. @throws SessiondError storage_failed */
  replace(change: (data: T) => T): Promise<void> {
    const run = this.#queue.then(async () => {
      const next = change(this.#low.data);
      this.#schema.parse(next);
      try {
        await this.#low.adapter.write(next);
      } catch (cause) {
        throw new SessiondError("storage_failed", { reason: diskReason(cause) }, { cause });
      }
      this.#low.data = next;
    });
    this.#queue = run.catch(() => undefined);
    return run;
  }

  /** Resolves when no change is on its way to the disk. */
  async settled(): Promise<void> {
    await this.#queue;
  }
}

/** What a store holds, and what it begins with. */
export interface Contents<T> {
  readonly schema: z.ZodType<T>;
  /** Where there is no file. */
  readonly initial: T;
  /** Its directory was made just now: no file is looked for. */
  readonly isNew?: boolean;
  /** False for another's file, whose form is right. */
  isOwn?(data: T): boolean;
  /** As JSON, where that is to be had for less. */
  encode?(data: T): string;
  /** Called when the file is there and is not what it should be. @returns the contents to begin with */
  unreadable(reason: string): Promise<T>;
}
