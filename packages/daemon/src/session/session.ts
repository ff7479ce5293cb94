import {
  SessiondError,
  type Actor,
  type EventOf,
  type Limits,
  type SessionEvent,
  type SessionInfo,
  type SessionState,
  type VerbOutput,
} from "@sessiond/shared";
import type { AgentKind } from "../agents/agent.ts";
import { within, type Clock } from "../clock.ts";
import { Approvals, type GivenAnswer } from "./approvals.ts";
import { nextPrompt } from "./prompts.ts";
import { Queue } from "./queue.ts";
import { Seats } from "./seats.ts";
import type { WorkdirAnswers } from "./rules.ts";
import { infoOf, type SessionFacts, type SessionLog } from "./session-log.ts";
import { judged, settingsOf, type Settings } from "./settings.ts";
import { Turns } from "./turns.ts";
import type { DriverKeys } from "./wheel.ts";

/**
 * One live session: seats, prompts, turns and questions over one log.
 *
 * Verbs decide on `decided`, apply events in one synchronous step, and answer when those are
 * durable; they never wait for the model. The one exception is `interrupt` and `stop`, which
 * wait, within a bound, for the agent to let go.
 */
export interface SessionOptions {
  readonly sessionId: string;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly kinds: ReadonlyMap<string, AgentKind>;
  readonly log: SessionLog;
  readonly workdirAnswers: WorkdirAnswers;
  /** Who drives, and who is about to. */
  storeDrivers(keys: readonly DriverKeys[]): Promise<void>;
  storedDrivers(): readonly DriverKeys[];
  /** For the life's tools. */
  env(): Readonly<Record<string, string>>;
  /** What is known of it beside the journal. */
  facts(): SessionFacts;
  report(error: unknown): void;
  /** No new turn begins any more. */
  draining(): boolean;
}

export class Session {
  readonly id: string;
  readonly log: SessionLog;
  readonly seats: Seats;
  readonly queue: Queue;
  readonly #options: SessionOptions;
  readonly #approvals: Approvals;
  readonly #turns: Turns;
  #stopping: Promise<{ seq: number; life: number }> | null = null;
  #retry: (() => void) | null = null;
  #reopening: Promise<void> | null = null;
  #retired = false;

  constructor(options: SessionOptions) {
    this.id = options.sessionId;
    this.log = options.log;
    this.#options = options;
    this.#approvals = new Approvals({
      clock: options.clock,
      workdirAnswers: options.workdirAnswers,
      apply: (event) => this.apply(event),
      state: () => this.state,
      outcome: (approvalId) => this.log.decided.outcomes.get(approvalId),
      writable: () => this.#writable,
      mustLive: () => this.#mustLive(),
      durable: (seq) => this.log.durable(seq),
    });
    this.seats = new Seats({
      clock: options.clock,
      limits: options.limits,
      apply: (event) => this.apply(event),
      state: () => this.state,
      writable: () => this.#writable,
      mustWrite: () => this.#mustLive(),
      over: () => (this.live ? (this.#retired ? new SessiondError("shutting_down") : null) : new SessiondError("session_stopped")),
      settled: () => this.log.durable(this.state.seq),
      storeDrivers: (keys) => options.storeDrivers(keys),
      report: (error) => options.report(error),
    });
    this.#turns = new Turns({
      id: this.id,
      log: this.log,
      approvals: this.#approvals,
      clock: options.clock,
      limits: options.limits,
      kinds: options.kinds,
      env: () => options.env(),
      apply: (event) => this.apply(event),
      writable: () => this.#writable,
      mayBegin: () => !options.draining() && this.#stopping === null,
      report: (error) => options.report(error),
    });
    this.queue = new Queue({
      id: this.id,
      limits: options.limits,
      log: this.log,
      turns: this.#turns,
      approvals: this.#approvals,
      apply: (event) => this.apply(event),
      mustLive: () => this.#mustLive(),
      mustBegin: () => this.#mustBegin(),
    });
    this.log.onFault = () => this.#faulted();
  }

  /** Decided. */
  get state(): SessionState {
    return this.log.decided.state;
  }

  get live(): boolean {
    return this.state.life_state === "live";
  }

  /** A turn runs, or would as soon as it may. */
  get busy(): boolean {
    return this.live && (this.state.turn !== null || nextPrompt(this.state) !== undefined);
  }

  /** Nobody is here, nothing goes on or is about to. Held prompts wait for a person, and need no memory for that. */
  get idle(): boolean {
    const { seats, turn, approvals } = this.state;
    const quiet = seats.length === 0 && turn === null && approvals.length === 0;
    return quiet && this.#writable && this.#stopping === null && !this.#turns.running && nextPrompt(this.state) === undefined;
  }

  /** Put to rest: its life goes on, its files are another's. */
  get atRest(): boolean {
    return this.live && this.#retired;
  }

  get #writable(): boolean {
    return this.live && !this.#retired && this.log.room.fault === undefined;
  }

  /** Only ever called in the same step as the decision it records. */
  apply(event: SessionEvent): number {
    const seq = this.log.apply(event);
    this.#approvals.followPolicy();
    return seq;
  }

  /**
   * Begin a life.
   *
   * @param chosen  what the life has, title and policy where they were given, its sandbox where it has one
   * @param after  lives that there were by other accounts; a damaged journal may know of fewer, and a number is never used again
   * @returns the seq of its first frame
   */
  begin(workdir: string, chosen: Pick<EventOf<"session_started">, "agent" | "model" | "title" | "policy" | "sandbox">, after = 0): number {
    return this.apply({ type: "session_started", life: Math.max(this.state.life, after) + 1, workdir, ...chosen });
  }

  /** What a start after a crash does; also a reopened journal. */
  recover(damage: string): void {
    if (damage !== "none")
      this.apply({
        type: "notice",
        code: "journal_cut",
        text: `The journal's ${damage === "torn" ? "unfinished last line was" : "unreadable part was set aside and"} cut off.`,
      });
    this.seats.reconcile(this.#options.storedDrivers());
    this.#turns.recover();
    this.#approvals.catchUp();
    if (nextPrompt(this.state) !== undefined) this.apply({ type: "queue_held", cause: "restart" });
  }

  info(): SessionInfo {
    return infoOf(this.log, this.#options.facts());
  }

  async approve(answer: GivenAnswer, by: Actor, mustStillMay: () => void): Promise<number> {
    this.#mustLive();
    return this.#approvals.answer(answer, by, mustStillMay);
  }

  /** @throws SessiondError not_found when it is neither of the session nor of its workdir */
  async forgetRule(ruleId: string, by: Actor): Promise<number> {
    this.#mustLive();
    if (this.state.rules.some((rule) => rule.rule_id === ruleId)) return this.#durable(this.apply({ type: "rule_forgotten", rule_id: ruleId, by }));
    if (!(await this.#options.workdirAnswers.remove(ruleId))) throw new SessiondError("not_found", { what: "rule" });
    return this.#durable(this.state.seq);
  }

  /** @throws SessiondError model_unknown, unsupported; nothing is changed then */
  async configure(given: Settings, by: Actor): Promise<VerbOutput<"configure_session">> {
    this.#mustLive();
    const settled = judged(given, this.state, this.#options.kinds.get(this.state.agent));
    const seq = settled === null ? this.state.seq : this.apply({ type: "session_configured", ...settled, by });
    if (settled !== null) this.#turns.chosenChanged();
    const settings = settingsOf(this.state);
    return { seq: await this.#durable(seq), ...settings };
  }

  async note(text: string, by: Actor): Promise<number> {
    this.#mustLive();
    return this.#durable(this.apply({ type: "system_message", text, by }));
  }

  /** End the turn, if it still is this one, and hold the queue. @param mustStand  as for `stop` */
  async interrupt(turnId: string, mustStand: () => void = () => undefined): Promise<VerbOutput<"interrupt">> {
    await this.#mustReopen();
    this.#mustLive();
    mustStand();
    const interrupted = this.state.turn?.turn_id === turnId;
    if (interrupted) {
      this.#approvals.closeAll("interrupt");
      if (nextPrompt(this.state) !== undefined) this.apply({ type: "queue_held", cause: "interrupt" });
      await this.#turns.abort("interrupt");
    }
    // Taken before the wait: what comes during it is not on disk.
    const { seq, queue } = this.state;
    await this.log.durable(seq);
    return { interrupted, seq, queue };
  }

  /** End this life; a repeat gets the same answer. @param mustStand  throws where who asked has ended by the time that it happens */
  stop(by: Actor, mustStand: () => void = () => undefined): Promise<{ seq: number; life: number }> {
    this.#stopping ??= this.#stop(by, mustStand).catch((error: unknown) => {
      this.#stopping = null;
      throw error;
    });
    return this.#stopping;
  }

  async #stop(by: Actor, mustStand: () => void): Promise<{ seq: number; life: number }> {
    // At rest already: its files are closed.
    if (this.live && this.#retired) throw new SessiondError("shutting_down");
    // Also when the last frame is there: an earlier try may have failed to make it durable.
    await this.#mustReopen();
    if (this.live) {
      mustStand();
      this.#approvals.closeAll("stop");
      await this.#turns.abort("stop");
      for (const prompt of this.state.queue) this.apply({ type: "prompt_discarded", prompt_id: prompt.prompt_id, cause: "stop" });
      this.apply({ type: "session_stopped", life: this.state.life, by });
      this.seats.clear();
    }
    const { seq, life } = this.state;
    await this.log.durable(seq);
    // From here on the journal is the next life's; nothing of this one may touch it.
    this.#retired = true;
    this.#retry?.();
    this.log.room.end("complete");
    await this.log.settled();
    await this.#turns.closeAgent();
    return { seq, life };
  }

  /** Let a running turn end by itself, at most so long. */
  async quiesce(waitMs: number): Promise<void> {
    if (this.#turns.running && !this.#turns.parkable()) await within(this.#options.clock, waitMs, this.#turns.settled());
  }

  /**
   * Put to rest: same life, same tokens; the next call wakes it. A turn that only waits for
   * answers is parked, any other ends `interrupted`.
   *
   * @param how  what the streams are told
   */
  async rest(how: SessiondError): Promise<void> {
    // A journal that opens after this would have nobody to close it; what it takes, who calls bounds.
    await this.#reopening?.catch(() => undefined);
    this.#retry?.();
    if (this.#writable && this.#turns.running) {
      if (this.#turns.parkable()) {
        const parked = this.#turns.abort("parked");
        this.#approvals.abandon();
        await parked;
      } else {
        this.#approvals.closeAll("restart");
        await this.#turns.abort("shutdown");
      }
      if (this.#writable && nextPrompt(this.state) !== undefined) this.apply({ type: "queue_held", cause: "restart" });
    }
    this.#retired = true;
    // One that began meanwhile, because the turn's last frames failed; no further one begins.
    await this.#reopening?.catch(() => undefined);
    this.seats.clear();
    await this.#turns.closeAgent();
    await this.log.durable(this.state.seq).catch(() => undefined);
    this.log.room.end(how);
  }

  /** Opened, and not to be used after all: another opener may come at once, so nothing of this one touches its files any more. @throws SessiondError storage_failed */
  async abandon(): Promise<void> {
    this.#retired = true;
    this.#retry?.();
    const parked = this.#turns.abort("parked");
    this.#approvals.abandon();
    await parked;
    await this.#reopening?.catch(() => undefined);
    this.seats.clear();
    await this.#turns.closeAgent();
    await this.log.close();
  }

  /** One try at a time: two writers of one journal would be the end of it. @throws SessiondError storage_failed  while it cannot be written */
  async reopen(): Promise<void> {
    if (this.#retired) throw new SessiondError("shutting_down");
    await (this.#reopening ??= this.#reopen().finally(() => (this.#reopening = null)));
  }

  async #reopen(): Promise<void> {
    this.#retry?.();
    this.#retry = null;
    await this.#turns.settled();
    try {
      await this.log.reopen();
    } catch (error) {
      this.#retryLater();
      throw error;
    }
    this.#turns.forgetAgent();
    this.recover("none");
  }

  #mustLive(): void {
    if (!this.live || this.#stopping !== null) throw new SessiondError("session_stopped");
    if (this.#retired) throw new SessiondError("shutting_down");
    const fault = this.log.room.fault;
    if (fault !== undefined) throw new SessiondError("session_faulted", { reason: fault.reason });
  }

  /** The draining may have begun since the call was let in; what is taken on now would not run. */
  #mustBegin(): void {
    if (this.#options.draining()) throw new SessiondError("shutting_down");
  }

  async #mustReopen(): Promise<void> {
    if (this.log.room.fault !== undefined) await this.reopen();
  }

  async #durable(seq: number): Promise<number> {
    await this.log.durable(seq);
    return seq;
  }

  #faulted(): void {
    void this.#turns.abort("fault");
    this.#approvals.abandon();
    void this.#turns.closeAgent().catch((error: unknown) => this.#options.report(error));
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#retired) return;
    this.#retry?.();
    this.#retry = this.#options.clock.after(this.#options.limits.reopen_ms, () => {
      if (this.log.room.fault === undefined || this.#retired) return;
      this.reopen().catch((error: unknown) => {
        if (!(error instanceof SessiondError)) this.#options.report(error);
      });
    });
  }
}
