import type { Limits, StopReason, Usage } from "@sessiond/shared";
import { customAlphabet } from "nanoid";
import type { AgentContext, AgentEvent, AgentTurn } from "../agent.ts";
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
  const asked = transcript.entries.filter((entry) => entry.type === "assistant" && entry.turnId === turnId).length;
  return asked >= limits.turn_requests_max ? { do: "end", stopReason: "max_turn_requests" } : { do: "ask_model" };
}

export interface LoopWorld extends Omit<CallWorld, "turn"> {
  readonly context: AgentContext;
  readonly turn: AgentTurn;
  readonly model: ChatModel;
}

/** @yields the turn's events, `turn_end` last; after an abort the open calls' ends and `cancelled` */
export async function* runTurn(world: LoopWorld): AsyncGenerator<AgentEvent, void, void> {
  const { context, turn, limits } = world;
  let usage: Usage = { input_tokens: 0, output_tokens: 0 };
  const end = (stop_reason: StopReason, error?: { code: string; message: string }): AgentEvent => ({
    type: "turn_end",
    stop_reason,
    ...(error && { error }),
    ...(usage.input_tokens + usage.output_tokens > 0 && { usage }),
  });
  for (;;) {
    const step = nextStep(context.transcript, turn.turnId, limits);
    if (step.do === "run") yield* runCalls(step.calls, world);
    if (turn.signal.aborted) return yield end("cancelled");
    if (step.do === "end") return yield end(step.stopReason);
    if (step.do === "run") continue;

    const outcome = yield* askModel(world);
    usage = { input_tokens: usage.input_tokens + outcome.usage.input_tokens, output_tokens: usage.output_tokens + outcome.usage.output_tokens };
    if (outcome.type === "aborted") return yield end("cancelled");
    if (outcome.type === "failed") return yield end("failed", outcome.error);
    if (outcome.reason === "length") return yield end("max_tokens");
    if (outcome.reason === "refusal") return yield end("refusal");
    // An answer may also be empty, and then leaves no entry to decide by.
    if (outcome.calls.length === 0) return yield end("end_turn");
  }
}

const base62 = customAlphabet("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 22);

/** One model call: its text as it comes, then all of its tool calls. */
async function* askModel({ context, turn, model }: LoopWorld): AsyncGenerator<AgentEvent, ModelOutcome, void> {
  const message_id = `msg_${base62()}`;
  const answer = model.ask(requestOf(context.transcript, context), turn.signal);
  try {
    for (;;) {
      const next = await answer.next();
      if (next.done === true) {
        if (next.value.type === "answered") for (const call of next.value.calls) yield toolCall(call, message_id);
        return next.value;
      }
      const { type, text } = next.value;
      yield { type: type === "text" ? "agent_message_chunk" : "agent_thought_chunk", message_id, content: { type: "text", text } };
    }
  } finally {
    // Closes the connection when the consumer left in the middle.
    await answer.return({ type: "aborted", usage: { input_tokens: 0, output_tokens: 0 } });
  }
}

function toolCall({ name, text, tooLarge }: WantedCall, message_id: string): AgentEvent {
  const tool = toolNamed(name);
  const input = tooLarge ? null : objectOf(text);
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
  };
}

/** Null when it is no JSON object; a call without arguments may come as an empty text. */
function objectOf(text: string): Record<string, unknown> | null {
  if (text.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : null;
  } catch {
    return null;
  }
}
