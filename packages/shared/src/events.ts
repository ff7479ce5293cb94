import { z } from "zod";
import { limits } from "./limits.ts";
import * as s from "./schemas.ts";

/**
 * The event table. An event becomes a frame when the session numbers it; a frame is one
 * line of the journal and travels to every client as that same text.
 */
interface EventRow {
  readonly schema: z.ZodType;
  readonly doc: string;
}

const event = <T extends string, S extends z.ZodRawShape>(type: T, shape: S, doc: string) => ({ schema: z.strictObject({ type: z.literal(type), ...shape }), doc });

const inTurn = { turn_id: s.turnId };
const text = z.strictObject({ type: z.literal("text"), text: z.string() });

export const eventTable = {
  session_started: event("session_started", { life: z.int().positive(), workdir: z.string(), agent: z.string(), model: z.string() }, "A life of the session begins; the first frame of each."),
  session_stopped: event("session_stopped", { life: z.int().positive(), by: s.actor }, "The life has ended; always its last frame. All seats are empty."),
  seat_taken: event("seat_taken", { seat_id: s.seatId, role: s.role, label: s.label }, "A client attached."),
  seat_lost: event("seat_lost", { seat_id: s.seatId, grace_ms: s.millis }, "Its connection dropped; the seat is held for the grace time."),
  seat_resumed: event("seat_resumed", { seat_id: s.seatId }, "The same client is back in its seat."),
  seat_left: event("seat_left", { seat_id: s.seatId, role: s.role, cause: z.enum(["detach", "grace", "token_ended", "restart"]) }, "The seat is gone; a driver's is vacant from here on."),
  prompt_accepted: event(
    "prompt_accepted",
    { prompt_id: s.promptId, parts: s.promptParts, digest: z.string(), when_busy: z.enum(["queue", "reject"]), became: z.enum(["started", "queued"]), by: s.actor },
    "A prompt was taken on, whole.",
  ),
  prompt_delivered: event("prompt_delivered", { prompt_id: s.promptId, turn_id: s.turnId }, "The prompt entered a turn. One of the three ends of a prompt."),
  prompt_withdrawn: event("prompt_withdrawn", { prompt_id: s.promptId, by: s.actor }, "Taken back before it ran."),
  prompt_discarded: event("prompt_discarded", { prompt_id: s.promptId, cause: z.enum(["stop"]) }, "Ended unrun."),
  queue_held: event("queue_held", { cause: z.enum(["interrupt", "restart"]) }, "Every prompt now queued waits for `release_queue`."),
  queue_released: event("queue_released", { by: s.actor }, "Held prompts may run."),
  turn_started: event("turn_started", { ...inTurn, prompt_ids: z.array(s.promptId).min(1) }, "The agent begins to work."),
  turn_ended: event("turn_ended", { ...inTurn, stop_reason: s.stopReason, error: s.failure.optional(), usage: s.usage.optional() }, "The agent has done, or was ended."),
  agent_message_chunk: event("agent_message_chunk", { ...inTurn, message_id: z.string().min(1), content: text }, "A piece of the agent's answer, appended to the message of that id."),
  agent_thought_chunk: event("agent_thought_chunk", { ...inTurn, message_id: z.string().min(1), content: text }, "A piece of the agent's reasoning, where the model shows it."),
  tool_call: event(
    "tool_call",
    { ...inTurn, tool_call_id: z.string().min(1), message_id: z.string().min(1), tool: z.string().max(limits.title_chars_max), kind: s.toolKind, title: z.string().max(limits.title_chars_max), input: z.record(z.string(), z.unknown()), raw_input: z.string().optional() },
    "The agent wants a tool run; its status is pending. `raw_input`: the model's own text where it is not a JSON object.",
  ),
  tool_call_chunk: event("tool_call_chunk", { ...inTurn, tool_call_id: z.string().min(1), content: text }, "Output of a running tool, appended."),
  tool_call_update: event(
    "tool_call_update",
    { ...inTurn, tool_call_id: z.string().min(1), status: s.toolStatus.exclude(["pending"]), result: z.string().optional() },
    "The call's status. `result`, with a final status, is what the model is told; where chunks were sent it stands for them.",
  ),
  approval_requested: event("approval_requested", { approval: s.approval }, "The agent asks whether a tool may run."),
  approval_resolved: event(
    "approval_resolved",
    { approval_id: s.approvalId, cause: s.approvalCause, option_id: z.string().optional(), reason: z.string().optional(), by: s.actor.optional() },
    "The question is closed; the only end of an approval.",
  ),
  notice: event("notice", { code: z.enum(["journal_cut"]), text: z.string() }, "Something a reader of the transcript should know."),
} as const satisfies Record<string, EventRow>;

export type EventType = keyof typeof eventTable;
export type SessionEvent = { [T in EventType]: z.infer<(typeof eventTable)[T]["schema"]> }[EventType];
export type EventOf<T extends EventType> = Extract<SessionEvent, { type: T }>;

type Schemas = { [T in EventType]: (typeof eventTable)[T]["schema"] };
const schemas = Object.values(eventTable).map((row) => row.schema) as unknown as [Schemas["session_started"], ...Schemas[EventType][]];
export const eventSchema = z.discriminatedUnion("type", schemas) as unknown as z.ZodType<SessionEvent>;

/** One numbered event. `seq` ascends by one and never restarts in a session; `at` is the daemon's clock. */
export interface Frame {
  readonly seq: number;
  readonly at: number;
  readonly event: SessionEvent;
}
export const frameSchema = z.strictObject({ seq: z.int().positive(), at: s.millis, event: eventSchema }) as unknown as z.ZodType<Frame>;

const attached = { cursor: s.cursor, head: s.seq, seat: s.seat.nullable(), fault: s.fault.optional() };
/**
 * What an `attach` stream yields: first a `snapshot` or `resumed`, then `batch`es.
 * `head` is the newest seq that the session shows; `cursor` that of the last frame given.
 */
export const attachItem = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("snapshot"), ...attached, snapshot: s.sessionState, reset: z.enum(["beyond_end", "unknown_epoch", "too_old"]).optional() }),
  z.strictObject({ type: z.literal("resumed"), ...attached }),
  z.strictObject({ type: z.literal("batch"), cursor: s.cursor, head: s.seq, frames: z.array(frameSchema), fault: s.fault.optional() }),
]);
export type AttachItem = z.infer<typeof attachItem>;
