import { createHash } from "node:crypto";
import { SessiondError, type Actor, type ContentPart, type Limits, type QueuedPrompt, type SessionState, type VerbOutput } from "@sessiond/shared";
import type { KnownPrompt } from "./decided.ts";

/** The rules by which a prompt is taken on; the queue itself is part of the session's state. */
export interface PromptRequest {
  readonly promptId: string;
  readonly parts: readonly ContentPart[];
  readonly whenBusy: "queue" | "reject";
  readonly by: Actor;
}

export const partsDigest = (parts: readonly ContentPart[]): string => createHash("sha256").update(JSON.stringify(parts)).digest("hex");

const bytesOf = (parts: readonly ContentPart[]): number => parts.reduce((sum, part) => sum + Buffer.byteLength(part.text), 0);

/** The next prompt to run: the first that is not held. */
export const nextPrompt = (state: SessionState): QueuedPrompt | undefined => state.queue.find((prompt) => !prompt.held);

/**
 * What a repeat of a known prompt gets: the first answer again.
 *
 * @throws SessiondError conflict  when the content differs
 */
export function repeated(known: KnownPrompt, request: PromptRequest, sessionId: string): VerbOutput<"send_prompt"> {
  if (known.digest !== partsDigest(request.parts)) throw new SessiondError("conflict", { reason: "this prompt_id was used for another content" });
  return {
    session_id: sessionId,
    seq: known.seq,
    prompt_id: request.promptId,
    became: known.became,
    ...(known.turnId !== undefined && { turn_id: known.turnId }),
  };
}

/**
 * @returns what the prompt becomes
 * @throws SessiondError limit_reached, turn_in_progress, queue_full
 */
export function place(state: SessionState, request: PromptRequest, limits: Limits): "started" | "queued" {
  const bytes = bytesOf(request.parts);
  if (bytes > limits.prompt_bytes_max)
    throw new SessiondError("limit_reached", { limit: "prompt_bytes_max", value: limits.prompt_bytes_max, unit: "bytes", got: bytes });
  const busy = state.turn !== null || nextPrompt(state) !== undefined;
  if (!busy) return "started";
  if (request.whenBusy === "reject") throw new SessiondError("turn_in_progress", { ...(state.turn && { turn_id: state.turn.turn_id }) });
  const depth = state.queue.length;
  if (depth >= limits.queue_prompts_max) throw new SessiondError("queue_full", { limit: "queue_prompts_max", depth, value: limits.queue_prompts_max });
  const queuedBytes = state.queue.reduce((sum, prompt) => sum + bytesOf(prompt.parts), 0);
  if (queuedBytes + bytes > limits.queue_bytes_max) throw new SessiondError("queue_full", { limit: "queue_bytes_max", depth, value: limits.queue_bytes_max });
  return "queued";
}
