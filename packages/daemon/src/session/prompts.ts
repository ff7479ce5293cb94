import { createHash } from "node:crypto";
import {
  SessiondError,
  type Actor,
  type Became,
  type ContentPart,
  type Limits,
  type QueuedPrompt,
  type SessionState,
  type VerbOutput,
  type WhenBusy,
} from "@sessiond/shared";
import type { KnownPrompt } from "./decided.ts";

/** The rules by which a prompt is taken on; the queue itself is part of the session's state. */
export interface PromptRequest {
  readonly promptId: string;
  readonly parts: readonly ContentPart[];
  readonly whenBusy: WhenBusy;
  readonly by: Actor;
}

export const partsDigest = (parts: readonly ContentPart[]): string => createHash("sha256").update(JSON.stringify(parts)).digest("hex");

const imageBytes = (parts: readonly ContentPart[]): number => parts.reduce((sum, part) => sum + (part.type === "image" ? part.data.length : 0), 0);
const textBytes = (parts: readonly ContentPart[]): number =>
  parts.reduce((sum, part) => sum + ("text" in part ? Buffer.byteLength(part.text) : 0) + ("uri" in part ? Buffer.byteLength(part.uri) : 0), 0);
const bytesOf = (parts: readonly ContentPart[]): number => imageBytes(parts) + textBytes(parts);

/** The next prompt to run, of those not held: who ended a turn for it comes first, then what was meant for the turn that has ended. */
export function nextPrompt(state: SessionState): QueuedPrompt | undefined {
  const ready = state.queue.filter((prompt) => !prompt.held);
  return ready.find((prompt) => prompt.when_busy === "interrupt") ?? ready.find(steers) ?? ready[0];
}

/** Prompts that the running turn takes in at its next step, in their order: those that came while it ran. What steered an earlier one runs by itself. */
export const steering = ({ queue, turn }: SessionState): QueuedPrompt[] =>
  queue.filter((prompt) => turn !== null && !prompt.held && steers(prompt) && prompt.seq > turn.seq);

const steers = (prompt: QueuedPrompt): boolean => prompt.when_busy === "steer";

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
 * @param steers  the agent comes for prompts in the middle of a turn
 * @returns what the prompt becomes
 * @throws SessiondError limit_reached, turn_in_progress, unsupported, queue_full
 */
export function place(state: SessionState, request: PromptRequest, { limits, steers: canSteer }: { limits: Limits; steers: boolean }): Became {
  mustBeSmall(request.parts, limits);
  const busy = state.turn !== null || nextPrompt(state) !== undefined;
  if (!busy) return "started";
  if (request.whenBusy === "reject") throw new SessiondError("turn_in_progress", { ...(state.turn && { turn_id: state.turn.turn_id }) });
  if (request.whenBusy === "steer" && !canSteer)
    throw new SessiondError("unsupported", {
      reason: `the agent ${state.agent} takes no prompt into a running turn; send it with when_busy queue, to run afterwards, or interrupt, to end the turn for it`,
    });
  const depth = state.queue.length;
  if (depth >= limits.queue_prompts_max)
    throw new SessiondError("queue_full", { limit: "queue_prompts_max", depth, value: limits.queue_prompts_max, unit: "prompts" });
  mustFit(state, request.parts, { limits });
  return request.whenBusy === "steer" && state.turn !== null ? "steering" : "queued";
}

/** @throws SessiondError limit_reached, queue_full  when the prompt may not have this content */
export function mayBecome(state: SessionState, prompt: QueuedPrompt, { parts, limits }: { parts: readonly ContentPart[]; limits: Limits }): void {
  mustBeSmall(parts, limits);
  mustFit(state, parts, { limits, insteadOf: prompt });
}

function mustBeSmall(parts: readonly ContentPart[], limits: Limits): void {
  const sizes = { prompt_bytes_max: textBytes(parts), prompt_images_bytes_max: imageBytes(parts) } as const;
  for (const limit of ["prompt_bytes_max", "prompt_images_bytes_max"] as const)
    if (sizes[limit] > limits[limit]) throw new SessiondError("limit_reached", { limit, value: limits[limit], unit: "bytes", got: sizes[limit] });
}

function mustFit({ queue }: SessionState, parts: readonly ContentPart[], { limits, insteadOf }: { limits: Limits; insteadOf?: QueuedPrompt }): void {
  const others = queue.filter((prompt) => prompt !== insteadOf).reduce((sum, prompt) => sum + bytesOf(prompt.parts), 0);
  if (others + bytesOf(parts) > limits.queue_bytes_max)
    throw new SessiondError("queue_full", { limit: "queue_bytes_max", depth: queue.length, value: limits.queue_bytes_max, unit: "bytes" });
}
