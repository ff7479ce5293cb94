import { limits as defaults, nestsAtMost, SessiondError } from "@sessiond/shared";
import type { Limits, StopReason, Usage } from "@sessiond/shared";
import { customAlphabet } from "nanoid";
import type { AgentContext, AgentEvent, AgentSays, AgentTurn } from "../agent.ts";
import type { Transcript, TranscriptCall } from "../transcript.ts";
import type { CallWorld } from "./calls.ts";
import { runCalls } from "./calls.ts";
import type { ChatModel, ModelOutcome } from "./model.ts";
import { requestOf } from "./request.ts";
import { toolNamed } from "./tools/toolbox.ts";
import { oneLine } from "./tools/tool.ts";
import type { WantedCall } from "./wanted-calls.ts";

/**
 * The agent's loop: a function from the transcript to the next step, and its driver. It keeps
 * nothing between steps but the usage, so a turn that was parked goes on where its transcript
 * ends, and `prompt` and `resume` are the same.
 */
export type Step =
  | { readonly do: "run"; readonly calls: readonly TranscriptCall[] }
  | { readonly do: "ask_model" }
  | { readonly do: "end"; readonly stopReason: StopReason };

function nextStep(transcript: Transcript, turnId: string, limits: Limits): Step {
  const calls = transcript.unfinished(turnId);
  if (calls.length > 0) return { do: "run", calls };
  const last = transcript.entries.at(-1);
  if (last?.type === "assistant" && last.turnId === turnId && last.calls.length === 0) return { do: "end", stopReason: "end_turn" };
  return mayAsk(transcript, turnId, limits) ? { do: "ask_model" } : { do: "end", stopReason: "max_turn_requests" };
}

const mayAsk = (transcript: Transcript, turnId: string, limits: Limits): boolean =>
  transcript.entries.filter((entry) => entry.type === "assistant" && entry.turnId === turnId).length < limits.turn_requests_max;

export interface LoopWorld extends Omit<CallWorld, "turn"> {
  readonly context: AgentContext;
  readonly turn: AgentTurn;
  readonly model: ChatModel;
  /** Why the model cannot be asked now, and what to do; else null. */
  unavailable(): string | null;
}

/** @yields the turn's events, `turn_end` last; after an abort the open calls' ends and `cancelled` */
export async function* runTurn(world: LoopWorld): AsyncGenerator<AgentSays, void, void> {
  const { context, turn, limits } = world;
  const transcript = await context.transcript();
  let usage: Usage = { input_tokens: 0, output_tokens: 0 };
  const end = (stop_reason: StopReason, error?: { code: string; message: string }): AgentEvent => ({
    type: "turn_end",
    stop_reason,
    ...(error && { error }),
    ...(usage.input_tokens + usage.output_tokens > 0 && { usage }),
  });
  for (;;) {
    const step = nextStep(transcript, turn.turnId, limits);
    if (step.do === "run") yield* runCalls(step.calls, world);
    if (turn.signal.aborted) return yield end("cancelled");
    if (step.do === "end") return yield end(step.stopReason);
    if (step.do === "run") continue;

    // What was so when the prompt was taken on may be otherwise by now: another model, a daemon without the key.
    const missing = world.unavailable();
    if (missing !== null)
      return yield end("failed", { code: "agent_unavailable", message: new SessiondError("agent_unavailable", { reason: missing }).message });

    turn.takeSteering();
    const outcome = yield* askModel(transcript, world);
    usage = { input_tokens: usage.input_tokens + outcome.usage.input_tokens, output_tokens: usage.output_tokens + outcome.usage.output_tokens };
    if (outcome.type === "aborted") return yield end("cancelled");
    if (outcome.type === "failed") return yield end("failed", outcome.error);
    if (outcome.reason === "length") return yield end("max_tokens");
    if (outcome.reason === "refusal") return yield end("refusal");
    // Called for calls alone: an answer may also be empty, and then leaves no entry to decide by. What came to
    // steer the turn meanwhile is answered in it, unless no model call is left for that.
    const over = outcome.calls.length === 0 && !(mayAsk(transcript, turn.turnId, limits) && turn.takeSteering() > 0);
    if (over) return yield end("end_turn");
  }
}

const base62 = customAlphabet("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 22);

/** One model call: its text as it comes, then all of its tool calls. */
async function* askModel(transcript: Transcript, { context, turn, model, limits }: LoopWorld): AsyncGenerator<AgentSays, ModelOutcome, void> {
  const message_id = `msg_${base62()}`;
  const answer = model.ask(requestOf(transcript, context), turn.signal);
  try {
    for (;;) {
      const next = await answer.next();
      if (next.done === true) {
        if (next.value.type === "answered") yield* toolCalls(next.value.calls, message_id, limits);
        return next.value;
      }
      yield next.value.map(({ type, text }) => ({
        type: type === "text" ? "agent_message_chunk" : "agent_thought_chunk",
        message_id,
        content: { type: "text", text },
      }));
    }
  } finally {
    // Closes the connection when the consumer left in the middle.
    await answer.return({ type: "aborted", usage: { input_tokens: 0, output_tokens: 0 } });
  }
}

/** Of more calls than one answer may have, the first that is too many says so for all of them, and the rest is left out. */
function* toolCalls(calls: readonly WantedCall[], message_id: string, { calls_open_max: most }: Limits): Generator<AgentEvent> {
  for (const call of calls.slice(0, most)) yield toolCall(call, message_id);
  const tooMany = calls[most];
  if (tooMany === undefined) return;
  const call = toolCall(tooMany, message_id);
  yield call;
  const result = `More than ${most} calls in one answer: the first ${most} are run; this one and ${calls.length - most - 1} after it are not. Make fewer calls at a time.`;
  yield { type: "tool_call_update", tool_call_id: call.tool_call_id, status: "failed", result };
}

function toolCall({ name, text, tooLarge }: WantedCall, message_id: string): Extract<AgentEvent, { type: "tool_call" }> {
  const tool = toolNamed(name);
  const input = tooLarge ? null : objectOf(text, defaults.tool_input_depth_max);
  const path = tool?.location(input ?? {}) ?? null;
  return {
    type: "tool_call",
    // Ours, because a model's may be empty or the same twice.
    tool_call_id: `call_${base62()}`,
    message_id,
    tool: name.slice(0, 64) || "unknown",
    kind: tool?.kind ?? "other",
    title: oneLine(tool?.title(input ?? {}) ?? (name || "unknown tool")),
    input: input ?? {},
    ...(input === null && { raw_input: text }),
    // A longer path names no file.
    ...(path !== null && path.length <= defaults.workdir_bytes_max && { locations: [{ path }] }),
  };
}

/** Null when it is no JSON object, or too deep; a call without arguments may come as an empty text. */
function objectOf(text: string, depthMax: number): Record<string, unknown> | null {
  if (text.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) && nestsAtMost(depthMax, value) ? { ...value } : null;
  } catch {
    return null;
  }
}
