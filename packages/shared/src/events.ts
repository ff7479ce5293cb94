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
  session_started: event("session_started", { life: z.int().positive(), workdir: z.string(), agent: z.string(), model: z.string(), title: z.string().optional(), policy: s.policy.optional(), sandbox: s.sandbox.optional() }, "A life of the session begins; the first frame of each. Without `sandbox` its commands run in none."),
  session_stopped: event("session_stopped", { life: z.int().positive(), by: s.actor }, "The life has ended; always its last frame. All seats are empty."),
  seat_taken: event("seat_taken", { seat_id: s.seatId, role: s.role, label: s.label }, "A client attached."),
  seat_lost: event("seat_lost", { seat_id: s.seatId, grace_ms: s.millis }, "Its connection dropped; the seat is held for the grace time."),
  seat_resumed: event("seat_resumed", { seat_id: s.seatId }, "The same client is back in its seat."),
  seat_left: event("seat_left", { seat_id: s.seatId, role: s.role, cause: z.enum(["detach", "grace", "token_ended", "restart"]) }, "The seat is gone; a driver's is vacant from here on."),
  driver_requested: event("driver_requested", { seat_id: s.seatId, lapses_at: s.millis }, "A viewer asks for the wheel. Ends by `driver_changed`, `driver_request_lapsed` or `seat_left`."),
  driver_request_lapsed: event("driver_request_lapsed", { seat_id: s.seatId }, "Nobody answered the request in time: it is refused."),
  driver_changed: event(
    "driver_changed",
    { from: s.seatId.nullable(), to: s.seatId.nullable(), cause: z.enum(["taken", "forced", "yielded", "granted"]) },
    "The wheel went from one seat to another; who had it stays as viewer. `granted`: a request, when the driver's seat fell vacant.",
  ),
  prompt_accepted: event(
    "prompt_accepted",
    { prompt_id: s.promptId, parts: s.promptParts, digest: z.string(), when_busy: s.whenBusy, became: s.became, by: s.actor },
    "A prompt was taken on, whole.",
  ),
  prompt_delivered: event("prompt_delivered", { prompt_id: s.promptId, turn_id: s.turnId }, "The prompt entered a turn. One of the three ends of a prompt."),
  prompt_edited: event("prompt_edited", { prompt_id: s.promptId, parts: s.promptParts, by: s.actor }, "A queued prompt has another content."),
  prompt_withdrawn: event("prompt_withdrawn", { prompt_id: s.promptId, by: s.actor }, "Taken back before it ran."),
  prompt_discarded: event("prompt_discarded", { prompt_id: s.promptId, cause: z.enum(["stop"]) }, "Ended unrun."),
  queue_held: event("queue_held", { cause: z.enum(["interrupt", "restart", "agent_gone"]) }, "Every prompt now queued waits for `release_queue`. `agent_gone`: the program has gone that serves the session's agent."),
  queue_released: event("queue_released", { by: s.actor }, "Held prompts may run."),
  turn_started: event("turn_started", { ...inTurn, prompt_ids: z.array(s.promptId).min(1) }, "The agent begins to work."),
  turn_ended: event("turn_ended", { ...inTurn, stop_reason: s.stopReason, error: s.failure.optional(), usage: s.usage.optional() }, "The agent has done, or was ended."),
  agent_message_chunk: event("agent_message_chunk", { ...inTurn, message_id: z.string().min(1), content: text }, "A piece of the agent's answer, appended to the message of that id."),
  agent_thought_chunk: event("agent_thought_chunk", { ...inTurn, message_id: z.string().min(1), content: text }, "A piece of the agent's reasoning, where the model shows it."),
  tool_call: event(
    "tool_call",
    { ...inTurn, tool_call_id: z.string().min(1), message_id: z.string().min(1), tool: z.string().max(limits.title_chars_max), kind: s.toolKind, title: z.string().max(limits.title_chars_max), input: z.record(z.string(), z.unknown()), raw_input: z.string().optional(), locations: z.array(s.location).max(limits.locations_max).optional(), diffs: s.diffs.optional() },
    "The agent wants a tool run; its status is pending. `raw_input`: the model's own text where it is not a JSON object.",
  ),
  tool_call_chunk: event("tool_call_chunk", { ...inTurn, tool_call_id: z.string().min(1), content: text }, "Output of a running tool, appended."),
  tool_call_update: event(
    "tool_call_update",
    { ...inTurn, tool_call_id: z.string().min(1), status: s.toolStatus.exclude(["pending"]), result: z.string().optional() },
    "The call's status. `result`, with a final status, is what the model is told; where chunks were sent it stands for them.",
  ),
  tool_call_changed: event(
    "tool_call_changed",
    { ...inTurn, tool_call_id: z.string().min(1), title: z.string().max(limits.title_chars_max).optional(), kind: s.toolKind.optional(), input: z.record(z.string(), z.unknown()).optional(), locations: z.array(s.location).max(limits.locations_max).optional(), diffs: s.diffs.optional() },
    "What is known of the call is otherwise now; what is not given stands. Its status is told by `tool_call_update`.",
  ),
  plan: event("plan", { ...inTurn, entries: z.array(s.planEntry).max(limits.plan_entries_max) }, "What the agent means to do, whole: it replaces the plan before."),
  agent_facts: event("agent_facts", { facts: s.agentFactsTold }, "What the agent tells of itself: its title for the session, modes, options, commands, how full its context is. Comes also between turns."),
  agent_conversation: event("agent_conversation", { conversation: z.string().min(1).max(limits.agent_text_chars_max), how: z.enum(["new", "resumed", "loaded"]) }, "The agent's process was started; its own name for the conversation. `new`: it knows nothing of what was said before."),
  agent_update: event("agent_update", { ...inTurn, protocol: z.literal("acp"), update: z.record(z.string(), z.unknown()) }, "What the agent said in a form that this build does not know, as it was said."),
  approval_requested: event("approval_requested", { approval: s.approval }, "The agent asks whether a tool may run."),
  approval_resolved: event(
    "approval_resolved",
    { approval_id: s.approvalId, cause: s.approvalCause, option_id: z.string().optional(), rule_id: s.ruleId.optional(), reason: z.string().optional(), by: s.actor.optional() },
    "The question is closed; the only end of an approval. `option_id`: the answer, also one that a rule gave.",
  ),
  rule_added: event("rule_added", { rule: s.rule }, "An answer is remembered, for the turn or the session. Those for the workdir are kept beside it, and listed by `session_info`."),
  rule_forgotten: event("rule_forgotten", { rule_id: s.ruleId, by: s.actor }, "… and no longer is."),
  session_configured: event(
    "session_configured",
    { title: z.string().nullable().optional(), starred: z.boolean().optional(), model: z.string().optional(), policy: s.policy.optional(), mode: z.string().optional(), options: s.optionValues.optional(), by: s.actor },
    "What is given has this value from here on; a model from the next turn on. `mode` and `options` are the agent's own: where it refuses one, `agent_facts` tells what holds instead.",
  ),
  system_message: event("system_message", { text: z.string(), by: s.actor }, "A note for whoever reads the transcript; the model never gets it."),
  notice: event("notice", { code: z.enum(["journal_cut", "agent_lost_context", "agent_refused_setting", "agent_ended"]), text: z.string() }, "Something a reader of the transcript should know."),
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

/** A frame out of a journal: one whose event a later version wrote is passed on as it is, to readers who pass over what they do not know. */
const laterEvent = z.looseObject({ type: z.string().refine((type) => !Object.hasOwn(eventTable, type), "its type is known, and it has another form") });
export const storedFrameSchema = z.union([frameSchema, z.strictObject({ seq: z.int().positive(), at: s.millis, event: laterEvent })]) as unknown as z.ZodType<Frame>;

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

/**
 * Events of room `host`, for those who watch all sessions: that something happened, and where;
 * never what was put in or came out. They are numbered in memory, from 1, for one boot of the daemon.
 */
const hostEvent = <T extends string, S extends z.ZodRawShape>(type: T, shape: S) => z.strictObject({ type: z.literal(type), session_id: s.sessionId, ...shape });
export const hostEventSchema = z.discriminatedUnion("type", [
  /** Created, begun again, or woken. */
  hostEvent("session_started", { session: s.sessionListing }),
  hostEvent("status_changed", { status: s.status, since: s.millis }),
  hostEvent("driver_changed", { driver: z.string().nullable() }),
  hostEvent("approval_pending", { approval_id: s.approvalId, tool: z.string(), asked_at: s.millis }),
  hostEvent("approval_closed", { approval_id: s.approvalId }),
  hostEvent("file_touched", { path: z.string(), kind: s.toolKind, tool_call_id: z.string() }),
  hostEvent("session_configured", { title: z.string().nullable(), starred: z.boolean(), model: z.string() }),
  hostEvent("session_faulted", { fault: s.fault.nullable() }),
  hostEvent("session_resting", {}),
  hostEvent("session_stopped", {}),
  hostEvent("session_deleted", {}),
]);
export type HostEvent = z.infer<typeof hostEventSchema>;

export interface HostFrame {
  readonly seq: number;
  readonly at: number;
  readonly event: HostEvent;
}
export const hostFrameSchema = z.strictObject({ seq: z.int().positive(), at: s.millis, event: hostEventSchema }) as unknown as z.ZodType<HostFrame>;

/** What `watch_sessions` yields: first `list` or `resumed`, then `batch`es; another `list` when the reader was too far behind. */
export const watchItem = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("list"), cursor: s.hostCursor, head: s.seq, sessions: z.array(s.sessionListing), reset: z.enum(["beyond_end", "unknown_epoch", "too_old"]).optional() }),
  z.strictObject({ type: z.literal("resumed"), cursor: s.hostCursor, head: s.seq }),
  z.strictObject({ type: z.literal("batch"), cursor: s.hostCursor, head: s.seq, frames: z.array(hostFrameSchema) }),
]);
export type WatchItem = z.infer<typeof watchItem>;
