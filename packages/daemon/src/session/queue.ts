import { SessiondError, type Actor, type ContentPart, type Limits, type SessionEvent, type VerbOutput } from "@sessiond/shared";
import type { Agent } from "../agents/agent.ts";
import type { Approvals } from "./approvals.ts";
import { mayBecome, partsDigest, place, repeated, type PromptRequest } from "./prompts.ts";
import type { SessionLog } from "./session-log.ts";
import type { Turns } from "./turns.ts";

/**
 * What verbs do with prompts: each decides and applies in one synchronous step, and answers when
 * that is on disk, never waiting for the agent.
 */
export interface QueueHost {
  readonly id: string;
  readonly limits: Limits;
  readonly log: SessionLog;
  readonly turns: Turns;
  readonly approvals: Approvals;
  apply(event: SessionEvent): number;
  /** @throws SessiondError session_stopped, shutting_down, session_faulted */
  mustLive(): void;
  /** @throws SessiondError shutting_down */
  mustBegin(): void;
}

/** @throws SessiondError unsupported */
function mustTake(agent: Agent, parts: readonly ContentPart[]): void {
  const reason = agent.refuses?.(parts) ?? null;
  if (reason !== null) throw new SessiondError("unsupported", { reason });
}

export class Queue {
  readonly #host: QueueHost;

  constructor(host: QueueHost) {
    this.#host = host;
  }

  /** @throws SessiondError conflict, limit_reached, turn_in_progress, queue_full, unsupported, agent_unavailable, session_stopped, session_faulted, storage_failed */
  async send(request: PromptRequest): Promise<VerbOutput<"send_prompt">> {
    const { id, log, limits, turns } = this.#host;
    this.#host.mustLive();
    // Before anything is decided: from here on it is one step.
    if (!log.decided.prompts.has(request.promptId)) await turns.look();
    this.#host.mustLive();
    const known = log.decided.prompts.get(request.promptId);
    if (known !== undefined) {
      const answer = repeated(known, request, id);
      await log.durable(known.seq);
      return answer;
    }
    this.#host.mustBegin();
    const agent = turns.ready();
    mustTake(agent, request.parts);
    const became = place(this.#state, request, { limits, steers: agent.capabilities.steer });
    const unavailable = agent.unavailable();
    if (unavailable !== null) throw new SessiondError("agent_unavailable", { reason: unavailable });
    const { promptId: prompt_id, parts, whenBusy: when_busy, by } = request;
    const seq = this.#host.apply({ type: "prompt_accepted", prompt_id, parts: [...parts], digest: partsDigest(parts), when_busy, became, by });
    if (became === "started") turns.startNext(prompt_id);
    else if (when_busy === "interrupt") this.#endTurn();
    const turnId = became === "started" ? this.#state.turn?.turn_id : undefined;
    await log.durable(this.#state.seq);
    return { session_id: id, seq, prompt_id, became, ...(turnId !== undefined && { turn_id: turnId }) };
  }

  /** @throws SessiondError prompt_gone with the outcome, limit_reached, queue_full */
  async edit(promptId: string, parts: readonly ContentPart[], by: Actor): Promise<number> {
    const prompt = this.#waiting(promptId);
    mayBecome(this.#state, prompt, { parts, limits: this.#host.limits });
    if (this.#host.turns.present) mustTake(this.#host.turns.ready(), parts);
    // A repeat.
    if (partsDigest(prompt.parts) === partsDigest(parts)) return this.#durable(this.#state.seq);
    return this.#durable(this.#host.apply({ type: "prompt_edited", prompt_id: promptId, parts: [...parts], by }));
  }

  /** @throws SessiondError prompt_gone with the outcome */
  async withdraw(promptId: string, by: Actor): Promise<number> {
    this.#waiting(promptId);
    return this.#durable(this.#host.apply({ type: "prompt_withdrawn", prompt_id: promptId, by }));
  }

  /** @throws SessiondError agent_unavailable  where there is nobody to run them */
  async release(by: Actor): Promise<{ seq: number; released: string[] }> {
    this.#host.mustLive();
    this.#host.mustBegin();
    const released = this.#state.queue.filter((prompt) => prompt.held).map((prompt) => prompt.prompt_id);
    // What released them may be on its way to disk still.
    if (released.length === 0) return { seq: await this.#durable(this.#state.seq), released };
    // Without its agent they would only be held again.
    this.#host.turns.ready();
    const seq = this.#host.apply({ type: "queue_released", by });
    if (this.#state.turn === null) this.#host.turns.startNext();
    return { seq: await this.#durable(seq), released };
  }

  /** The next prompt begins when the agent has let go; nobody waits for that here. */
  #endTurn(): void {
    if (!this.#host.turns.running) return;
    this.#host.approvals.closeAll("interrupt");
    void this.#host.turns.abort("interrupt");
  }

  #waiting(promptId: string) {
    this.#host.mustLive();
    const prompt = this.#state.queue.find((queued) => queued.prompt_id === promptId);
    if (prompt !== undefined) return prompt;
    const outcome = this.#host.log.decided.prompts.get(promptId)?.outcome;
    throw new SessiondError("prompt_gone", outcome === undefined ? {} : { outcome });
  }

  async #durable(seq: number): Promise<number> {
    await this.#host.log.durable(seq);
    return seq;
  }

  get #state() {
    return this.#host.log.decided.state;
  }
}
