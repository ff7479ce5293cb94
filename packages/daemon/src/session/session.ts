import { SessiondError, type Actor, type Limits, type SessionEvent, type SessionInfo, type SessionState, type VerbOutput } from "@sessiond/shared";
import type { AgentKind } from "../agents/agent.ts";
import { within, type Clock } from "../clock.ts";
import { Approvals } from "./approvals.ts";
import { nextPrompt, partsDigest, place, repeated, type PromptRequest } from "./prompts.ts";
import { Seats, type DriverKeys } from "./seats.ts";
import { infoOf, type SessionLog } from "./session-log.ts";
import { Turns } from "./turns.ts";

/**
 * One live session: seats, prompts, turns and questions over one log.
 *
 * Verbs decide on `decided`, apply events in one synchronous step, and answer when those are
 * durable; they never wait for the model. The one exception is `interrupt` and `stop`, which
 * wait, within a bound, for the agent to let go.
 */
export interface SessionOptions {
  readonly sessionId: string;
  readonly createdAt: number;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly kinds: ReadonlyMap<string, AgentKind>;
  readonly log: SessionLog;
  storeDriver(keys: DriverKeys): Promise<void>;
  storedDriver(): DriverKeys | null;
  report(error: unknown): void;
  /** No new turn begins any more. */
  draining(): boolean;
}

export class Session {
  readonly id: string;
  readonly log: SessionLog;
  readonly seats: Seats;
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
      apply: (event) => this.apply(event),
      state: () => this.state,
      outcome: (approvalId) => this.log.decided.outcomes.get(approvalId),
      now: () => options.clock.now(),
    });
    this.seats = new Seats({
      clock: options.clock,
      limits: options.limits,
      apply: (event) => this.apply(event),
      seats: () => this.state.seats,
      writable: () => this.#writable,
      over: () => !this.live || this.#retired,
      storeDriver: (keys) => options.storeDriver(keys),
    });
    this.#turns = new Turns({
      id: this.id,
      log: this.log,
      approvals: this.#approvals,
      clock: options.clock,
      limits: options.limits,
      kinds: options.kinds,
      apply: (event) => this.apply(event),
      writable: () => this.#writable,
      mayBegin: () => !options.draining() && this.#stopping === null,
      report: (error) => options.report(error),
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

  get #writable(): boolean {
    return this.live && !this.#retired && this.log.room.fault === undefined;
  }

  /** Only ever called in the same step as the decision it records. */
  apply(event: SessionEvent): number {
    return this.log.apply(event);
  }

  /**
   * Begin a life.
   *
   * @param after  lives that there were by other accounts; a damaged journal may know of fewer, and a number is never used again
   * @returns the seq of its first frame
   */
  begin(workdir: string, agent: string, model: string, after = 0): number {
    return this.apply({ type: "session_started", life: Math.max(this.state.life, after) + 1, workdir, agent, model });
  }

  /** What a start after a crash does; also a reopened journal. */
  recover(damage: string): void {
    if (damage !== "none")
      this.apply({
        type: "notice",
        code: "journal_cut",
        text: `The journal's ${damage === "torn" ? "unfinished last line was" : "unreadable part was set aside and"} cut off.`,
      });
    this.seats.reconcile(this.#options.storedDriver());
    this.#turns.recover();
    if (nextPrompt(this.state) !== undefined) this.apply({ type: "queue_held", cause: "restart" });
  }

  info(): SessionInfo {
    return infoOf(this.log, this.#options.createdAt);
  }

  /**
   * @throws SessiondError conflict, limit_reached, turn_in_progress, queue_full, agent_unavailable, session_stopped, session_faulted, storage_failed
   */
  async prompt(request: PromptRequest): Promise<VerbOutput<"send_prompt">> {
    this.#mustLive();
    const known = this.log.decided.prompts.get(request.promptId);
    if (known !== undefined) {
      const answer = repeated(known, request, this.id);
      await this.log.durable(known.seq);
      return answer;
    }
    this.#mustBegin();
    const became = place(this.state, request, this.#options.limits);
    const unavailable = this.#turns.ready().unavailable();
    if (unavailable !== null) throw new SessiondError("agent_unavailable", { reason: unavailable });
    const seq = this.apply({
      type: "prompt_accepted",
      prompt_id: request.promptId,
      parts: [...request.parts],
      digest: partsDigest(request.parts),
      when_busy: request.whenBusy,
      became,
      by: request.by,
    });
    if (became === "started") this.#turns.startNext(request.promptId);
    const turnId = became === "started" ? this.state.turn?.turn_id : undefined;
    await this.log.durable(this.state.seq);
    return { session_id: this.id, seq, prompt_id: request.promptId, became, ...(turnId !== undefined && { turn_id: turnId }) };
  }

  /** @throws SessiondError prompt_gone with the outcome */
  async withdraw(promptId: string, by: Actor): Promise<number> {
    this.#mustLive();
    if (!this.state.queue.some((prompt) => prompt.prompt_id === promptId))
      throw new SessiondError("prompt_gone", { ...pick(this.log.decided.prompts.get(promptId)?.outcome) });
    return this.#durable(this.apply({ type: "prompt_withdrawn", prompt_id: promptId, by }));
  }

  async release(by: Actor): Promise<{ seq: number; released: string[] }> {
    this.#mustLive();
    this.#mustBegin();
    const released = this.state.queue.filter((prompt) => prompt.held).map((prompt) => prompt.prompt_id);
    if (released.length === 0) return { seq: this.state.seq, released };
    const seq = this.apply({ type: "queue_released", by });
    if (this.state.turn === null) this.#turns.startNext();
    return { seq: await this.#durable(seq), released };
  }

  async approve(answer: { approvalId: string; optionId: string; digest: string; reason?: string }, by: Actor): Promise<number> {
    this.#mustLive();
    return this.#durable(this.#approvals.answer(answer.approvalId, answer.optionId, answer.digest, by, answer.reason));
  }

  /** End the turn, if it still is this one, and hold the queue. */
  async interrupt(turnId: string): Promise<VerbOutput<"interrupt">> {
    await this.#mustReopen();
    this.#mustLive();
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

  /** End this life; a repeat gets the same answer. */
  stop(by: Actor): Promise<{ seq: number; life: number }> {
    this.#stopping ??= this.#stop(by).catch((error: unknown) => {
      this.#stopping = null;
      throw error;
    });
    return this.#stopping;
  }

  async #stop(by: Actor): Promise<{ seq: number; life: number }> {
    // Also when the last frame is there: an earlier try may have failed to make it durable.
    await this.#mustReopen();
    if (this.live) {
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
    this.seats.clear();
    await this.#turns.closeAgent();
    await this.log.durable(this.state.seq).catch(() => undefined);
    this.log.room.end(how);
  }

  /** One try at a time: two writers of one journal would be the end of it. @throws SessiondError storage_failed  while it cannot be written */
  reopen(): Promise<void> {
    this.#reopening ??= this.#reopen().finally(() => (this.#reopening = null));
    return this.#reopening;
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

const pick = (outcome: string | undefined) => (outcome === undefined ? {} : { outcome });
