import { z } from "zod";
import { eventTable } from "./events.ts";
import { limits } from "./limits.ts";
import { nestsAtMost } from "./nesting.ts";
import * as s from "./schemas.ts";

/**
 * What passes between the daemon and a program that offers itself as an agent: what it says by `agent_event`, which is
 * an agent's events of the event table without the turn's id, and what `serve_agent` tells it.
 */
export const servedAgentName = z.string().regex(/^[a-z0-9][a-z0-9_-]{0,63}$/, "a name of small letters, digits, - and _ is expected");

const text = z.string().min(1).max(limits.agent_text_chars_max);
const call = { tool_call_id: text };
const message = { message_id: text };
const inTurn = { turn_id: true } as const;
const event = eventTable;

const input = z
  .record(z.string(), z.unknown())
  .refine((value) => nestsAtMost(limits.tool_input_depth_max, value), `it is nested deeper than ${limits.tool_input_depth_max} levels`)
  .refine((value) => JSON.stringify(value).length <= limits.tool_input_bytes_max, `it is longer than ${limits.tool_input_bytes_max} characters`);

/** One answer that the agent offers, under a name of its own. `other` never counts as leave. */
export const ownAnswer = z.strictObject({ id: text, kind: s.optionKind, label: text });

export const servedSaid = z.discriminatedUnion("type", [
  event.agent_message_chunk.schema.omit(inTurn).extend(message),
  event.agent_thought_chunk.schema.omit(inTurn).extend(message),
  event.tool_call.schema.omit(inTurn).extend({ ...call, ...message, input }),
  event.tool_call_chunk.schema.omit(inTurn).extend(call),
  event.tool_call_changed.schema.omit(inTurn).extend({ ...call, input: input.optional() }),
  event.tool_call_update.schema.omit(inTurn).extend(call),
  event.plan.schema.omit(inTurn),
  event.agent_facts.schema,
  event.agent_conversation.schema,
  /** A question about a call that has not ended. Its answer comes by the stream, under `ask_id`. `options`: in place of the daemon's own. */
  z.strictObject({
    type: z.literal("ask"),
    ask_id: text,
    ...call,
    tool: z.string().max(limits.title_chars_max),
    input,
    preview: z.string(),
    options: z.array(ownAnswer).min(1).max(limits.approval_options_max).optional(),
  }),
  /** Nothing comes after it. */
  event.turn_ended.schema.omit(inTurn).extend({ type: z.literal("turn_end") }),
]);

/** Counts the items of one stream. Nothing can be taken up from there: what is missed by a lost link has ended. */
const numbered = { cursor: s.cursor };
const ofTurn = { ...numbered, turn_id: s.turnId };
/** What people chose; null and nothing where they did not. */
const settings = { model: z.string(), mode: z.string().nullable(), options: s.optionValues };

/** What `serve_agent` yields: `serving` once, then what there is to do. */
export const servedItem = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("serving"), ...numbered, serving_id: s.servingId }),
  z.strictObject({
    type: z.literal("turn"),
    ...ofTurn,
    session_id: s.sessionId,
    /** Real path. */
    workdir: z.string(),
    ...settings,
    /** For its tools. */
    env: z.record(z.string(), z.string()),
    parts: s.promptParts,
    /** The agent's own name for the conversation, as it told by `agent_conversation`. */
    conversation: z.string().nullable(),
    turns_before: z.int().nonnegative(),
  }),
  /** How a question ended. `option_id`: what was chosen, where somebody chose; the agent's own where it offered its own. */
  z.strictObject({
    type: z.literal("answer"),
    ...ofTurn,
    ask_id: z.string(),
    allowed: z.boolean(),
    option_id: z.string().nullable(),
    cause: s.approvalCause.nullable(),
    reason: z.string().nullable(),
  }),
  /** Something else was chosen while the turn runs: follow when you can, and tell by `agent_facts` what holds then. */
  z.strictObject({ type: z.literal("chosen"), ...ofTurn, ...settings }),
  /** End the turn soon, by `turn_end`; what is said of it from here on is dropped. */
  z.strictObject({ type: z.literal("cancel"), ...ofTurn }),
]);

export type OwnAnswer = z.infer<typeof ownAnswer>;
export type ServedSaid = z.infer<typeof servedSaid>;
export type ServedItem = z.infer<typeof servedItem>;
