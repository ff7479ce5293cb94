import { SessiondError, type Actor, type Limits, type SessionEvent, type SessionInfo, type SessionState, type VerbOutput } from "@sessiond/shared";
import type { Agent, AgentKind } from "../agents/agent.ts";
import { within, type Clock } from "../clock.ts";
import { mintId } from "../ids.ts";
import { Approvals } from "./approvals.ts";
import { nextPrompt, partsDigest, place, repeated, type PromptRequest } from "./prompts.ts";
import { Seats, type DriverKeys } from "./seats.ts";
import { infoOf, type SessionLog } from "./session-log.ts";
import { RunningTurn, type AbortCause, type TurnEnd } from "./turn.ts";

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

/** What an open call of an ended turn is given as its result. */
const unrun: Record<AbortCause, string> = {
  interrupt: "Interrupted by the user.",
  stop: "The session was stopped.",
  shutdown: "interrupted by restart",
  fault: "interrupted by restart",
  parked: "interrupted by restart",
};

export class Session {
  readonly id: string;
  readonly log: SessionLog;
  readonly seats: Seats;
  readonly #options: SessionOptions;
  readonly #approvals: Approvals;
  #agent: Agent | null = null;
  #turn: RunningTurn | null = null;
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
    const turn = this.state.turn;
    if (turn !== null) {
      if (this.#parkable()) this.#run(turn.turn_id, (agent, running) => agent.resume(running));
      else this.#close(turn.turn_id, { stop_reason: "interrupted" }, "restart", unrun.shutdown);
    }
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
    const unavailable = this.#ready().unavailable();
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
    if (became === "started") this.#startNext(request.promptId);
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
    if (this.state.turn === null) this.#startNext();
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
      await this.#abortTurn("interrupt");
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
      await this.#abortTurn("stop");
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
    await this.#agent?.close();
    return { seq, life };
  }

  /** Let a running turn end by itself, at most so long. */
  async quiesce(waitMs: number): Promise<void> {
    if (this.#turn === null || this.#parkable()) return;
    await within(this.#options.clock, waitMs, this.#turn.done);
    // The frames that close the turn are applied when its promise has settled.
    await Promise.resolve();
  }

  /**
   * Put to rest: same life, same tokens; the next call wakes it. A turn that only waits for
   * answers is parked, any other ends `interrupted`.
   *
   * @param how  what the streams are told
   */
  async rest(how: SessiondError): Promise<void> {
    this.#retry?.();
    if (this.#writable && this.#turn !== null) {
      if (this.#parkable()) {
        this.#turn.abort("parked");
        this.#approvals.abandon();
        await this.#turn.done;
      } else {
        this.#approvals.closeAll("restart");
        await this.#abortTurn("shutdown");
      }
      if (this.#writable && nextPrompt(this.state) !== undefined) this.apply({ type: "queue_held", cause: "restart" });
    }
    this.#retired = true;
    this.seats.clear();
    await this.#agent?.close();
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
    await this.#turn?.done;
    try {
      await this.log.reopen();
    } catch (error) {
      this.#retryLater();
      throw error;
    }
    this.#agent = null;
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

  /** The agent, made when it is first needed. */
  #ready(): Agent {
    const kind = this.#options.kinds.get(this.state.agent);
    if (kind === undefined) throw new SessiondError("agent_unavailable", { reason: `this daemon has no agent called ${this.state.agent}` });
    this.#agent ??= kind.create({ sessionId: this.id, workdir: this.state.workdir, model: this.state.model, transcript: this.log.transcript });
    return this.#agent;
  }

  #startNext(promptId = nextPrompt(this.state)?.prompt_id): void {
    const prompt = this.state.queue.find((queued) => queued.prompt_id === promptId);
    if (prompt === undefined || this.#options.draining() || this.#stopping !== null) return;
    const turnId = mintId("trn");
    this.apply({ type: "turn_started", turn_id: turnId, prompt_ids: [prompt.prompt_id] });
    this.apply({ type: "prompt_delivered", prompt_id: prompt.prompt_id, turn_id: turnId });
    this.#run(turnId, (agent, turn) => agent.prompt(prompt.parts, turn));
  }

  #run(turnId: string, start: (agent: Agent, turn: Parameters<Agent["resume"]>[0]) => ReturnType<Agent["resume"]>): void {
    const agent = this.#ready();
    const { clock, limits, report } = this.#options;
    const running = new RunningTurn(
      {
        clock,
        interrupt_wait_ms: limits.interrupt_wait_ms,
        report,
        apply: (event) => this.apply(event),
        durable: (seq) => this.log.durable(seq),
        drained: () => this.log.drained(),
        ask: (id, question) =>
          this.#turn === running && running.cause === null
            ? this.#approvals.ask(id, question)
            : Promise.resolve({ allowed: false, reason: unrun[running.cause ?? "interrupt"] }),
        kill: () => {
          // A closed agent runs no further turn.
          if (this.#agent === agent) this.#agent = null;
          return agent.close();
        },
      },
      turnId,
      (turn) => start(agent, turn),
    );
    this.#turn = running;
    running.done.then((end) => this.#ended(running, end)).catch(report);
  }

  #ended(running: RunningTurn, end: TurnEnd): void {
    if (this.#turn === running) this.#turn = null;
    // Parked or faulted: the turn goes on, or is closed, at the next start or reopening.
    if (running.cause === "parked" || running.cause === "fault" || !this.#writable || this.state.turn?.turn_id !== running.turnId) return;
    const cause = running.cause;
    this.#close(
      running.turnId,
      end,
      cause === "interrupt" || cause === "stop" ? cause : cause === "shutdown" ? "restart" : "failed",
      cause === null ? "The turn ended before the tool was run." : unrun[cause],
    );
    this.#startNext();
  }

  /** The frames that end a turn: no question and no call of it stays open. */
  #close(turnId: string, end: TurnEnd, cause: "interrupt" | "stop" | "restart" | "failed", result: string): void {
    this.#approvals.closeAll(cause);
    for (const call of this.log.transcript.unfinished(turnId))
      this.apply({ type: "tool_call_update", turn_id: turnId, tool_call_id: call.id, status: "failed", result });
    this.apply({ type: "turn_ended", turn_id: turnId, ...end });
  }

  async #abortTurn(cause: "interrupt" | "stop" | "shutdown"): Promise<void> {
    const running = this.#turn;
    if (running === null) return;
    running.abort(cause);
    await running.done;
    // `#ended` was registered first, so the closing frames are applied by now.
  }

  /** True when the turn does nothing but wait for answers, and its agent can take it up again. */
  #parkable(): boolean {
    const turn = this.state.turn;
    if (turn === null || !this.#options.kinds.has(this.state.agent) || !this.#ready().capabilities.park) return false;
    const open = this.log.transcript.unfinished(turn.turn_id);
    return open.length > 0 && open.every((call) => call.status === "pending" && this.state.approvals.some((approval) => approval.tool_call_id === call.id));
  }

  #faulted(): void {
    const running = this.#turn;
    running?.abort("fault");
    this.#approvals.abandon();
    void this.#agent?.close().catch((error: unknown) => this.#options.report(error));
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
