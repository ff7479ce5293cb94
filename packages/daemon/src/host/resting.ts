import type { SessionId } from "@sessiond/shared";
import type { Session } from "../session/session.ts";
import type { Host } from "./host.ts";
import { neverUsed, Unused } from "./unused.ts";

/**
 * What becomes of sessions that nobody uses, and when. One that is idle and empty for
 * `rest_after_ms` is put to rest, and the next call wakes it; one that never had a turn is deleted
 * `unused_delete_ms` after its last seat left, or after a token for it was given out, whichever is later.
 *
 * One timer for all: it stands at the earliest time at which something may be due, and what is due
 * is judged anew when it fires, alone with the session (leases.ts). Held prompts keep no session
 * in memory: they wait for a person.
 */
export class Resting {
  readonly #host: Host;
  readonly #neverUsed: Unused;
  /**
   * Those in memory: when each was woken, or changed last; and since when it is unused, if it is,
   * which goes on through a waking. As all times here, by the clock that nobody sets.
   */
  readonly #quiet = new Map<SessionId, { readonly since: number; readonly unusedSince: number }>();
  /** Not in memory and never used: since when. */
  readonly #unusedSince = new Map<SessionId, number>();
  /** What is done about a session now, or waited for before it is tried again. */
  readonly #busy = new Set<SessionId>();
  readonly #under = new Set<Promise<unknown>>();
  #timer: { readonly at: number; readonly cancel: () => void } | null = null;

  constructor(host: Host) {
    this.#host = host;
    this.#neverUsed = new Unused(host);
  }

  /** After a start: what was unused when the daemon last ended, and deletions that it did not end. */
  begin(): Promise<void> {
    return this.#track(this.#begin());
  }

  end(): void {
    this.#timer?.cancel();
  }

  /** Resolves when nothing is under way that has begun. */
  async settled(): Promise<void> {
    while (this.#under.size > 0) await Promise.allSettled(this.#under);
  }

  woken(session: Session): void {
    this.#quiet.set(session.id, { since: this.#now, unusedSince: this.#now - this.#age(this.#neverUsed.since(session.id, session.log)) });
    this.#unusedSince.delete(session.id);
    this.#follow(session);
  }

  /** It is not in memory, was never used, and is to be deleted for that. */
  watches(id: SessionId): boolean {
    return this.#unusedSince.has(id);
  }

  /** Something of it is shown that was not before. */
  changed(session: Session): void {
    if (this.#quiet.has(session.id)) this.#quiet.set(session.id, { since: this.#now, unusedSince: this.#now });
    this.#follow(session);
  }

  #follow(session: Session): void {
    if (session.idle) this.#lookAt(this.#due(session));
  }

  /** It goes from memory. */
  async left(session: Session): Promise<void> {
    const since = this.#unused(session.id);
    this.#quiet.delete(session.id);
    if (!(await this.#neverUsed.mark(session))) return;
    this.#unusedSince.set(session.id, since);
    this.#lookAt(since + this.#host.options.limits.unused_delete_ms);
  }

  async #begin(): Promise<void> {
    const { unused } = this.#host.options.store;
    for (const id of await unused.all()) {
      const mark = await unused.read(id);
      if (this.#host.entry(id) === undefined) await (mark?.doomed === true ? this.#neverUsed.remove(id) : unused.remove(id));
      else if (this.#host.inMemory(id) === undefined) this.#unusedSince.set(id, this.#now - this.#age(mark?.since ?? 0));
    }
    this.#look();
  }

  get #now(): number {
    return this.#host.options.clock.steady();
  }

  /** Of what a file says. A clock that was set back since does not make anybody wait longer than the whole time, nor less than none. */
  #age(since: number): number {
    const { clock, limits } = this.#host.options;
    return Math.max(0, Math.min(clock.now() - since, limits.unused_delete_ms));
  }

  /** Since when nobody has done anything with one in memory, nor was given a token for it. */
  #unused(id: SessionId): number {
    return Math.max(this.#quiet.get(id)?.unusedSince ?? this.#now, this.#host.credentials.loaded(id)?.tokens.givenAt ?? Number.NEGATIVE_INFINITY);
  }

  /** When there is something to do with an idle session. */
  #due(session: Session): number {
    const { rest_after_ms, unused_delete_ms } = this.#host.options.limits;
    const rest = (this.#quiet.get(session.id)?.since ?? this.#now) + rest_after_ms;
    return neverUsed(session.state) ? Math.min(rest, this.#unused(session.id) + unused_delete_ms) : rest;
  }

  #lookAt(at: number): void {
    if (this.#host.draining || (this.#timer !== null && this.#timer.at <= at)) return;
    this.#timer?.cancel();
    const look = () => {
      this.#timer = null;
      this.#look();
    };
    this.#timer = { at, cancel: at > this.#now ? this.#host.options.clock.after(at - this.#now, look) : soon(look) };
  }

  #look(): void {
    if (this.#host.draining) return;
    const { unused_delete_ms } = this.#host.options.limits;
    for (const session of this.#host.awake) if (session.idle) this.#whenDue(session.id, this.#due(session), () => this.#rest(session));
    for (const [id, since] of this.#unusedSince) this.#whenDue(id, since + unused_delete_ms, () => this.#delete(id));
  }

  #whenDue(id: SessionId, due: number, work: () => Promise<boolean>): void {
    if (due > this.#now) return this.#lookAt(due);
    if (this.#busy.has(id)) return;
    this.#busy.add(id);
    void this.#track(this.#act(id, work));
  }

  #track(work: Promise<void>): Promise<void> {
    const tracked: Promise<void> = work.finally(() => this.#under.delete(tracked));
    this.#under.add(tracked);
    return tracked;
  }

  async #act(id: SessionId, work: () => Promise<boolean>): Promise<void> {
    const again = () => {
      this.#busy.delete(id);
      this.#look();
    };
    try {
      // Where a call was at work on it: when that is through.
      if (!(await work())) return void this.#host.leases.freed(id).then(again);
    } catch (error) {
      // Tried again when that much time has passed once more: the disk may have room then.
      if (this.#unusedSince.has(id)) this.#unusedSince.set(id, this.#now);
      this.#host.options.report(error);
    }
    again();
  }

  /** @returns false when a call was at work on it */
  #rest(session: Session): Promise<boolean> {
    const host = this.#host;
    return host.serial.run(session.id, () =>
      host.leases.vacate(session.id, async () => {
        const stays = host.draining || host.inMemory(session.id) !== session || !session.idle || this.#due(session) > this.#now;
        if (!stays) await host.rest(session);
      }),
    );
  }

  /** In the order in which a start of this directory, or a repeated request, takes its turn. @returns as `#rest` */
  async #delete(id: SessionId): Promise<boolean> {
    const { leases, serial } = this.#host;
    const entry = this.#host.entry(id);
    if (entry === undefined) return this.#unusedSince.delete(id);
    const work = async () => {
      const wait = await this.#neverUsed.delete(id);
      if (wait === null) this.#unusedSince.delete(id);
      else this.#unusedSince.set(id, this.#now + wait - this.#host.options.limits.unused_delete_ms);
    };
    const alone = () => leases.vacate(id, work);
    return serial.run(`workdir ${entry.workdir}`, () => serial.run(`request ${entry.request_id ?? id}`, () => serial.run(id, alone)));
  }
}

/** In a step of its own: whatever has just changed is through by then. */
function soon(look: () => void): () => void {
  const immediate = setImmediate(look);
  return () => clearImmediate(immediate);
}
