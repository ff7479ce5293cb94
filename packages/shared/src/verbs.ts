import { z } from "zod";
import type { ErrorCode } from "./errors.ts";
import { attachItem, storedFrameSchema, watchItem } from "./events.ts";
import { limits } from "./limits.ts";
import * as s from "./schemas.ts";
import { servedAgentName, servedItem, servedSaid } from "./served.ts";

/**
 * THE verb table. A row is the whole declaration of a verb: router, router type, handler
 * types, client types, gate, and docs/verbs.md are derived from it.
 *
 * - `gate`: who may call (see GateWord); `by`: the raw input's field that chooses among words.
 * - `scope`: what an API key needs in place of the host key; null: a key will not do.
 * - `newest_secret`: of an API key only the newest secret will do, not the one before in its overlap.
 * - `budget`: calls that have a limit of their own.
 * - `retry`: `safe` may be repeated; `by_id` may be repeated under the same id; `no`: never.
 * - `long`: its answer may be; a connection that asks for many is given them one at a time. `true`: nothing is begun
 *   before; `answer`: what it does is done at once, and what it says of that waits.
 * - `often`: called for each piece of an agent's answer: the owner's calls of it too are counted in the audit, where others' would be.
 * - `draining`: passes while the daemon shuts down. Queries always do.
 * - `past_life`: what a token of an ended life gets where its right would have sufficed:
 *   `refuse` (session_stopped) or `answer` (the handler repeats what it said).
 * - `throws`: beyond what any verb can throw (`commonErrors`).
 */
export type GateWord = "open" | "host" | "view" | "control" | "host_or_view" | "host_or_control" | "host_or_lineage" | "seat" | "control_seat" | "driver" | "host_minted_driver";
export type Gate = GateWord | { readonly by: string; readonly words: Readonly<Record<string, GateWord>>; readonly otherwise: GateWord };

interface VerbRow {
  readonly kind: "query" | "mutation" | "subscription";
  readonly gate: Gate;
  /** What an API key must have where a word says `host`; null: the host key alone will do. Also where no word does. */
  readonly scope: s.Scope | null;
  /** It makes or ends keys, which outlasts the overlap of a secret that was rotated out: that one is refused. */
  readonly newest_secret?: true;
  readonly retry: "safe" | "by_id" | "no";
  /** Counted apart from other calls. */
  readonly budget?: "prompts" | "starts";
  readonly long?: true | "answer";
  readonly often?: true;
  readonly draining?: boolean | { readonly by: string; readonly passes: readonly string[] };
  readonly past_life?: "refuse" | "answer";
  readonly input: z.ZodObject;
  readonly output: z.ZodType;
  readonly throws: readonly ErrorCode[];
  readonly doc: string;
}

/** What any verb can throw. */
export const commonErrors: readonly ErrorCode[] = ["bad_request", "unauthenticated", "role_too_small", "rate_limited", "limit_reached", "shutting_down", "internal", "timeout", "cancelled", "daemon_unreachable", "unknown_verb"];

const range = z.strictObject({ min: z.int().positive(), max: z.int().positive() });
const session = { session_id: s.sessionId };
const model = s.noSecret(z.string().min(1).max(128));
const env = z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, "a variable's name is expected"), s.noSecret(z.string().max(limits.env_value_chars_max)));
const beginLife = { agent: s.noSecret(z.string().min(1).max(64)).optional(), model: model.optional(), title: s.title.optional(), policy: s.policy.optional(), sandbox: s.sandbox.optional(), env: env.optional() };
const workdir = z.string().min(1).max(4096);
const started = z.strictObject({ session: s.sessionInfo, token: z.string(), token_id: s.tokenId, created: z.boolean(), differs: z.array(z.enum(["agent", "model", "title", "policy", "sandbox", "env"])) });
const prompted = z.strictObject({ ...session, seq: s.seq, prompt_id: s.promptId, became: s.became, turn_id: s.turnId.optional() });
const done = z.strictObject({ seq: s.seq });

export const verbs = {
  hello: {
    kind: "query", gate: "open", scope: null, retry: "safe", throws: ["protocol_mismatch"], doc: "Agree on a protocol version; learn version, boot id and limits.",
    // What a newer client says beside it must not keep this daemon from saying which versions it speaks.
    input: z.object({ protocol: z.object(range.shape) }),
    output: z.strictObject({ protocol: z.int(), range, version: z.string(), boot_id: z.string(), limits: z.record(z.string(), z.number()) }),
  },
  daemon_status: {
    kind: "query", gate: "host", scope: null, retry: "safe", throws: [], doc: "How the daemon is: pid, uptime, sessions, seats, pending approvals, faults, what is wrong and how to mend it.",
    input: z.strictObject({}),
    output: z.strictObject({
      pid: z.int(), version: z.string(), boot_id: z.string(), socket: z.string(), state_dir: z.string(), started_at: s.millis, started_by: z.enum(["client", "hand"]), draining: z.boolean(), ready: z.boolean(),
      connections: z.int(), sessions: z.strictObject({ live: z.int(), resting: z.int(), stopped: z.int() }), seats: z.int(), pending_approvals: z.int(), turns_running: z.int(),
      /** The TCP door, where it is open: what is bound, and which names it goes by. */
      tcp: z.strictObject({ address: z.string(), port: z.int(), tls: z.boolean(), hosts: z.array(z.string()) }).nullable(),
      orphans_ended: z.int(), problems: z.array(z.strictObject({ what: z.string(), mend: z.string() })),
      faults: z.array(z.strictObject({ ...session, fault: s.fault })), set_aside: z.array(z.strictObject({ path: z.string(), reason: z.string() })),
      audit: z.strictObject({ written: z.int(), refusals_counted: z.int(), failed: z.int(), last_failure: z.string().optional() }),
    }),
  },
  shut_down: {
    kind: "mutation", gate: "host", scope: null, retry: "safe", draining: true, throws: [], doc: "Drain, then exit: running turns get `wait_ms`, then end or are parked.",
    input: z.strictObject({ wait_ms: z.int().min(0).max(600_000).optional() }),
    output: z.strictObject({ pid: z.int(), draining: z.literal(true) }),
  },
  start_session: {
    kind: "mutation", gate: "host", scope: "sessions:start", budget: "starts", retry: "by_id", long: "answer", throws: ["workdir_invalid", "model_unknown", "agent_unavailable", "unsupported", "not_found", "conflict", "storage_failed"], doc: "A new session in `workdir`, or the next life of `session_id`; gives a control token.",
    input: z.strictObject({ request_id: s.requestId, workdir: workdir.optional(), session_id: s.sessionId.optional(), ...beginLife }),
    output: started,
  },
  start_or_get_for_workdir: {
    kind: "mutation", gate: "host", scope: "sessions:start", budget: "starts", retry: "safe", long: "answer", throws: ["workdir_invalid", "model_unknown", "agent_unavailable", "unsupported", "conflict", "storage_failed"], doc: "The one session of a directory, made or woken as needed; gives a control token.",
    input: z.strictObject({ workdir, ...beginLife }),
    output: started,
  },
  list_sessions: {
    kind: "query", gate: "host", scope: "sessions:list", retry: "safe", long: true, throws: [], doc: "Live and stored sessions, newest first, paged and filtered; never a token.",
    input: z.strictObject({ workdir: workdir.optional(), life_state: s.lifeState.optional(), after: s.sessionId.optional(), limit: z.int().min(1).max(500).optional() }),
    output: z.strictObject({ sessions: z.array(s.sessionListing), next: s.sessionId.nullable() }),
  },
  watch_sessions: {
    kind: "subscription", gate: "host", scope: "sessions:watch", retry: "safe", long: true, draining: true, throws: ["not_found", "slow_consumer"], doc: "All sessions, or those of a filter: first the list, then what changes. Never inputs, outputs or tokens.",
    input: z.strictObject({ filter: z.strictObject({ session_ids: z.array(s.sessionId).min(1).max(limits.filter_sessions_max).optional(), workdir: workdir.optional() }).optional(), cursor: s.hostCursor.optional(), lastEventId: s.hostCursor.optional() }),
    output: watchItem,
  },
  stop_workdir_session: {
    kind: "mutation", gate: "host", scope: "sessions:stop", retry: "safe", draining: true, throws: ["not_found", "session_faulted", "storage_failed"], doc: "End this life of the one session of a directory.",
    input: z.strictObject({ workdir }), output: z.strictObject({ ...session, seq: s.seq, life: z.int() }),
  },
  list_agents: {
    kind: "query", gate: "host_or_view", scope: "sessions:list", retry: "safe", throws: ["storage_failed"], doc: "The agents that this daemon has: models, modes, capabilities, what they lack.",
    input: z.strictObject({ session_id: s.sessionId.optional() }), output: z.strictObject({ agents: z.array(s.agentInfo) }),
  },
  mint_token: {
    kind: "mutation", gate: "host_or_control", scope: "tokens:mint", retry: "no", throws: ["not_found", "session_stopped", "storage_failed"], doc: "A further token of the session; a token's child ends with it.",
    input: z.strictObject({ ...session, right: s.right, label: s.label, ttl_ms: z.int().min(1_000).max(31_536_000_000).optional() }),
    output: z.strictObject({ token: z.string(), record: s.tokenRecord }),
  },
  list_tokens: {
    kind: "query", gate: "host_or_control", scope: "tokens:mint", retry: "safe", long: true, throws: ["not_found", "session_stopped", "storage_failed"], doc: "The session's tokens, without their secrets.",
    input: z.strictObject(session),
    output: z.strictObject({ tokens: z.array(s.tokenRecord) }),
  },
  revoke_token: {
    kind: "mutation", gate: "host_or_lineage", scope: "tokens:mint", retry: "safe", throws: ["not_found", "session_stopped", "storage_failed"], doc: "End a token with its children and their streams.",
    input: z.strictObject({ ...session, token_id: s.tokenId }),
    output: z.strictObject({ revoked: z.array(s.tokenId) }),
  },
  authorize: {
    kind: "query", gate: "view", scope: null, retry: "safe", throws: ["storage_failed"], doc: "What this token is: session, right, label, expiry.",
    input: z.strictObject(session),
    output: z.strictObject({ ...session, token_id: s.tokenId, right: s.right, label: s.label, expires_at: s.millis.optional(), past_life: z.boolean() }),
  },
  session_info: {
    kind: "query", gate: "host_or_view", scope: null, retry: "safe", long: true, throws: ["not_found", "storage_failed"], doc: "Status and facts: turn, tool, seats, questions, queue, rules, files, tokens used, and since when each waits.",
    input: z.strictObject(session),
    output: s.sessionInfo,
  },
  session_data: {
    kind: "query", gate: "host_or_view", scope: null, retry: "safe", long: true, throws: ["not_found", "storage_failed"], doc: "The transcript's frames, a page at a time: those after or those before a seq.",
    input: z.strictObject({ ...session, after: s.seq.optional(), before: s.seq.optional(), limit: z.int().min(1).max(512).optional() }),
    output: z.strictObject({ frames: z.array(storedFrameSchema), more: z.boolean(), cursor: s.cursor, head: s.seq, compacted_through: s.seq }),
  },
  attach: {
    kind: "subscription", gate: { by: "role", words: { viewer: "view", driver: "control" }, otherwise: "control" }, scope: null, retry: "safe", long: true, draining: { by: "role", passes: ["viewer"] },
    throws: ["driver_taken", "not_attached", "session_stopped", "session_faulted", "storage_failed", "moved", "token_ended", "slow_consumer"],
    doc: "Take or resume a seat. First a snapshot or `resumed`, then every frame from there on. The seat's secret travels in `auth.seat_secret`.",
    input: z.strictObject({ ...session, role: s.role, label: s.label, fallback: z.literal("viewer").optional(), force: z.literal(true).optional(), cursor: s.cursor.optional(), lastEventId: s.cursor.optional() }),
    output: attachItem,
  },
  detach: {
    kind: "mutation", gate: "seat", scope: null, retry: "safe", draining: true, throws: ["not_attached", "session_stopped", "storage_failed"], doc: "Leave the seat; the session works on.",
    input: z.strictObject(session), output: done,
  },
  take_driver: {
    kind: "mutation", gate: "control_seat", scope: null, retry: "safe", throws: ["not_attached", "driver_taken", "bad_request", "session_stopped", "session_faulted", "storage_failed"],
    doc: "Take the wheel if it is free, ask for it, or take it by force from the seat that is named.",
    input: z.strictObject({ ...session, how: z.enum(["if_free", "ask", "force"]), driver_seat_id: s.seatId.optional() }),
    output: z.strictObject({ seq: s.seq, became: z.enum(["driver", "asked", "unchanged"]), driver: s.seat.nullable(), lapses_at: s.millis.optional() }),
  },
  yield_driver: {
    kind: "mutation", gate: "driver", scope: null, retry: "safe", throws: ["not_attached", "not_driver", "not_found", "session_stopped", "session_faulted", "storage_failed"],
    doc: "Give the wheel to a seat that asked, by default the first; to nobody where none did. The seat stays as viewer.",
    input: z.strictObject({ ...session, to: s.seatId.optional() }), output: z.strictObject({ seq: s.seq, driver: s.seat.nullable() }),
  },
  send_prompt: {
    kind: "mutation", gate: "driver", scope: null, budget: "prompts", retry: "by_id",
    throws: ["not_attached", "not_driver", "turn_in_progress", "queue_full", "conflict", "unsupported", "agent_unavailable", "session_stopped", "session_faulted", "storage_failed"],
    doc: "Give the agent work; answers when the prompt is durable.",
    input: z.strictObject({ ...session, prompt_id: s.promptId, parts: s.promptParts, when_busy: s.whenBusy }),
    output: prompted,
  },
  edit_prompt: {
    kind: "mutation", gate: "driver", scope: null, retry: "safe", throws: ["not_attached", "not_driver", "prompt_gone", "queue_full", "session_stopped", "session_faulted", "storage_failed"], doc: "Give a queued prompt another content.",
    input: z.strictObject({ ...session, prompt_id: s.promptId, parts: s.promptParts }), output: done,
  },
  withdraw_prompt: {
    kind: "mutation", gate: "driver", scope: null, retry: "safe", throws: ["not_attached", "not_driver", "prompt_gone", "session_stopped", "session_faulted", "storage_failed"], doc: "Take a queued prompt back.",
    input: z.strictObject({ ...session, prompt_id: s.promptId }), output: done,
  },
  release_queue: {
    kind: "mutation", gate: "driver", scope: null, retry: "safe", throws: ["not_attached", "not_driver", "agent_unavailable", "session_stopped", "session_faulted", "storage_failed"], doc: "Let held prompts run.",
    input: z.strictObject(session), output: z.strictObject({ seq: s.seq, released: z.array(s.promptId) }),
  },
  approve: {
    kind: "mutation", scope: null, retry: "safe", gate: { by: "option_id", words: { allow_once: "driver", allow_turn: "driver", allow_session: "driver", reject_once: "driver" }, otherwise: "host_minted_driver" }, draining: true, throws: ["not_attached", "not_driver", "approval_gone", "conflict", "session_stopped", "session_faulted", "storage_failed"], doc: "Answer one question with one of its options; `digest` is that of the question as shown.",
    input: z.strictObject({ ...session, approval_id: s.approvalId, option_id: z.string().min(1).max(64), digest: z.string().max(64), reason: s.noSecret(z.string().max(2_000)).optional() }),
    output: z.strictObject({ seq: s.seq, option_id: z.string() }),
  },
  interrupt: {
    kind: "mutation", gate: "host_or_control", scope: null, retry: "safe", long: "answer", draining: true, throws: ["not_found", "session_stopped", "session_faulted", "storage_failed"], doc: "End the running turn, if it is `turn_id`; the queue is held and listed.",
    input: z.strictObject({ ...session, turn_id: s.turnId }),
    output: z.strictObject({ interrupted: z.boolean(), seq: s.seq, queue: z.array(s.queuedPrompt) }),
  },
  stop: {
    kind: "mutation", gate: "host_or_control", scope: "sessions:stop", retry: "safe", draining: true, past_life: "answer", throws: ["not_found", "session_faulted", "storage_failed"], doc: "End this life of the session.",
    input: z.strictObject(session), output: z.strictObject({ seq: s.seq, life: z.int() }),
  },
  forget_rule: {
    kind: "mutation", gate: "host_or_control", scope: null, retry: "safe", throws: ["not_found", "session_stopped", "session_faulted", "storage_failed"], doc: "Forget one remembered answer.",
    input: z.strictObject({ ...session, rule_id: s.ruleId }), output: done,
  },
  configure_session: {
    kind: "mutation", gate: "driver", scope: null, retry: "safe", throws: ["not_attached", "not_driver", "model_unknown", "unsupported", "session_stopped", "session_faulted", "storage_failed"],
    doc: "Title, star, model, policy, the agent's mode and options: all of what is given, or nothing; answers with the values there are then.",
    input: z.strictObject({ ...session, title: s.title.nullable().optional(), starred: z.boolean().optional(), model: model.optional(), policy: s.policy.optional(), mode: s.noSecret(z.string().min(1).max(limits.agent_text_chars_max)).optional(), options: z.record(s.noSecret(z.string().min(1).max(limits.agent_text_chars_max)), z.union([z.boolean(), s.noSecret(z.string().max(limits.agent_text_chars_max))])).optional() }),
    output: z.strictObject({ seq: s.seq, title: z.string().nullable(), starred: z.boolean(), model: z.string(), policy: s.policy, mode: z.string().nullable(), options: s.optionValues }),
  },
  add_system_message: {
    kind: "mutation", gate: "driver", scope: null, retry: "no", throws: ["not_attached", "not_driver", "session_stopped", "session_faulted", "storage_failed"], doc: "A note in the transcript: shown, never sent to the model.",
    input: z.strictObject({ ...session, text: s.noSecret(z.string().min(1).max(limits.system_message_chars_max)) }), output: done,
  },
  serve_agent: {
    kind: "subscription", gate: "host", scope: null, retry: "safe", throws: ["conflict", "slow_consumer"],
    doc: "Offer to be an agent, under a name, as long as the stream lasts. First what `agent_event` has to show, then turns to run, answers, cancels.",
    // A stock client names the last item that it has when it comes back; that counts for nothing: the turns of then have ended.
    input: z.strictObject({ agent: servedAgentName, steer: z.boolean().optional(), images: z.boolean().optional(), default_model: model.optional(), models: z.array(model).min(1).max(limits.agent_choices_max).optional(), lastEventId: s.cursor.optional() }),
    output: servedItem,
  },
  agent_event: {
    kind: "mutation", gate: "host", scope: null, often: true, retry: "by_id", draining: true, throws: ["not_found", "conflict"],
    doc: "What such an agent says in a turn, and asks; answered when the session has taken it. A turn's calls are numbered from 1 and made one by one; a repeated one counts once.",
    input: z.strictObject({ serving_id: s.servingId, turn_id: s.turnId, number: z.int().min(1), events: z.array(servedSaid).max(limits.agent_events_per_call_max), take_steering: z.literal(true).optional() }),
    output: z.strictObject({ steered: z.array(s.promptParts) }),
  },
  create_key: {
    kind: "mutation", gate: "host", scope: "keys:admin", newest_secret: true, retry: "no", throws: ["workdir_invalid", "storage_failed"], doc: "An API key for a caller who is not the owner; its secret is in this reply and nowhere else. A key gives no scope, root or time that it has not itself.",
    input: z.strictObject({ name: s.label, scopes: z.array(s.scope).min(1).max(s.scope.options.length), roots: z.array(workdir).min(1).max(limits.key_roots_max), ttl_ms: z.int().min(1_000).max(limits.token_ttl_ms_max).optional() }),
    output: z.strictObject({ key: z.string(), record: s.keyRecord }),
  },
  list_keys: {
    kind: "query", gate: "host", scope: "keys:admin", retry: "safe", long: true, throws: [], doc: "API keys without their secrets: all of them, or for a key itself and those that it made.",
    input: z.strictObject({}), output: z.strictObject({ keys: z.array(s.keyRecord) }),
  },
  rotate_key: {
    kind: "mutation", gate: "host", scope: "keys:admin", newest_secret: true, retry: "no", throws: ["not_found", "storage_failed"], doc: "Another secret for a key; the one before counts for `overlap_ms` more, by default not at all, and makes, rotates, revokes and deletes no key meanwhile.",
    input: z.strictObject({ key_id: s.keyId, overlap_ms: z.int().min(0).max(limits.key_overlap_ms_max).optional() }),
    output: z.strictObject({ key: z.string(), record: s.keyRecord }),
  },
  revoke_key: {
    kind: "mutation", gate: "host", scope: "keys:admin", newest_secret: true, retry: "safe", throws: ["not_found", "storage_failed"], doc: "End a key, the keys it made, their connections and the tokens they were given.",
    input: z.strictObject({ key_id: s.keyId }), output: z.strictObject({ revoked: z.array(s.keyId) }),
  },
  delete_key: {
    kind: "mutation", gate: "host", scope: "keys:admin", newest_secret: true, retry: "safe", throws: ["not_found", "conflict", "storage_failed"], doc: "Forget a key that was revoked.",
    input: z.strictObject({ key_id: s.keyId }), output: z.strictObject({ deleted: z.literal(true) }),
  },
  rotate_host_key: {
    kind: "mutation", gate: "host", scope: null, retry: "no", throws: ["storage_failed"], doc: "Write another host key into its file; the one before ends with this reply. It is in no reply.",
    input: z.strictObject({}), output: z.strictObject({ file: z.string() }),
  },
} as const satisfies Record<string, VerbRow>;

export type Verbs = typeof verbs;
export type VerbName = keyof Verbs;
export type Row = VerbRow;
/** As sent, without `auth`. */
export type VerbInput<V extends VerbName> = z.input<Verbs[V]["input"]>;
/** As handlers get it. */
export type VerbParsed<V extends VerbName> = z.output<Verbs[V]["input"]>;
export type VerbOutput<V extends VerbName> = z.output<Verbs[V]["output"]>;

/** Travels with each call, beside the verb's own fields; stripped before schema, log and audit. */
export interface Auth {
  /** Over the unix socket alone. */
  readonly host_key?: string;
  readonly api_key?: string;
  readonly token?: string;
  readonly seat_secret?: string;
}
