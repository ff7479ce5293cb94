import { setImmediate as nextStep } from "node:timers/promises";
import { SessiondError, type Limits, type SessionEvent } from "@sessiond/shared";
import type { Agent, AgentSays, AgentKind, AgentTurn } from "../agents/agent.ts";
import { within, type Clock } from "../clock.ts";
import { mintId } from "../ids.ts";
import type { Approvals } from "./approvals.ts";
import { nextPrompt, steering } from "./prompts.ts";
import type { SessionLog } from "./session-log.ts";
import { RunningTurn, type AbortCause, type TurnEnd } from "./turn.ts";

/**
 * A session's turns, one at a time, and the agent that runs them: begins the next prompt's,
 * takes up a parked one, ends one with the frames that leave no question and no call open.
 */
export interface TurnsHost {
  readonly id: string;
  readonly log: SessionLog;
  readonly approvals: Approvals;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly kinds: ReadonlyMap<string, AgentKind>;
  /** For the life's tools. */
  env(): Readonly<Record<string, string>>;
  apply(event: SessionEvent): number;
  /** False while the session cannot write, is over or at rest. */
  writable(): boolean;
  /** False while no further turn may begin. */
  mayBegin(): boolean;
  report(error: unknown): void;
}

/** Of an agent that the daemon has not: a program that serves it may come, or come back, at any time. */
export const absentWords = (agent: string): string =>
  `this daemon has no agent called ${JSON.stringify(agent)} now; where a program serves it, start that, else see \`sessiond agents\``;

/** What an open call of an ended turn is given as its result. */
const unrun: Record<AbortCause, string> = {
  interrupt: "Interrupted by the user.",
  stop: "The session was stopped.",
  shutdown: "interrupted by restart",
  fault: "interrupted by restart",
  parked: "interrupted by restart",
};

export class Turns {
  readonly #host: TurnsHost;
  #agent: Agent | null = null;
  /** The model that the agent was made for. */
  #model = "";
  /** Agents of another model that have a turn to end. */
  readonly #leaving = new Set<Agent>();
  #running: RunningTurn | null = null;
  /** The agent looks for what it needs. */
  #looking: { readonly agent: Agent; readonly over: Promise<unknown> } | null = null;

  constructor(host: TurnsHost) {
    this.#host = host;
  }

  get running(): boolean {
    return this.#running !== null;
  }

  /** Resolves when no turn runs, and the frames that closed it are applied. */
  async settled(): Promise<void> {
    await this.#running?.done;
    await Promise.resolve();
  }

  /** The agent of a turn, the next unless another's model is given; made when it is first needed, and another one when the model was changed. */
  ready(model = this.#state.model): Agent {
    const kind = this.#host.kinds.get(this.#state.agent);
    if (kind === undefined) throw new SessiondError("agent_unavailable", { reason: absentWords(this.#state.agent) });
    const { workdir, sandbox } = this.#state;
    if (this.#agent !== null && this.#model !== model && kind.modelIsSetting !== true) this.#letGo(this.#agent);
    this.#model = model;
    this.#agent ??= kind.create({
      sessionId: this.#host.id,
      workdir,
      model,
      env: this.#host.env(),
      sandbox,
      transcript: () => this.#host.log.transcript(),
      chosen: () => ({ ...this.#state.chosen, model: this.#state.model }),
      conversation: () => this.#state.agent_facts.conversation,
      turnsBefore: () => this.#state.turns - (this.#state.turn === null ? 0 : 1),
      drained: () => this.#host.log.drained(),
      tell: (fact) => void (this.#host.writable() && this.#host.apply(fact)),
    });
    return this.#agent;
  }

  /** False where the session's agent is one that the daemon has not now: no prompt could run. */
  get present(): boolean {
    return this.#host.kinds.has(this.#state.agent);
  }

  /** Let the agent look for what it needs; null when there is nothing to be waited for. */
  look(): Promise<unknown> | null {
    const agent = this.present ? this.ready() : null;
    if (agent?.look === undefined) return null;
    // One for all who ask meanwhile: they go on in the order in which they came, and of a look that never ends there is one.
    if (this.#looking?.agent !== agent) {
      const over = agent.look().finally(() => this.#looking?.over === over && (this.#looking = null));
      this.#looking = { agent, over };
    }
    const { clock, limits } = this.#host;
    return within(clock, limits.agent_look_ms, this.#looking.over);
  }

  chosenChanged(): void {
    this.#agent?.chosenChanged?.();
  }

  /** Begin the turn of a queued prompt, the next that is not held unless named. */
  startNext(promptId = nextPrompt(this.#state)?.prompt_id): void {
    const prompt = this.#state.queue.find((queued) => queued.prompt_id === promptId);
    if (prompt === undefined || !this.#host.mayBegin()) return;
    // Nobody is there to run it: it waits, and with it all others.
    if (!this.present) return void this.#host.apply({ type: "queue_held", cause: "agent_gone" });
    const turnId = mintId("trn");
    this.#host.apply({ type: "turn_started", turn_id: turnId, prompt_ids: [prompt.prompt_id] });
    this.#host.apply({ type: "prompt_delivered", prompt_id: prompt.prompt_id, turn_id: turnId });
    this.#run(turnId, (agent, turn) => agent.prompt(prompt.parts, turn));
  }

  /** What a start after a crash does with the turn that it finds: take it up if it only waits for answers, else end it. */
  recover(): void {
    const turn = this.#state.turn;
    if (turn === null) return;
    if (this.parkable()) this.#run(turn.turn_id, (agent, running) => agent.resume(running));
    else this.#close(turn.turn_id, { stop_reason: "interrupted" }, "restart", unrun.shutdown);
  }

  #run(turnId: string, start: (agent: Agent, turn: AgentTurn) => AsyncIterable<AgentSays>): void {
    // A turn that is taken up again ends with the model that it began with.
    const agent = this.ready(this.#state.turn?.model);
    const { clock, limits, log, approvals } = this.#host;
    const running = new RunningTurn(
      {
        clock,
        interrupt_wait_ms: limits.interrupt_wait_ms,
        report: (error) => this.#host.report(error),
        apply: (event) => this.#host.apply(event),
        durable: (seq) => log.durable(seq),
        drained: () => log.drained(),
        // The step after the one in which the answers are sent.
        begun: () => log.durable(this.#state.seq).then(() => nextStep()),
        ask: (id, question) =>
          this.#running === running && running.cause === null
            ? approvals.ask(id, question)
            : Promise.resolve({ allowed: false, reason: unrun[running.cause ?? "interrupt"] }),
        withdraw: (id, toolCallId) => approvals.withdraw(id, toolCallId),
        steer: () => {
          if (this.#running !== running || !this.#host.writable()) return 0;
          const prompts = steering(this.#state);
          for (const { prompt_id } of prompts) this.#host.apply({ type: "prompt_delivered", prompt_id, turn_id: turnId });
          return prompts.length;
        },
        kill: () => {
          // A closed agent runs no further turn.
          if (this.#agent === agent) this.#agent = null;
          return agent.close();
        },
      },
      turnId,
      (turn) => start(agent, turn),
    );
    this.#running = running;
    running.done.then((end) => this.#ended(running, end)).catch((error: unknown) => this.#host.report(error));
  }

  #ended(running: RunningTurn, end: TurnEnd): void {
    if (this.#running === running) this.#running = null;
    // Parked or faulted: the turn goes on, or is closed, at the next start or reopening.
    if (running.cause === "parked" || running.cause === "fault" || !this.#host.writable() || this.#state.turn?.turn_id !== running.turnId) return;
    const cause = running.cause;
    this.#close(
      running.turnId,
      end,
      cause === "interrupt" || cause === "stop" ? cause : cause === "shutdown" ? "restart" : "failed",
      cause === null ? "The turn ended before the tool was run." : unrun[cause],
    );
    this.startNext();
  }

  /** The frames that end a turn: no question and no call of it stays open. */
  #close(turnId: string, end: TurnEnd, cause: "interrupt" | "stop" | "restart" | "failed", result: string): void {
    this.#host.approvals.closeAll(cause);
    for (const { tool_call_id } of this.#state.calls) this.#host.apply({ type: "tool_call_update", turn_id: turnId, tool_call_id, status: "failed", result });
    this.#host.apply({ type: "turn_ended", turn_id: turnId, ...end });
  }

  /** End the running turn, if there is one; resolves when its closing frames are applied. */
  async abort(cause: AbortCause): Promise<void> {
    const running = this.#running;
    if (running === null) return;
    running.abort(cause);
    await running.done;
    // `#ended` was registered first, so the closing frames are applied by now.
  }

  /** True when the turn does nothing but wait for answers, and its agent can take it up again. */
  parkable(): boolean {
    const turn = this.#state.turn;
    if (turn === null || this.#host.kinds.get(this.#state.agent)?.info().capabilities.park !== true) return false;
    const { calls, approvals } = this.#state;
    return calls.length > 0 && calls.every((call) => call.status === "pending" && approvals.some((approval) => approval.tool_call_id === call.tool_call_id));
  }

  /** The journal was taken up again: what the agent knew may never have happened. */
  forgetAgent(): void {
    this.#agent = null;
  }

  async closeAgent(): Promise<void> {
    await Promise.all([this.#agent, ...this.#leaving].flatMap((agent) => (agent === null ? [] : [agent.close()])));
  }

  #letGo(agent: Agent): void {
    this.#agent = null;
    this.#leaving.add(agent);
    void (this.#running?.done ?? Promise.resolve())
      .then(() => agent.close())
      .catch((error: unknown) => this.#host.report(error))
      .finally(() => this.#leaving.delete(agent));
  }

  get #state() {
    return this.#host.log.decided.state;
  }
}
