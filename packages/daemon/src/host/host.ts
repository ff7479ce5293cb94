import {
  isSessiondError,
  SessiondError,
  type Actor,
  type AgentInfo,
  type HostEvent,
  type KeyId,
  type Limits,
  type Sandbox,
  type SessionId,
  type SessionListing,
} from "@sessiond/shared";
import type { AgentKind } from "../agents/agent.ts";
import { within, type Clock } from "../clock.ts";
import { Session } from "../session/session.ts";
import { SessionLog, type SessionFacts } from "../session/session-log.ts";
import { changes, seenOf } from "./changes.ts";
import { SessionCredentials } from "./credentials.ts";
import type { DurableStore } from "./durable-store.ts";
import { HostRoom } from "./host-room.ts";
import { Leases } from "./leases.ts";
import { everywhere, type Reach } from "./reach.ts";
import { listingOf } from "./listing.ts";
import type { RegistryEntry } from "./registry-file.ts";
import type { Registry } from "./registry.ts";
import type { RememberedAnswers } from "./remembered-answers.ts";
import { Resting } from "./resting.ts";
import { Serial } from "./serial.ts";
import type { SessionFile } from "./session-file.ts";
import type { Store } from "./store.ts";
import type { TokenEndCause } from "./tokens.ts";
import type { WorkdirRules } from "./workdir.ts";

/**
 * The set of sessions: wakes them, puts them to rest, ends their lives, and tells those who watch;
 * how lives begin is in starts.ts, what becomes of sessions that nobody uses in resting.ts. Steps
 * that concern one session or one directory run one after another; different ones side by side.
 */
export interface HostOptions {
  readonly bootId: string;
  readonly store: Store;
  readonly registry: Registry;
  readonly remembered: RememberedAnswers;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly kinds: ReadonlyMap<string, AgentKind>;
  readonly defaultAgent: string;
  readonly workdirs: WorkdirRules;
  keyEnd(keyId: KeyId): TokenEndCause | null;
  /** Names that the configuration adds to the variables that may go with a start. */
  readonly envAllow: readonly string[];
  /** In what commands run where a start does not say. */
  readonly defaultSandbox: Sandbox;
  report(error: unknown): void;
  /** What it did by itself, for the daemon's log. */
  note(what: string, about: Readonly<Record<string, unknown>>): void;
}

export class Host {
  readonly options: HostOptions;
  draining = false;
  readonly #awake = new Map<SessionId, Session>();
  /** Opened or being opened, and not adopted yet: they count too. */
  readonly #opening = new Set<SessionId>();
  readonly #waking = new Map<SessionId, Promise<Session>>();
  /** Open when the daemon last ended, and not to be opened by this one; with what the disk said. */
  readonly unopened = new Map<SessionId, string>();
  readonly credentials: SessionCredentials;
  readonly room: HostRoom;
  readonly leases = new Leases();
  readonly resting: Resting;
  /** Steps that concern one session or directory. */
  readonly serial = new Serial();

  constructor(options: HostOptions) {
    this.options = options;
    const onEnded = (id: SessionId, tokenIds: readonly string[], why: SessiondError) => this.#awake.get(id)?.seats.tokensEnded(tokenIds, why);
    this.credentials = new SessionCredentials({
      ...options,
      onEnded,
      mayLetGo: (id) => this.#mayLetGo(id),
      unattended: (id, work) => this.#unattended(id, work),
      freed: (id) => this.leases.freed(id),
    });
    this.room = new HostRoom({ epoch: options.bootId, clock: options.clock, limits: options.limits, list: (reach) => this.list(reach) });
    this.resting = new Resting(this);
  }

  /**
   * Begin to open what was open when the daemon last ended. From when this resolves, calls on those
   * sessions wait for them; `done` when all are open. One that cannot be opened keeps nobody else waiting.
   */
  async recover(): Promise<{ done: Promise<void> }> {
    const left = await this.options.store.openSessions();
    const opening = left.map(async (id) => {
      // A creation that was never committed: nobody was told of it.
      if (this.entry(id) === undefined) return this.options.store.unmarkOpen(id);
      await this.session(id, true);
    });
    const done = Promise.allSettled(opening).then((results) => {
      for (const [index, result] of results.entries()) {
        if (result.status === "fulfilled" || isSessiondError(result.reason, "session_stopped")) continue;
        const reason: unknown = result.reason;
        this.unopened.set(left[index] ?? "", reason instanceof Error ? reason.message : String(reason));
        this.options.report(reason);
      }
    });
    return { done };
  }

  get awake(): readonly Session[] {
    return [...this.#awake.values()];
  }

  entry(id: SessionId): RegistryEntry | undefined {
    return this.options.registry.get(id);
  }

  /** Resolves when the session is not in the middle of being woken, or begun again. */
  async settled(id: SessionId): Promise<void> {
    await this.#waking.get(id)?.catch(() => undefined);
  }

  /** Not in memory, nor on its way there; and no deletion hangs on when its last token was given. */
  #mayLetGo(id: SessionId): boolean {
    return !this.#awake.has(id) && !this.#opening.has(id) && !this.resting.watches(id);
  }

  #unattended(id: SessionId, work: () => Promise<void>): Promise<boolean> {
    return this.serial.run(id, async () => {
      await this.settled(id);
      return this.#mayLetGo(id) && this.leases.vacate(id, work);
    });
  }

  /** A session in memory, live or just stopped. */
  inMemory(id: SessionId): Session | undefined {
    return this.#awake.get(id);
  }

  /** Life and whether it still runs, without waking anything. */
  life(entry: RegistryEntry): { life: number; stopped: boolean } {
    const session = this.#awake.get(entry.id);
    return session === undefined ? { life: entry.life, stopped: entry.stopped } : { life: session.state.life, stopped: !session.live };
  }

  /** It was deleted: the registry does not know it any more. */
  forget(entry: RegistryEntry): void {
    const { id, workdir } = entry;
    this.credentials.forget(id);
    this.unopened.delete(id);
    this.options.note("deleted a session that was never used", { session: id, workdir });
    this.room.publish(entry, { type: "session_deleted", session_id: id });
  }

  /**
   * The session, woken if it rests.
   *
   * @param crashed  it was open when the daemon ended, so its registry entry may be behind its journal
   * @throws SessiondError not_found, session_stopped, storage_failed
   */
  async session(id: SessionId, crashed = false): Promise<Session> {
    const awake = this.#awake.get(id);
    if (awake !== undefined) return awake;
    const entry = this.entry(id);
    if (entry === undefined) throw new SessiondError("not_found", { what: "session" });
    const waking = this.#waking.get(id);
    if (waking !== undefined) return waking;
    if (entry.stopped && !crashed) throw new SessiondError("session_stopped");
    if (this.draining) throw new SessiondError("shutting_down");
    return this.opens(id, this.#wake(entry));
  }

  /** Who calls while a session is being woken, or its next life begins, waits for that: its journal has one writer. */
  opens(id: SessionId, work: Promise<Session>): Promise<Session> {
    const opening = work.finally(() => this.#waking.delete(id));
    this.#waking.set(id, opening);
    return opening;
  }

  /** Read a session's log without waking it: a stopped one. Close it afterwards. */
  async stoppedLog(id: SessionId): Promise<SessionLog> {
    // In the instant of its stop the last frames may still be on their way to disk.
    const stopping = this.#awake.get(id);
    if (stopping !== undefined) await stopping.log.durable(stopping.state.seq);
    const log = await SessionLog.openForReading(this.options.store.logOptions(id));
    log.room.end("complete");
    return log;
  }

  async #readStopped(id: SessionId): Promise<SessionLog["shown"]> {
    const log = await this.stoppedLog(id);
    await log.close();
    return log.shown;
  }

  /**
   * End a life, here and in the registry; a repeat gets the same answer.
   *
   * @param mustStand  asked once more when its turn has come: who asked may have ended by then
   * @param life  the only one to end; when it is over already, the answer is how it ended
   * @throws SessiondError not_found, unauthenticated, storage_failed
   */
  async stop(id: SessionId, by: Actor, mustStand: () => void, life?: number): Promise<{ seq: number; life: number }> {
    const entry = this.entry(id);
    if (entry === undefined) throw new SessiondError("not_found", { what: "session" });
    return this.serial.run(id, async () => {
      await this.settled(id);
      if (this.entry(id) === undefined) throw new SessiondError("not_found", { what: "session" });
      if (life !== undefined && life !== this.life(this.entry(id) ?? entry).life) return { seq: await this.#endOf(id, life), life };
      if (this.entry(id)?.stopped === true && !this.#awake.has(id)) {
        const { state, ends } = await this.#readStopped(id);
        if (state.life_state === "stopped") return { seq: state.seq, life: state.life };
        // A start that failed behind its first frame has left a life of which nobody was told: it is ended like any other.
        if (life !== undefined && life !== state.life) return { seq: ends.get(life) ?? 0, life };
      }
      const session = await this.session(id, true).catch((error: unknown) => {
        if (isSessiondError(error, "session_stopped")) return null;
        throw error;
      });
      if (session === null) {
        // Its journal knew that it had ended, and the registry does now.
        const { state } = await this.#readStopped(id);
        return { seq: state.seq, life: state.life };
      }
      const stopped = await session.stop(by, mustStand);
      await this.putAway(session, stopped.life);
      return stopped;
    });
  }

  /** What `session_info` tells that is not in the journal. */
  async facts(entry: RegistryEntry): Promise<SessionFacts> {
    return this.#factsOf(entry, (await this.credentials.of(entry)).file.data);
  }

  /** True when the token has a seat in the session, connected or in its grace. */
  holdsSeat(id: SessionId, tokenId: string): boolean {
    return this.#awake.get(id)?.seats.holdsSeat(tokenId) ?? false;
  }

  /** Let agents look for what they need, before they are told of; a disk that does not answer holds nobody up for long. */
  async look(): Promise<void> {
    const { clock, limits, kinds } = this.options;
    await within(clock, limits.agent_look_ms, Promise.all([...kinds.values()].map(async (kind) => kind.look?.())));
  }

  /** Those that are offered, as they were when they looked last: one that can be named all the same need not be there. */
  agents(): AgentInfo[] {
    return [...this.options.kinds.values()].filter((kind) => kind.isOffered?.() !== false).map((kind) => kind.info());
  }

  /** @returns those within reach, newest first */
  list(reach: Reach = everywhere): SessionListing[] {
    const entries = this.options.registry.all().filter((entry) => reach.sees(entry));
    return entries.map((entry) => listingOf(entry, this.#awake.get(entry.id)));
  }

  /** No new work from here on; resolves when everything is at rest. */
  async drain(waitMs: number): Promise<void> {
    this.draining = true;
    this.resting.end();
    const { clock, limits } = this.options;
    await within(clock, limits.rest_wait_ms, Promise.allSettled([...this.#waking.values(), this.resting.settled()]));
    await Promise.all(this.awake.map((session) => session.quiesce(waitMs)));
    // A disk that hangs keeps its session marked open: the next start does what it does after a crash.
    const uses = this.credentials.writeUses((id) => this.#awake.has(id));
    await within(clock, limits.rest_wait_ms, Promise.all([...this.awake.map((session) => this.#rest(session)), uses]));
    this.room.end(new SessiondError("shutting_down"));
  }

  /** Put one to rest that is idle; nobody may be at work on it. */
  async rest(session: Session): Promise<void> {
    this.#awake.delete(session.id);
    await this.#rest(session);
  }

  async #rest(session: Session): Promise<void> {
    try {
      try {
        await session.rest(new SessiondError("shutting_down"));
      } finally {
        // Whatever fails, its files are let go of: the next call opens them again.
        await session.log.close();
      }
      await this.credentials.writeUse(session.id);
      await this.resting.left(session);
      // A parked turn must not wait for somebody to call: the next start opens its session, and who watches sees that it waits.
      if (session.log.room.fault === undefined && session.state.turn === null) await this.options.store.unmarkOpen(session.id);
    } catch (error) {
      this.options.report(error);
    }
    this.#tell({ type: "session_resting", session_id: session.id });
    this.credentials.spare();
  }

  #tell(event: HostEvent): void {
    const entry = this.entry(event.session_id);
    if (entry !== undefined) this.room.publish(entry, event);
  }

  /** From here on those who watch are told what its readers see. */
  #follow(session: Session): void {
    const entry = this.entry(session.id);
    if (entry === undefined) return;
    this.room.publish(entry, { type: "session_started", session_id: session.id, session: listingOf(entry, session) });
    let seen = seenOf(session.log);
    session.log.onShown = () => {
      const now = seenOf(session.log);
      for (const event of changes(seen, now)) this.room.publish(entry, event);
      seen = now;
      this.resting.changed(session);
    };
  }

  /** Seq of the frame with which a past life ended; 0 when the journal has lost it. */
  async #endOf(id: SessionId, life: number): Promise<number> {
    const log = this.#awake.get(id)?.log ?? (await this.stoppedLog(id));
    const seq = log.shown.ends.get(life) ?? 0;
    if (log !== this.#awake.get(id)?.log) await log.close();
    return seq;
  }

  #factsOf(entry: RegistryEntry, file: SessionFile): SessionFacts {
    const { created_at, stable, workdir } = entry;
    return { created_at, stable, env_names: Object.keys(file.env), rules: [...this.options.remembered.of(workdir).all()] };
  }

  async #wake(entry: RegistryEntry): Promise<Session> {
    const { session, log, damage } = await this.open(entry, entry.begun_by);
    try {
      if (!session.live) {
        await this.putAway(session, Math.max(session.state.life, entry.life));
        throw new SessiondError("session_stopped");
      }
      if (session.state.life !== entry.life || entry.stopped) await this.options.registry.change(entry.id, { life: session.state.life, stopped: false });
      session.recover(damage);
      // Nobody sees the turn or question that this has ended; where it fails, the fault is what they see.
      await log.room.shown(session.state.seq).catch(() => undefined);
      this.adopt(session);
      return session;
    } catch (error) {
      await this.abandon(session);
      throw error;
    }
  }

  /**
   * Open a session's files for writing, marked as open before. Nobody sees the session until it is adopted.
   *
   * @param begunBy  the API key in whose share it counts
   * @throws SessiondError limit_reached, storage_failed
   */
  async open(entry: RegistryEntry, begunBy: KeyId | undefined): Promise<{ session: Session; log: SessionLog; damage: string }> {
    const { clock, limits, kinds, report } = this.options;
    const limit = begunBy === undefined ? "sessions_live_max" : "sessions_live_of_keys_max";
    if (this.#awake.size + this.#opening.size >= limits[limit]) throw new SessiondError("limit_reached", { limit, value: limits[limit], unit: "sessions" });
    this.#opening.add(entry.id);
    const { file, log, damage } = await this.#openFiles(entry).catch((error: unknown) => {
      this.#opening.delete(entry.id);
      throw error;
    });
    const session = new Session({
      sessionId: entry.id,
      clock,
      limits,
      kinds,
      log,
      report,
      draining: () => this.draining,
      workdirAnswers: this.options.remembered.of(entry.workdir),
      facts: () => this.#factsOf(entry, file.data),
      storedDrivers: () => file.data.drivers,
      storeDrivers: (keys) => file.update((data) => void (data.drivers = keys.map((each) => ({ ...each })))),
      env: () => file.data.env,
    });
    return { session, log, damage };
  }

  async #openFiles(entry: RegistryEntry): Promise<{ file: DurableStore<SessionFile>; log: SessionLog; damage: string }> {
    const { store } = this.options;
    await store.markOpen(entry.id, this.entry(entry.id) !== undefined);
    // Where somebody removed the folder, the session is an empty one and not a broken one.
    const isNew = await store.makeSessionDirectory(entry.id);
    const { file } = await this.credentials.of(entry, isNew);
    return { file, ...(await SessionLog.open({ ...store.logOptions(entry.id), isNew })) };
  }

  /** Opened, and not adopted after all. */
  async abandon(session: Session): Promise<void> {
    this.#opening.delete(session.id);
    await session.abandon().catch(() => undefined);
  }

  /** From here on calls find it. */
  adopt(session: Session): void {
    this.#opening.delete(session.id);
    this.#awake.set(session.id, session);
    this.unopened.delete(session.id);
    this.#follow(session);
    this.resting.woken(session);
  }

  /** The life is over in the journal; make the registry say so and let go of the files. */
  async putAway(session: Session, life: number): Promise<void> {
    // One that was found ended when it was to be woken: its readers see the end, and watchers have not.
    const untold = !this.#awake.has(session.id) && this.entry(session.id)?.stopped === false;
    await this.options.registry.change(session.id, { stopped: true, life });
    this.#awake.delete(session.id);
    if (untold) this.#tell({ type: "session_stopped", session_id: session.id });
    void session.log.room
      .unread()
      .then(() => session.log.close())
      .catch((error: unknown) => this.options.report(error));
    await this.credentials.writeUse(session.id);
    await this.resting.left(session);
    await this.options.store.unmarkOpen(session.id);
    this.credentials.spare();
  }
}
