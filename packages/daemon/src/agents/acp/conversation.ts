import { type AgentFactsTold, type ContentPart, type Limits, type StopReason } from "@sessiond/shared";
import {
  AcpError,
  acpErrors,
  acpStopReasons,
  isAcpError,
  mustReadAcp,
  permissionRequest,
  promptResponse,
  readAcp,
  sessionUpdate,
  type AcpPermissionResponse,
  type AcpPromptRequest,
  type AcpSessionName,
  type IncomingRequest,
  type JsonRpcPeer,
} from "@sessiond/shared/acp";
import type { AgentContext, AgentEvent, AgentSays, AgentTurn, Answer } from "../agent.ts";
import { commandsOf, Facts, optionsOf, titleOf, useOf } from "./facts.ts";
import type { Hide } from "./hidden-secrets.ts";
import { contentOf, type Takes } from "./parts.ts";
import { cancelled, offered, outcomeOf } from "./permission.ts";
import { Replay } from "./replay.ts";
import { Said } from "./said.ts";
import { wordsOfError } from "./start-failure.ts";
import { isOver } from "./tool-calls.ts";
import { TurnEvents, type Update } from "./turn-events.ts";
import { unlessAborted } from "./when-aborted.ts";

/**
 * What is said with an agent, once it is there: one prompt at a time, what it tells meanwhile, and its
 * questions, each of which gets an answer, whatever becomes of the turn.
 */
export interface ConversationHost {
  readonly name: string;
  readonly context: AgentContext;
  readonly limits: Limits;
  readonly hide: Hide;
}

interface Running {
  readonly turn: AgentTurn;
  readonly events: TurnEvents;
  readonly said: Said;
  /** Questions that have no answer on its way yet. */
  readonly open: Set<Promise<void>>;
}

type TurnEnd = Extract<AgentEvent, { type: "turn_end" }>;

export class Conversation {
  readonly facts: Facts;
  readonly replay: Replay;
  /** The agent's name for it; null until that is known. */
  id: string | null = null;
  readonly #host: ConversationHost;
  #running: Running | null = null;

  constructor(host: ConversationHost) {
    this.#host = host;
    this.replay = new Replay(host.limits);
    this.facts = new Facts((facts) => host.context.tell({ type: "agent_facts", facts }));
  }

  get busy(): boolean {
    return this.#running !== null;
  }

  /**
   * Run one prompt. Whoever leaves in the middle, by the turn's signal or by `return`, leaves when the agent has been told
   * and has let go; for an agent that does not, it ends with the connection.
   *
   * @yields what the agent says; the end last, unless the turn was aborted
   */
  async *prompt(
    peer: JsonRpcPeer,
    { id, parts, takes }: { id: string; parts: readonly ContentPart[]; takes: Takes },
    turn: AgentTurn,
  ): AsyncGenerator<AgentSays> {
    const said = new Said();
    const running: Running = { turn, said, events: new TurnEvents(turn.turnId, this.#host.limits), open: new Set() };
    const drop = (): void => said.drop();
    turn.signal.addEventListener("abort", drop, { once: true });
    if (turn.signal.aborted) drop();
    this.#running = running;
    let answered = false;
    const params: AcpPromptRequest = { sessionId: id, prompt: contentOf(parts, takes) };
    const end = this.#ask(peer, params).finally(() => {
      answered = true;
      // What comes from here on belongs to no turn.
      this.#running = null;
      said.end();
    });
    // It is asked for when all that was said before it is taken.
    end.catch(() => undefined);
    try {
      yield* said;
    } finally {
      turn.signal.removeEventListener("abort", drop);
      if (!answered) {
        await Promise.race([Promise.all(running.open), peer.closed]);
        peer.notify("session/cancel", { sessionId: id } satisfies AcpSessionName);
        await end.catch(() => undefined);
      }
    }
    // Who takes this does not come back.
    if (!turn.signal.aborted) yield await end;
  }

  /** @throws AcpError where the connection ended, or a login is missing */
  async #ask(peer: JsonRpcPeer, params: AcpPromptRequest): Promise<TurnEnd> {
    try {
      const { stopReason, usage } = mustReadAcp(promptResponse, await peer.request("session/prompt", params));
      const counts = { input_tokens: usage?.inputTokens ?? 0, output_tokens: usage?.outputTokens ?? 0 };
      const isCount = Object.values(counts).every((count) => Number.isSafeInteger(count) && count <= this.#host.limits.model_usage_tokens_max);
      return { type: "turn_end", ...this.#reason(stopReason), ...(usage && isCount && { usage: counts }) };
    } catch (error) {
      if (!isAcpError(error) || error.code === acpErrors.connection_closed || error.code === acpErrors.auth_required) throw error;
      return this.#failed(`The agent ${this.#host.name} failed: ${wordsOfError(error, this.#host.hide)}`);
    }
  }

  #reason(told: string): Pick<TurnEnd, "stop_reason" | "error"> {
    const stop_reason = acpStopReasons.find((known) => known === told) satisfies StopReason | undefined;
    return stop_reason === undefined
      ? this.#failed(`The agent ${this.#host.name} ended the turn for a reason that is not known here: ${this.#host.hide(told).slice(0, 64)}`)
      : { stop_reason };
  }

  #failed(message: string): TurnEnd {
    return { type: "turn_end", stop_reason: "failed", error: { code: "agent_failed", message: message.slice(0, this.#host.limits.failure_chars_max) } };
  }

  // --- What the agent says by itself ---------------------------------------------------------------

  /** @returns a promise where it has said more than its session has taken */
  notified(method: string, params: unknown): void | Promise<void> {
    if (method !== "session/update") return;
    const read = readAcp(sessionUpdate, params);
    if (!read.ok || (this.id !== null && read.value.sessionId !== this.id)) return;
    const { update } = read.value;
    const facts = this.#factsOf(update);
    if (facts !== null) {
      this.facts.learn(facts);
      return this.#host.context.drained() ?? undefined;
    }
    // Between turns, and while a conversation is replayed: nobody asked, and the journal has it.
    if (this.#running === null) return this.replay.heard();
    return put(this.#running.said, this.#running.events.of(update));
  }

  /** Files and terminals are the agent's own affair: none of its requests but questions is served. */
  requested(method: string, params: unknown, request: IncomingRequest): Promise<AcpPermissionResponse> {
    if (method !== "session/request_permission") throw new AcpError(acpErrors.method_not_found, `sessiond does not serve ${method.slice(0, 100)}.`);
    const running = this.#running;
    let told = (): void => undefined;
    const answered = new Promise<void>((resolve) => (told = resolve));
    running?.open.add(answered);
    const done = (): void => {
      running?.open.delete(answered);
      told();
    };
    request.afterResponse(done);
    // An answer that was not sent, being an error, or there being nobody to send it to, is none to wait for.
    const answer = this.#judged(params, running, takenBack(request));
    answer.catch(done);
    return answer;
  }

  async #judged(params: unknown, running: Running | null, givenUp: AbortSignal): Promise<AcpPermissionResponse> {
    const { sessionId, toolCall, options } = mustReadAcp(permissionRequest, params);
    // Nobody could be asked, or it is not about what goes on here.
    if (running === null || sessionId !== this.id) return cancelled;
    const { turn, said, events } = running;
    const shown = put(said, events.called(toolCall));
    // First what it is about, so that the question is about something.
    await (shown ?? said.taken());
    const call = events.calls.get(toolCall.toolCallId);
    // What is told of a call that is over, which it may be since the agent asked, is not shown any more, so nobody could judge it.
    if (call === undefined || isOver(call.status) || turn.signal.aborted) return cancelled;
    const question = offered(call, options, this.#host.name);
    if (question === null) return cancelled;
    const answer = await unlessAborted(turn.signal, turn.ask(question.question, givenUp));
    if (answer === null) return cancelled;
    if (answer.cause === undefined && !answer.allowed && !turn.signal.aborted) void put(said, this.#unasked(question.question.toolCallId, answer));
    return outcomeOf(answer, question, turn.signal.aborted);
  }

  /** Nobody saw the question: it was too large, or one too many. */
  #unasked(id: string, answer: Answer): AgentEvent[] {
    return answer.allowed ? [] : [{ type: "tool_call_chunk", tool_call_id: id, content: { type: "text", text: `[refused unasked: ${answer.reason}]\n` } }];
  }

  #factsOf(update: Update): AgentFactsTold | null {
    const { limits } = this.#host;
    if (!update.known) return null;
    switch (update.sessionUpdate) {
      case "current_mode_update":
        return update.currentModeId === "" || update.currentModeId.length > limits.agent_text_chars_max ? {} : { mode: update.currentModeId };
      case "config_option_update":
        return { options: optionsOf(update.configOptions, limits) };
      case "available_commands_update":
        return { commands: commandsOf(update.availableCommands, limits) };
      case "session_info_update": {
        const title = update.title ? titleOf(update.title, limits) : "";
        return title === "" ? {} : { title };
      }
      case "usage_update": {
        const use = useOf(update);
        return use === null ? {} : { use };
      }
      default:
        return null;
    }
  }
}

/** The last of them is applied after all others. */
function put(said: Said, events: readonly AgentEvent[]): void | Promise<void> {
  let room: void | Promise<void> = undefined;
  for (const event of events) room = said.put(event);
  return room;
}

/** Aborts when the agent says so; when its connection ends, the turn does, and with that its questions. */
function takenBack({ signal }: IncomingRequest): AbortSignal {
  const controller = new AbortController();
  const listen = (): void => (isAcpError(signal.reason, acpErrors.request_cancelled) ? controller.abort() : undefined);
  signal.addEventListener("abort", listen, { once: true });
  return controller.signal;
}
