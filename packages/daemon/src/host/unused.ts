import type { SessionId, SessionState } from "@sessiond/shared";
import type { Session } from "../session/session.ts";
import { SessionLog } from "../session/session-log.ts";
import type { Host } from "./host.ts";
import type { RegistryEntry } from "./registry-file.ts";
import type { UnusedMark } from "./unused-marks.ts";

/**
 * Sessions that never had a turn, and how one of them is deleted: whole or not at all. What says so
 * is its own journal, every frame of it; and its doomed mark is the commit point (unused-marks.ts).
 * Held prompts were somebody's work: a session that has one is not unused.
 */
export const neverUsed = (state: SessionState): boolean => state.turns === 0 && state.turn === null && state.queue.length === 0;

export class Unused {
  readonly #host: Host;

  constructor(host: Host) {
    this.#host = host;
  }

  /** Since when nobody has used it: an empty session's newest frame says when its last seat left. Who was given a token since may be about to come. */
  since(id: SessionId, log: SessionLog): number {
    const given = (this.#host.credentials.loaded(id)?.tokens.list() ?? []).map((token) => token.created_at);
    return Math.max(log.newestAt, this.#host.entry(id)?.created_at ?? 0, ...given);
  }

  /**
   * It goes from memory: leave a mark where it was never used. Without its mark it is kept, which
   * is too long, and no loss.
   *
   * @returns false when it is to be kept
   */
  async mark({ id, log }: Session): Promise<boolean> {
    const { state } = log.shown;
    if (!neverUsed(state) || log.room.fault !== undefined) return false;
    const since = this.since(id, log);
    return this.#host.options.store.unused.write(id, { seq: state.seq, since, doomed: false }).then(
      () => true,
      () => false,
    );
  }

  /**
   * Delete it, if it is not in memory and its time has passed. Nobody else may be at work on it.
   *
   * @returns how long it still has, where it is not unused for long enough; null when it is deleted, or to be kept
   * @throws SessiondError storage_failed
   */
  async delete(id: SessionId): Promise<number | null> {
    const { store } = this.#host.options;
    const entry = this.#host.entry(id);
    if (this.#host.draining || this.#host.inMemory(id) !== undefined || entry === undefined) return null;
    const mark = await this.#proven(entry);
    if (mark === null) {
      await store.unused.remove(id);
      return null;
    }
    if (!mark.doomed) {
      const wait = this.#wait(id, mark.since);
      if (wait > 0) return wait;
      await store.unused.write(id, { ...mark, doomed: true });
    }
    await this.remove(id);
    return null;
  }

  /** By its files and by this process: a clock that was set forward takes no time from who was given a token just now. */
  #wait(id: SessionId, since: number): number {
    const { clock, limits } = this.#host.options;
    const given = this.#host.credentials.loaded(id)?.tokens.givenAt ?? Number.NEGATIVE_INFINITY;
    const left = Math.max(since - clock.now(), given - clock.steady()) + limits.unused_delete_ms;
    return Math.min(left, limits.unused_delete_ms);
  }

  /** Its deletion is decided. What fails here is done by the next start. @throws SessiondError storage_failed */
  async remove(id: SessionId): Promise<void> {
    const { registry, store } = this.#host.options;
    const entry = this.#host.entry(id);
    const dropped = registry.drop(id);
    if (entry !== undefined) this.#host.forget(entry);
    await dropped;
    await store.removeSession(id);
    await store.unmarkOpen(id);
    await store.unused.remove(id);
  }

  /**
   * The mark as the session's own files say it now; null where they say otherwise. A journal that is
   * damaged or gone, or anything set aside, is evidence, and is kept.
   */
  async #proven(entry: RegistryEntry): Promise<UnusedMark | null> {
    const { store } = this.#host.options;
    const mark = await store.unused.read(entry.id);
    // Found out before, by a daemon that did not get any further.
    if (mark?.doomed === true) return mark;
    try {
      await this.#host.credentials.of(entry);
      if (mark === null || (await store.holdsSetAside(entry.id))) return null;
      const log = await SessionLog.openForReading(store.logOptions(entry.id));
      await log.close();
      const { state } = log.shown;
      const same = !log.damaged && neverUsed(state) && state.seq === mark.seq && state.life === entry.life;
      return same ? { seq: mark.seq, since: this.since(entry.id, log), doomed: false } : null;
    } catch {
      return null;
    }
  }
}
