import {
  isSessiondError,
  SessiondError,
  type Actor,
  type Limits,
  type SessionId,
  type SessionListing,
  type VerbOutput,
  type VerbParsed,
} from "@sessiond/shared";
import type { AgentKind } from "../agents/agent.ts";
import { within, type Clock } from "../clock.ts";
import { mintId } from "../ids.ts";
import { Session } from "../session/session.ts";
import { SessionLog } from "../session/session-log.ts";
import type { DurableStore } from "./durable-store.ts";
import type { Registry, RegistryEntry } from "./registry.ts";
import { Serial } from "./serial.ts";
import type { SessionFile } from "./session-file.ts";
import type { Store } from "./store.ts";
import { Tokens } from "./tokens.ts";
import { resolveWorkdir, type WorkdirRules } from "./workdir.ts";

/**
 * The set of sessions: creates them, wakes them, puts them to rest, ends their lives. Steps that
 * concern one session or one directory run one after another; different ones side by side.
 */
export interface HostOptions {
  readonly store: Store;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly kinds: ReadonlyMap<string, AgentKind>;
  readonly defaultAgent: string;
  readonly workdirs: WorkdirRules;
  report(error: unknown): void;
}

/** What the gate asks about a session, awake or not. */
export interface Credentials {
  readonly file: DurableStore<SessionFile>;
  readonly tokens: Tokens;
}

type Started = VerbOutput<"start_session">;
type LifeOptions = { agent?: string | undefined; model?: string | undefined };

export class Host {
  readonly options: HostOptions;
  draining = false;
  readonly #awake = new Map<SessionId, Session>();
  readonly #waking = new Map<SessionId, Promise<Session>>();
  readonly #credentials = new Map<SessionId, Promise<Credentials>>();
  readonly #serial = new Serial();

  constructor(options: HostOptions) {
    this.options = options;
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
      for (const result of results) {
        if (result.status === "rejected" && !isSessiondError(result.reason, "session_stopped")) this.options.report(result.reason);
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

  /** Resolves when the session is not in the middle of being woken. */
  async settled(id: SessionId): Promise<void> {
    await this.#waking.get(id)?.catch(() => undefined);
  }

  /** Life and whether it still runs, without waking anything. */
  life(entry: RegistryEntry): { life: number; stopped: boolean } {
    const session = this.#awake.get(entry.id);
    return session === undefined ? { life: entry.life, stopped: entry.stopped } : { life: session.state.life, stopped: !session.live };
  }

  credentials(entry: RegistryEntry): Promise<Credentials> {
    let loading = this.#credentials.get(entry.id);
    if (loading === undefined) {
      loading = this.#loadCredentials(entry);
      this.#credentials.set(entry.id, loading);
      loading.catch(() => this.#credentials.delete(entry.id));
    }
    return loading;
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
    const opening = this.#wake(entry).finally(() => this.#waking.delete(id));
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

  /** @throws SessiondError workdir_invalid, model_unknown, storage_failed, limit_reached */
  async startOrGet(input: VerbParsed<"start_or_get_for_workdir">): Promise<Started> {
    const workdir = await resolveWorkdir(input.workdir, this.options.workdirs);
    return this.#serial.run(`workdir ${workdir}`, async () => {
      const entry = this.options.registry.stableOf(workdir);
      if (entry === undefined) return this.#create(workdir, input, { stable: true });
      return this.#serial.run(entry.id, () => this.#startOrJoin(entry, input, "start"));
    });
  }

  /** @throws SessiondError as startOrGet; not_found; conflict when the request id was used for another start; bad_request */
  async start(input: VerbParsed<"start_session">): Promise<Started> {
    if ((input.workdir === undefined) === (input.session_id === undefined))
      throw new SessiondError("bad_request", { reason: "give either workdir or session_id" });
    const workdir = input.workdir === undefined ? undefined : await resolveWorkdir(input.workdir, this.options.workdirs);
    return this.#serial.run(`request ${input.request_id}`, async () => {
      const known = this.options.registry.byRequest(input.request_id);
      const entry = input.session_id === undefined ? known : this.entry(input.session_id);
      if (known !== undefined && (entry?.id !== known.id || (workdir !== undefined && workdir !== known.workdir)))
        throw new SessiondError("conflict", { reason: "this request_id started another session" });
      if (entry !== undefined) return this.#serial.run(entry.id, () => this.#startOrJoin(entry, input, input.request_id));
      if (workdir === undefined) throw new SessiondError("not_found", { what: "session" });
      return this.#create(workdir, input, { stable: false, requestId: input.request_id });
    });
  }

  /**
   * End a life, here and in the registry; a repeat gets the same answer.
   *
   * @param life  the only one to end; when it is over already, the answer is how it ended
   * @throws SessiondError not_found, storage_failed
   */
  async stop(id: SessionId, by: Actor, life?: number): Promise<{ seq: number; life: number }> {
    const entry = this.entry(id);
    if (entry === undefined) throw new SessiondError("not_found", { what: "session" });
    return this.#serial.run(id, async () => {
      await this.settled(id);
      if (life !== undefined && life !== this.life(this.entry(id) ?? entry).life) return { seq: await this.#endOf(id, life), life };
      if (this.entry(id)?.stopped === true && !this.#awake.has(id)) {
        const log = await this.stoppedLog(id);
        await log.close();
        return { seq: log.shown.state.seq, life: log.shown.state.life };
      }
      const session = await this.session(id);
      const stopped = await session.stop(by);
      await this.#putAway(session, stopped.life);
      return stopped;
    });
  }

  /** True when the token has a seat in the session, connected or in its grace. */
  holdsSeat(id: SessionId, tokenId: string): boolean {
    return this.#awake.get(id)?.seats.holdsSeat(tokenId) ?? false;
  }

  /** @returns newest first */
  list(): SessionListing[] {
    return this.options.registry.all().map((entry) => this.#listing(entry));
  }

  /** No new work from here on; resolves when everything is at rest. */
  async drain(waitMs: number): Promise<void> {
    this.draining = true;
    const { clock, limits } = this.options;
    await within(clock, limits.rest_wait_ms, Promise.allSettled(this.#waking.values()));
    await Promise.all(this.awake.map((session) => session.quiesce(waitMs)));
    // A disk that hangs keeps its session marked open: the next start does what it does after a crash.
    await within(clock, limits.rest_wait_ms, Promise.all(this.awake.map((session) => this.#rest(session))));
  }

  async #rest(session: Session): Promise<void> {
    try {
      await session.rest(new SessiondError("shutting_down"));
      await (await this.#credentials.get(session.id))?.tokens.writeUse();
      await session.log.close();
      if (session.log.room.fault === undefined) await this.options.store.unmarkOpen(session.id);
    } catch (error) {
      this.options.report(error);
    }
  }

  /** Seq of the frame with which a past life ended; 0 when the journal has lost it. */
  async #endOf(id: SessionId, life: number): Promise<number> {
    const log = this.#awake.get(id)?.log ?? (await this.stoppedLog(id));
    const seq = log.shown.ends.get(life) ?? 0;
    if (log !== this.#awake.get(id)?.log) await log.close();
    return seq;
  }

  #listing(entry: RegistryEntry): SessionListing {
    const session = this.#awake.get(entry.id);
    const base = { session_id: entry.id, workdir: entry.workdir, stable: entry.stable, created_at: entry.created_at };
    if (session === undefined) return { ...base, life_state: entry.stopped ? "stopped" : "resting" };
    const state = session.log.shown.state;
    const driver = state.seats.find((seat) => seat.role === "driver")?.label;
    const fault = session.log.room.fault;
    return {
      ...base,
      life_state: state.life_state,
      status: state.status,
      seats: state.seats.length,
      pending_approvals: state.approvals.length,
      ...(driver !== undefined && { driver }),
      ...(fault && { fault }),
    };
  }

  async #loadCredentials(entry: RegistryEntry): Promise<Credentials> {
    const file = await this.options.store.sessionFile(entry);
    const tokens = new Tokens(file, this.options.clock, this.options.limits, (ids, cause) =>
      this.#awake.get(entry.id)?.seats.tokensEnded(ids, new SessiondError("token_ended", { cause })),
    );
    return { file, tokens };
  }

  async #wake(entry: RegistryEntry): Promise<Session> {
    const { store, limits } = this.options;
    if (this.#awake.size >= limits.sessions_live_max)
      throw new SessiondError("limit_reached", { limit: "sessions_live_max", value: limits.sessions_live_max, unit: "sessions" });
    await store.markOpen(entry.id);
    // Where somebody removed the folder, the session is an empty one and not a broken one.
    await store.makeSessionDirectory(entry.id);
    const { file } = await this.credentials(entry);
    const { log, damage } = await SessionLog.open(store.logOptions(entry.id));
    try {
      const session = this.#session(entry, log, file);
      if (!session.live) {
        await this.#putAway(session, Math.max(session.state.life, entry.life));
        throw new SessiondError("session_stopped");
      }
      if (session.state.life !== entry.life || entry.stopped) await this.options.registry.change(entry.id, { life: session.state.life, stopped: false });
      session.recover(damage);
      // Nobody sees the turn or question that this has ended; where it fails, the fault is what they see.
      await log.room.shown(session.state.seq).catch(() => undefined);
      this.#awake.set(entry.id, session);
      return session;
    } catch (error) {
      await log.close().catch(() => undefined);
      throw error;
    }
  }

  #session(entry: RegistryEntry, log: SessionLog, file: DurableStore<SessionFile>): Session {
    const { clock, limits, kinds, report } = this.options;
    return new Session({
      sessionId: entry.id,
      createdAt: entry.created_at,
      clock,
      limits,
      kinds,
      log,
      report,
      draining: () => this.draining,
      storedDriver: () => file.data.driver,
      storeDriver: (keys) => file.update((data) => void (data.driver = { ...keys })),
    });
  }

  /** The life is over in the journal; make the registry say so and let go of the files. */
  async #putAway(session: Session, life: number): Promise<void> {
    await this.options.registry.change(session.id, { stopped: true, life });
    this.#awake.delete(session.id);
    await (await this.#credentials.get(session.id))?.tokens.writeUse();
    await this.options.store.unmarkOpen(session.id);
    void session.log.room
      .unread()
      .then(() => session.log.close())
      .catch((error: unknown) => this.options.report(error));
  }

  #choose(options: LifeOptions): { agent: string; model: string } {
    const agent = options.agent ?? this.options.defaultAgent;
    const kind = this.options.kinds.get(agent);
    if (kind === undefined) throw new SessiondError("model_unknown", { model: `of agent ${agent}` });
    const model = options.model ?? kind.defaultModel;
    if (!kind.knowsModel(model)) throw new SessiondError("model_unknown", { model });
    return { agent, model };
  }

  /** Directory, session.json, journal, then the registry entry: until that is on disk nothing has happened. */
  async #create(workdir: string, options: LifeOptions, kind: { stable: boolean; requestId?: string }): Promise<Started> {
    const { agent, model } = this.#choose(options);
    if (this.draining) throw new SessiondError("shutting_down");
    const { store, limits, clock } = this.options;
    if (this.#awake.size >= limits.sessions_live_max)
      throw new SessiondError("limit_reached", { limit: "sessions_live_max", value: limits.sessions_live_max, unit: "sessions" });
    const entry: RegistryEntry = {
      id: mintId("ses"),
      workdir,
      stable: kind.stable,
      life: 1,
      stopped: false,
      created_at: clock.now(),
      ...(kind.requestId !== undefined && { request_id: kind.requestId }),
    };
    let log: SessionLog | null = null;
    let committing = false;
    try {
      await store.markOpen(entry.id);
      await store.makeSessionDirectory(entry.id);
      const { file, tokens } = await this.credentials(entry);
      const minted = await tokens.mint({ right: "control", label: kind.requestId ?? "start", life: 1, origin: "start" });
      ({ log } = await SessionLog.open(store.logOptions(entry.id)));
      const session = this.#session(entry, log, file);
      await log.durable(session.begin(workdir, agent, model));
      committing = true;
      await this.options.registry.add(entry);
      this.#awake.set(entry.id, session);
      return { session: session.info(), token: minted.token, token_id: minted.record.token_id, created: true, differs: [] };
    } catch (error) {
      this.#credentials.delete(entry.id);
      await log?.close().catch(() => undefined);
      // An entry that may have reached the disk must not be left without its folder.
      const withdrawn = !committing || (await this.#withdraw(entry.id));
      if (!withdrawn) throw error;
      // Best effort: on a full disk even this may fail, and then the next start passes over it.
      await store.removeSession(entry.id).catch(() => undefined);
      await store.unmarkOpen(entry.id).catch(() => undefined);
      throw error;
    }
  }

  #withdraw(id: SessionId): Promise<boolean> {
    return this.options.registry.withdraw(id).then(
      () => true,
      () => false,
    );
  }

  /** A stopped session begins its next life; another is joined as it is. */
  async #startOrJoin(entry: RegistryEntry, options: LifeOptions, tokenLabel: string): Promise<Started> {
    // Its journal has one writer, and the registry may be behind it until then.
    await this.settled(entry.id);
    const ended = this.#awake.get(entry.id);
    // Its life is over in the journal, and the registry could not be told then.
    if (ended !== undefined && !ended.live) await this.#putAway(ended, (await ended.stop({ label: "owner" })).life);
    const current = this.entry(entry.id) ?? entry;
    let begins = current.stopped;
    const session = begins
      ? await this.#nextLife(current, options)
      : await this.session(current.id).catch((error: unknown) => {
          // So its journal says, which knows better than the registry.
          if (!isSessiondError(error, "session_stopped")) throw error;
          begins = true;
          return this.#nextLife(this.entry(entry.id) ?? current, options);
        });
    const { tokens } = await this.credentials(current);
    // The reply that a repeated request never saw carried a token; it must not lie around.
    const unseen = tokenLabel === "start" ? [] : tokens.list().filter((token) => token.label === tokenLabel && token.origin === "start");
    for (const token of unseen) await tokens.revoke(token.token_id);
    const minted = await tokens.mint({ right: "control", label: tokenLabel, life: session.state.life, origin: "start" }, (tokenId) =>
      session.seats.holdsSeat(tokenId),
    );
    const info = session.info();
    const differs = begins ? [] : (["agent", "model"] as const).filter((key) => options[key] !== undefined && options[key] !== info[key]);
    return { session: info, token: minted.token, token_id: minted.record.token_id, created: begins || (unseen.length > 0 && tokenLabel !== "start"), differs };
  }

  async #nextLife(entry: RegistryEntry, options: LifeOptions): Promise<Session> {
    const { agent, model } = this.#choose(options);
    if (this.draining) throw new SessiondError("shutting_down");
    const { store } = this.options;
    await store.markOpen(entry.id);
    // Where somebody removed the folder, the session is an empty one and not a broken one.
    await store.makeSessionDirectory(entry.id);
    const { file } = await this.credentials(entry);
    const { log, damage } = await SessionLog.open(store.logOptions(entry.id));
    try {
      const session = this.#session(entry, log, file);
      // Live already: an earlier try wrote the frame and failed at the registry, or the last frame was lost to damage.
      if (!session.live) session.begin(entry.workdir, agent, model, entry.life);
      session.recover(damage);
      await log.durable(session.state.seq);
      await this.options.registry.change(entry.id, { stopped: false, life: session.state.life });
      this.#awake.set(entry.id, session);
      return session;
    } catch (error) {
      await log.close().catch(() => undefined);
      throw error;
    }
  }
}
