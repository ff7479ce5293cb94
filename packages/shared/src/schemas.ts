import { z } from "zod";
import { escapeDeceptive } from "./deceptive.ts";
import { limits } from "./limits.ts";
import { holdsSecret } from "./token-format.ts";

/** Schemas of what verbs take and give, and of what events carry. Wire names are snake_case; times are milliseconds since 1970. */

const idOf = (kind: string) => z.string().regex(new RegExp(`^${kind}_[0-9A-Za-z]{22,40}$`), `an id like ${kind}_… is expected`);

export const sessionId = idOf("ses");
export const seatId = idOf("seat");
export const turnId = idOf("trn");
export const approvalId = idOf("apr");
export const tokenId = idOf("tok");
export const keyId = idOf("key");
/** Made by the client: the name under which a prompt may be repeated. */
export const promptId = idOf("prm");
/** Made by the client: the name under which a `start_session` may be repeated. */
export const requestId = idOf("req");

/** What a program is given that serves an agent, and shows with all that it says: nobody else has it, and it ends with the stream. */
export const servingId = idOf("srv");

/** One remembered answer. */
export const ruleId = idOf("rul");

/** `boot id:seq` of the last event of room `host` that a reader has; worth nothing to another daemon. */
export const hostCursor = z.string().regex(/^[0-9A-Za-z_-]{8,64}:\d{1,15}$/, "a cursor of watch_sessions is expected");
/** `epoch:seq` of the last frame that a reader has. */
export const cursor = z.string().regex(/^\d{1,9}:\d{1,15}$/, "a cursor like 1:42 is expected");
export const seq = z.int().nonnegative();
export const millis = z.int().nonnegative();

/** Free text that is shown and stored; a secret in it is a mistake, and is refused before anything repeats it. */
export const noSecret = (schema: z.ZodString): z.ZodString => schema.refine((text) => !holdsSecret(text), "there is a token or key in this text");

/** A line among others in whatever shows it: nothing in it makes it another line, or look like another text. */
const shownLine = (max: number): z.ZodString =>
  noSecret(z.string().min(1).max(max)).refine(
    (text) => escapeDeceptive(text) === text && !/[\n\t]/.test(text),
    "control, bidirectional or unseen characters do not belong here",
  );
export const label = shownLine(limits.label_chars_max);
/** As it is given; journals of older daemons hold others, so what is told of a title is any text. */
export const title = shownLine(limits.session_title_chars_max);

export const right = z.enum(["view", "control"]);
export const role = z.enum(["driver", "viewer"]);
export const lifeState = z.enum(["live", "resting", "stopped"]);
export const status = z.enum(["idle", "thinking", "tool_executing", "awaiting_approval", "error"]);
export const stopReason = z.enum(["end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled", "failed", "interrupted"]);
/** ACP's. */
export const toolKind = z.enum(["read", "edit", "delete", "move", "search", "execute", "think", "fetch", "switch_mode", "other"]);
export const toolStatus = z.enum(["pending", "in_progress", "completed", "failed"]);
/** ACP's four, two scopes between once and always, and `other`: what an agent offers and nobody here knows; it never counts as leave. */
export const optionKind = z.enum(["allow_once", "allow_turn", "allow_session", "allow_always", "reject_once", "reject_always", "other"]);
export const whenBusy = z.enum(["steer", "queue", "interrupt", "reject"]);
export const became = z.enum(["started", "steering", "queued"]);

/** What decides about a question while no driver is seated: wait, or refuse when `ms` of that have passed. */
export const policy = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("hold") }),
  z.strictObject({ type: z.literal("reject_after"), ms: z.int().min(0).max(limits.policy_ms_max) }),
]);

/** In what the commands of a life run; `off`: as the account that owns the daemon, with all that it may do. */
export const sandbox = z.enum(["off", "no_network", "network"]);

/** A place in the workdir that a tool call concerns, as the agent names it. `line`: from 1. */
export const location = z.strictObject({ path: z.string().max(limits.workdir_bytes_max), line: z.int().nonnegative().optional() });

/** What a tool call changes, or has changed, in one file. `old_text`: null where there was none. */
export const diff = z.strictObject({
  path: z.string().max(limits.workdir_bytes_max),
  old_text: z.string().max(limits.diff_chars_max).nullable(),
  new_text: z.string().max(limits.diff_chars_max),
});
export const diffs = z.array(diff).max(limits.locations_max);

const uri = z.string().min(1).max(limits.workdir_bytes_max);
const mimeType = z
  .string()
  .regex(/^[\w.+-]+\/[\w.+-]+(;[ -~]*)?$/, "a media type like text/plain is expected")
  .max(128);
/**
 * A part of a prompt. `image`: its bytes in base64. `resource`: a text that goes with the prompt, such as an editor's
 * selection; `resource_link`: one that the agent may read for itself. `wordsOf` is what an agent that takes text alone is given.
 */
export const contentPart = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text"), text: z.string() }),
  z.strictObject({ type: z.literal("image"), mime_type: mimeType.startsWith("image/"), data: z.base64().min(1) }),
  z.strictObject({ type: z.literal("resource"), uri, mime_type: mimeType.optional(), text: z.string() }),
  z.strictObject({ type: z.literal("resource_link"), uri, name: z.string().min(1).max(limits.title_chars_max), mime_type: mimeType.optional() }),
]);
export const promptParts = z.array(contentPart).min(1).max(limits.prompt_parts_max);

export const usage = z.strictObject({ input_tokens: z.int().nonnegative(), output_tokens: z.int().nonnegative() });
export const failure = z.strictObject({ code: z.string().max(64), message: z.string().max(limits.failure_chars_max) });

/** Who did it: a seat by its public id and its label at the time, or a caller without a seat. */
export const actor = z.strictObject({ seat_id: seatId.optional(), label: z.string() });

export const seat = z.strictObject({
  seat_id: seatId,
  role,
  label,
  /** False while its connection is lost and its grace runs. */
  connected: z.boolean(),
  since: millis,
});

/** A viewer with a control token that asks for the wheel. */
export const driverRequest = z.strictObject({ seat_id: seatId, label, at: millis, lapses_at: millis });

/** `when_busy`: how it was sent; of those not held, `interrupt` runs first, then `steer`, then `queue`. */
export const queuedPrompt = z.strictObject({ prompt_id: promptId, parts: promptParts, by: actor, held: z.boolean(), when_busy: whenBusy, seq, at: millis });

export const approvalOption = z.strictObject({
  option_id: z.string().min(1),
  kind: optionKind,
  label: z.string(),
  /** What this answer will be remembered for; null: nothing. */
  remembers: z.string().nullable(),
});

/** What a remembered answer is about, exactly: a command in its directory and its sandbox (absent: in none), or a path. */
export const rulePattern = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("command"), command: z.string(), directory: z.string(), sandbox: sandbox.exclude(["off"]).optional() }),
  z.strictObject({ type: z.literal("path"), path: z.string() }),
]);

export const approval = z.strictObject({
  approval_id: approvalId,
  turn_id: turnId,
  tool_call_id: z.string().min(1),
  tool: z.string(),
  input: z.record(z.string(), z.unknown()),
  /** What a person judges by: whole, with deceptive characters escaped. */
  preview: z.string(),
  options: z.array(approvalOption).min(1),
  /** What an answer can be remembered for; absent: it can only be given once. */
  pattern: rulePattern.optional(),
  /** Binds an answer to what was shown: SHA-256 over tool, input and, for writes and edits, the file as previewed. */
  digest: z.string().regex(/^[0-9a-f]{64}$/),
  asked_at: millis,
  /** Under `reject_after`: what is left of its time, as of when the clock last stood still. */
  remaining_ms: millis.optional(),
  /** When it is refused; there while the clock runs, that is while no driver is seated. */
  deadline: millis.optional(),
});
/** `withdrawn`: its agent waits for it no more. */
export const approvalCause = z.enum(["answer", "rule", "deadline", "interrupt", "stop", "restart", "failed", "withdrawn"]);

export const ruleScope = z.enum(["turn", "session", "workdir"]);
/** `turn_id`: of scope `turn`, the only turn it counts in. */
export const rule = z.strictObject({
  rule_id: ruleId,
  effect: z.enum(["allow", "reject"]),
  scope: ruleScope,
  tool: z.string().max(limits.title_chars_max),
  pattern: rulePattern,
  turn_id: turnId.optional(),
  by: actor,
  at: millis,
});

/** One step of what the agent means to do. */
export const planEntry = z.strictObject({
  content: z.string().max(limits.agent_text_chars_max),
  priority: z.enum(["high", "medium", "low"]),
  status: z.enum(["pending", "in_progress", "completed"]),
});

const ofAgent = z.string().max(limits.agent_text_chars_max);
const agentId = ofAgent.min(1);
const named = { id: agentId, name: ofAgent, description: ofAgent.optional() };
/** A way in which the agent works, such as asking before each change. */
export const agentMode = z.strictObject(named);
/** A setting of the agent's own. `category`: `model`, `mode`, `thought_level` or the agent's own word. */
export const agentOption = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("select"),
    ...named,
    category: ofAgent.optional(),
    value: ofAgent,
    choices: z.array(z.strictObject({ ...named, group: ofAgent.optional() })).max(limits.agent_choices_max),
  }),
  z.strictObject({ type: z.literal("boolean"), ...named, category: ofAgent.optional(), value: z.boolean() }),
]);
/** What can be typed to the agent behind a slash. `hint`: what it wants behind its name. */
export const agentCommand = z.strictObject({ name: agentId, description: ofAgent, hint: ofAgent.optional() });
/** How much of its context the agent has used, in tokens, and what the session has cost so far. */
export const agentUse = z.strictObject({
  used: z.int().nonnegative(),
  size: z.int().nonnegative(),
  cost: z.strictObject({ amount: z.number().nonnegative(), currency: z.string().max(8) }).optional(),
});
/** What an agent tells of itself; each field stands until it is told again. */
const facts = {
  mode: agentId.nullable(),
  modes: z.array(agentMode).max(limits.agent_facts_max),
  options: z.array(agentOption).max(limits.agent_facts_max),
  commands: z.array(agentCommand).max(limits.agent_facts_max),
  use: agentUse.nullable(),
};
/** `conversation`: the agent's own name for it, by which it is taken up again. */
export const agentFacts = z.strictObject({ conversation: agentId.nullable(), ...facts });
export const agentFactsTold = z
  .strictObject(facts)
  .partial()
  .extend({ title: z.string().max(limits.session_title_chars_max).optional() });
export const optionValues = z.record(agentId, z.union([z.boolean(), ofAgent]));
/** What people chose for the agent; it is held to it again after each of its starts. `title`: theirs is not replaced by the agent's. */
export const chosen = z.strictObject({ title: z.boolean(), mode: agentId.nullable(), options: optionValues });

/** A tool call that has not ended. */
export const openCall = z.strictObject({
  tool_call_id: z.string().min(1),
  tool: z.string(),
  kind: toolKind,
  title: z.string(),
  status: z.enum(["pending", "in_progress"]),
  locations: z.array(location),
  /** When it got this status. */
  since: millis,
});

/** A file that a completed call of kind `edit` wrote; the newest call counts. */
export const touchedFile = z.strictObject({ path: z.string(), kind: toolKind, tool_call_id: z.string().min(1), at: millis });

/** `seq` of its `turn_started`; `model`: the one it began with, and ends with. */
export const turn = z.strictObject({ turn_id: turnId, prompt_ids: z.array(promptId), started_at: millis, seq, model: z.string() });
export const endedTurn = z.strictObject({ turn_id: turnId, stop_reason: stopReason, error: failure.optional(), ended_at: millis });

/** Why a session cannot write; a field of snapshots, batches and `session_info`, never of the journal. */
export const fault = z.strictObject({ code: z.enum(["storage_failed"]), reason: z.string(), since: millis });

const messageBase = { id: z.string(), seq, turn_id: turnId.optional(), cut_chars: z.int().nonnegative() };
/** One entry of the conversation as a screen shows it. `cut_chars`: characters dropped from the front of its text. */
export const message = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("user"), ...messageBase, text: z.string(), by: actor }),
  z.strictObject({ type: z.literal("agent"), ...messageBase, text: z.string() }),
  z.strictObject({ type: z.literal("thought"), ...messageBase, text: z.string() }),
  z.strictObject({
    type: z.literal("tool"),
    ...messageBase,
    tool: z.string(),
    kind: toolKind,
    title: z.string(),
    /** Null when it is larger than tool_input_chars_max; the journal has it. */
    input: z.record(z.string(), z.unknown()).nullable(),
    status: toolStatus,
    text: z.string(),
  }),
  /** `by`: somebody's note (`add_system_message`); without it, the daemon's own. */
  z.strictObject({ type: z.literal("notice"), ...messageBase, text: z.string(), by: actor.optional() }),
]);

export const sessionState = z.strictObject({
  session_id: sessionId,
  seq,
  life: z.int().nonnegative(),
  life_state: z.enum(["live", "stopped"]),
  workdir: z.string(),
  agent: z.string(),
  model: z.string(),
  title: z.string().nullable(),
  starred: z.boolean(),
  policy,
  sandbox,
  status,
  status_since: millis,
  turn: turn.nullable(),
  last_turn: endedTurn.nullable(),
  seats: z.array(seat),
  driver_requests: z.array(driverRequest),
  queue: z.array(queuedPrompt),
  approvals: z.array(approval),
  /** Of scope turn and session; those of the workdir are in `session_info`. */
  rules: z.array(rule),
  /** Calls of the running turn that have not ended. */
  calls: z.array(openCall),
  /** The newest `files_touched_max`, oldest first. */
  files: z.array(touchedFile),
  messages: z.array(message),
  messages_chars: z.int().nonnegative(),
  /** Seq of the oldest message kept, when older ones were dropped; page back from there with `session_data`. */
  older_before: seq.nullable(),
  turns: z.int().nonnegative(),
  usage,
  /** The agent's, for the running turn or the last one. */
  plan: z.array(planEntry).max(limits.plan_entries_max),
  agent_facts: agentFacts,
  chosen,
});

export const sessionInfo = sessionState.omit({ messages: true, messages_chars: true, older_before: true, life_state: true }).extend({
  life_state: lifeState,
  cursor,
  created_at: millis,
  stable: z.boolean(),
  /** The tool that runs now. */
  active_tool: openCall.nullable(),
  /** The agent's mode, where it has any. */
  mode: z.string().nullable(),
  /** Names of the variables that tools were given at the start. */
  env_names: z.array(z.string()),
  fault: fault.optional(),
});

export const sessionListing = z.strictObject({
  session_id: sessionId,
  workdir: z.string(),
  stable: z.boolean(),
  life_state: lifeState,
  created_at: millis,
  /** From here on: present while the session is in memory. */
  title: z.string().nullable().optional(),
  starred: z.boolean().optional(),
  model: z.string().optional(),
  status: status.optional(),
  status_since: millis.optional(),
  driver: label.optional(),
  seats: z.int().optional(),
  /** Open questions by the tool's name; never their inputs. */
  approvals: z.array(z.strictObject({ approval_id: approvalId, tool: z.string(), asked_at: millis })).optional(),
  fault: fault.optional(),
});

export const tokenRecord = z.strictObject({
  token_id: tokenId,
  right,
  label,
  life: z.int().nonnegative(),
  origin: z.enum(["start", "host", "token", "key"]),
  parent: tokenId.optional(),
  /** The API key that it was given to; it ends with that key. */
  key_id: keyId.optional(),
  created_at: millis,
  last_used_at: millis,
  expires_at: millis.optional(),
});

/** What an API key may do beside what the tokens do that it is given. */
export const scope = z.enum(["sessions:start", "sessions:list", "sessions:watch", "sessions:stop", "tokens:mint", "keys:admin"]);

/** An API key without its secret. `parent`: the key that made it, with which it ends; none: the host key did. */
export const keyRecord = z.strictObject({
  key_id: keyId,
  name: label,
  scopes: z.array(scope).min(1),
  /** Real paths: its sessions live there. */
  roots: z.array(z.string()).min(1),
  parent: keyId.optional(),
  created_at: millis,
  last_used_at: millis.nullable(),
  expires_at: millis.optional(),
  revoked_at: millis.optional(),
  rotated_at: millis.optional(),
  /** Until then the secret before the last rotation counts too. */
  overlap_ends_at: millis.optional(),
});

/** What `list_agents` tells of one agent. */
export const agentInfo = z.strictObject({
  name: z.string(),
  default_model: z.string(),
  /** Null: any name that the provider knows. */
  models: z.array(z.string()).nullable(),
  modes: z.array(z.string()),
  /** `built_in`; `acp`: a program that the daemon runs; `served`: a client that offers itself. */
  kind: z.enum(["built_in", "acp", "served"]),
  /** Of the program, where it is one. */
  command: z.string().optional(),
  /** Of an `acp` agent that has not run yet, `images` is a guess: true. */
  capabilities: z.strictObject({ park: z.boolean(), steer: z.boolean(), images: z.boolean() }),
  /** Why a prompt would be refused now, and what to do; null when it could run. */
  unavailable: z.string().nullable(),
});

export type SessionId = z.infer<typeof sessionId>;
export type ContentPart = z.infer<typeof contentPart>;
export type PlanEntry = z.infer<typeof planEntry>;
export type Diff = z.infer<typeof diff>;
export type Location = z.infer<typeof location>;
export type AgentMode = z.infer<typeof agentMode>;
export type AgentOption = z.infer<typeof agentOption>;
export type AgentCommand = z.infer<typeof agentCommand>;
export type AgentFacts = z.infer<typeof agentFacts>;
export type AgentFactsTold = z.infer<typeof agentFactsTold>;
export type OptionValues = z.infer<typeof optionValues>;
export type Chosen = z.infer<typeof chosen>;
export type Seat = z.infer<typeof seat>;
export type Role = z.infer<typeof role>;
export type Actor = z.infer<typeof actor>;
export type Approval = z.infer<typeof approval>;
export type ApprovalOption = z.infer<typeof approvalOption>;
export type ApprovalCause = z.infer<typeof approvalCause>;
export type Policy = z.infer<typeof policy>;
export type Sandbox = z.infer<typeof sandbox>;
export type Rule = z.infer<typeof rule>;
export type RulePattern = z.infer<typeof rulePattern>;
export type RuleScope = z.infer<typeof ruleScope>;
export type OpenCall = z.infer<typeof openCall>;
export type TouchedFile = z.infer<typeof touchedFile>;
export type DriverRequest = z.infer<typeof driverRequest>;
export type WhenBusy = z.infer<typeof whenBusy>;
export type Became = z.infer<typeof became>;
export type AgentInfo = z.infer<typeof agentInfo>;
export type QueuedPrompt = z.infer<typeof queuedPrompt>;
export type Message = z.infer<typeof message>;
export type SessionState = z.infer<typeof sessionState>;
export type SessionInfo = z.infer<typeof sessionInfo>;
export type SessionListing = z.infer<typeof sessionListing>;
export type TokenRecord = z.infer<typeof tokenRecord>;
export type KeyId = z.infer<typeof keyId>;
export type Scope = z.infer<typeof scope>;
export type KeyRecord = z.infer<typeof keyRecord>;
export type Fault = z.infer<typeof fault>;
export type StopReason = z.infer<typeof stopReason>;
export type Status = z.infer<typeof status>;
export type Usage = z.infer<typeof usage>;
export type ToolKind = z.infer<typeof toolKind>;
export type ToolStatus = z.infer<typeof toolStatus>;
