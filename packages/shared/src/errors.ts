import { escapeDeceptive } from "./deceptive.ts";

/**
 * The error table. An error that a caller can meet stands here; anything else is a bug
 * and reaches the caller as `internal`, without its message.
 *
 * `retry`: `never` (calling again gives the same), `backoff` (again after a pause),
 * `reattach` (take the seat again with the last cursor).
 */
export type Retry = "never" | "backoff" | "reattach";

/** Facts about the failure, never a secret: labels, ids, limits, paths that the caller named. */
export type ErrorDetail = Readonly<Record<string, unknown>>;

interface ErrorRow {
  readonly trpc: "BAD_REQUEST" | "UNAUTHORIZED" | "FORBIDDEN" | "NOT_FOUND" | "CONFLICT" | "PRECONDITION_FAILED" | "TOO_MANY_REQUESTS" | "TIMEOUT" | "CLIENT_CLOSED_REQUEST" | "INTERNAL_SERVER_ERROR" | "PAYLOAD_TOO_LARGE" | "SERVICE_UNAVAILABLE";
  readonly retry: Retry;
  /** What happened and what to do next, in one or two sentences. */
  readonly text: (detail: ErrorDetail) => string;
}

/** A fact in a sentence: on one line, without characters that a terminal would obey. */
const say = (detail: ErrorDetail, key: string, otherwise: string): string => {
  const fact = detail[key];
  return typeof fact === "string" || typeof fact === "number" ? escapeDeceptive(String(fact)).replaceAll("\n", " ") : otherwise;
};

/** Only the owner of a machine starts a daemon there; and where what answers is the trouble, the reason says so. */
const whereNext = ({ elsewhere, nobody, lost }: ErrorDetail): string =>
  elsewhere !== true
    ? " Start one with `sessiond up`."
    : nobody === true || lost === true
      ? " See on its machine whether it runs and listens there: `sessiond status`; `sessiond up --listen` starts one that does."
      : "";

/** Of two protocol ranges that do not meet: which side is behind, and what helps. */
function olderSide({ client, daemon }: ErrorDetail): string {
  const [ours = NaN, theirs = NaN] = [client, daemon].map((range) => Number.parseInt(String(range)));
  if (ours < theirs) return ", which is this client; the daemon stays as it is.";
  if (ours > theirs) return ", which is the daemon: `sessiond down` ends it, and the next command starts the newer one.";
  return "; `sessiond down` ends an old daemon.";
}

export const errorTable = {
  // The call.
  unknown_verb: { trpc: "NOT_FOUND", retry: "never", text: (d) => `This daemon has no verb ${say(d, "verb", "of that name")}. Update sessiond, or the client.` },
  bad_request: { trpc: "BAD_REQUEST", retry: "never", text: (d) => `The request does not fit the verb: ${say(d, "reason", "see docs/verbs.md")}.` },
  config_invalid: { trpc: "BAD_REQUEST", retry: "never", text: (d) => `The daemon cannot run as it is configured: ${say(d, "reason", "see config.toml")}.` },
  protocol_mismatch: { trpc: "PRECONDITION_FAILED", retry: "never", text: (d) => `Client and daemon share no protocol version (client ${say(d, "client", "?")}, daemon ${say(d, "daemon", "?")}${d["daemon_version"] === undefined ? "" : ` of sessiond ${say(d, "daemon_version", "")}`}). Update the older one${olderSide(d)}` },
  timeout: { trpc: "TIMEOUT", retry: "backoff", text: (d) => `No answer within ${say(d, "timeout_ms", "the time allowed")} ms${d["outcome"] === undefined ? "" : `; ${say(d, "outcome", "")}`}. \`sessiond status\` tells whether the daemon is well.` },
  cancelled: { trpc: "CLIENT_CLOSED_REQUEST", retry: "never", text: () => "The call was cancelled by its caller. It may have happened." },
  // The caller.
  unauthenticated: { trpc: "UNAUTHORIZED", retry: "never", text: (d) => `The credential is missing or not valid here${d["reason"] === undefined ? "" : ` (${say(d, "reason", "")})`}. Get a token with \`sessiond token mint\`, or use the account that owns the daemon.` },
  role_too_small: { trpc: "FORBIDDEN", retry: "never", text: (d) => `This credential has not the right for that: ${say(d, "needs", "control")} is needed.` },
  not_attached: { trpc: "FORBIDDEN", retry: "never", text: (d) => `This needs a seat of your own: attach first${d["needs"] === "driver" ? " as driver" : ""}.` },
  not_driver: { trpc: "FORBIDDEN", retry: "never", text: (d) => `Only the driver may do that; the driver is ${say(d, "driver", "nobody")}.` },
  // The state.
  driver_taken: { trpc: "CONFLICT", retry: "never", text: (d) => `The driver's seat is taken by ${say(d, "driver", "another client")}. Attach as viewer, or wait until it is free.` },
  turn_in_progress: { trpc: "CONFLICT", retry: "backoff", text: () => "A turn is running. Queue the prompt, interrupt the turn, or wait for its end." },
  approval_gone: { trpc: "CONFLICT", retry: "never", text: (d) => `That question is closed: ${say(d, "outcome", "it was never asked, or long ago")}.` },
  prompt_gone: { trpc: "CONFLICT", retry: "never", text: (d) => `That prompt is no longer queued: ${say(d, "outcome", "it was never accepted, or long ago")}.` },
  conflict: { trpc: "CONFLICT", retry: "never", text: (d) => `In conflict with what is there: ${say(d, "reason", "other content under the same id")}.` },
  session_stopped: { trpc: "PRECONDITION_FAILED", retry: "never", text: () => "The session is stopped, or this token belongs to an earlier life of it. Start it again with `sessiond run`, or start_session with its id." },
  session_faulted: { trpc: "PRECONDITION_FAILED", retry: "backoff", text: (d) => `The session cannot write its journal (${say(d, "reason", "see status")}). Mend the disk; it reopens by itself.` },
  not_found: { trpc: "NOT_FOUND", retry: "never", text: (d) => `There is no such ${say(d, "what", "thing")}.` },
  workdir_invalid: { trpc: "BAD_REQUEST", retry: "never", text: (d) => `That directory cannot hold a session: ${say(d, "reason", "it is not usable")}.` },
  model_unknown: { trpc: "BAD_REQUEST", retry: "never", text: (d) => `There is no model ${say(d, "model", "of that name")} here. The practice model is called \`practice\`.` },
  unsupported: { trpc: "BAD_REQUEST", retry: "never", text: (d) => `Not supported: ${say(d, "reason", "this agent cannot do that")}.` },
  // Capacity.
  limit_reached: { trpc: "PAYLOAD_TOO_LARGE", retry: "never", text: (d) => `Limit ${say(d, "limit", "")} reached (${say(d, "value", "?")} ${say(d, "unit", "")})${d["hint"] === undefined ? "" : `: ${say(d, "hint", "")}`}.` },
  rate_limited: { trpc: "TOO_MANY_REQUESTS", retry: "backoff", text: (d) => `More than ${say(d, "value", "?")} ${say(d, "unit", "calls")} (limit ${say(d, "limit", "")}); try again in ${say(d, "retry_after_ms", "1000")} ms.` },
  queue_full: { trpc: "TOO_MANY_REQUESTS", retry: "backoff", text: (d) => `The prompt queue is full (${say(d, "depth", "?")} waiting, limit ${say(d, "limit", "")}). Withdraw one, or wait for a turn to end.` },
  slow_consumer: { trpc: "SERVICE_UNAVAILABLE", retry: "reattach", text: (d) => `This reader ${say(d, "reason", "took nothing for too long")} and was cut off. Attach again with the last cursor; what is kept comes from there on.` },
  // The daemon.
  shutting_down: { trpc: "SERVICE_UNAVAILABLE", retry: "backoff", text: () => "The daemon is shutting down and takes no new work. The session goes on when it is started again." },
  daemon_unreachable: { trpc: "SERVICE_UNAVAILABLE", retry: "backoff", text: (d) => `No daemon could be reached: ${say(d, "reason", "nothing listens")}.${whereNext(d)}` },
  agent_unavailable: { trpc: "PRECONDITION_FAILED", retry: "never", text: (d) => `The agent cannot run: ${say(d, "reason", "it is not configured")}.` },
  storage_failed: { trpc: "INTERNAL_SERVER_ERROR", retry: "backoff", text: (d) => `The disk failed (${say(d, "reason", "I/O error")}): what was asked may not have happened. Look at the disk, then repeat it under the same id.` },
  internal: { trpc: "INTERNAL_SERVER_ERROR", retry: "never", text: (d) => (typeof d["code"] === "string" ? `The daemon refused with ${say(d, "code", "")}, which this version does not know: ${say(d, "said", "no more was said")} Update sessiond here.` : "A bug in sessiond; the daemon's log has the details.") },
  // Ends of a stream.
  moved: { trpc: "CONFLICT", retry: "never", text: () => "The same client took this seat on a newer connection." },
  token_ended: { trpc: "UNAUTHORIZED", retry: "never", text: (d) => `The token of this stream has ended (${say(d, "cause", "revoked")}).` },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

export const isErrorCode = (code: unknown): code is ErrorCode => typeof code === "string" && Object.hasOwn(errorTable, code);

/** What travels in `error.data` of a reply. */
export interface WireError {
  readonly code: ErrorCode;
  readonly retry: Retry;
  readonly detail: ErrorDetail;
}

/** An error as it stands in a reply. */
export interface WireErrorShape {
  /** tRPC's number. */
  readonly code: number;
  readonly message: string;
  readonly data: WireError;
}

/**
 * An expected failure.
 *
 * @param code    a row of the table
 * @param detail  facts for the caller; strings and numbers enter the text
 */
export class SessiondError extends Error {
  override readonly name = "SessiondError";
  readonly code: ErrorCode;
  readonly detail: ErrorDetail;
  readonly retry: Retry;

  constructor(code: ErrorCode, detail: ErrorDetail = {}, options?: ErrorOptions) {
    super(errorTable[code].text(detail), options);
    this.code = code;
    this.detail = detail;
    this.retry = errorTable[code].retry;
  }

  toWire(): WireError {
    return { code: this.code, retry: this.retry, detail: this.detail };
  }
}

/** True for a SessiondError, of this copy of the package or another; with `code`, of that row. */
export function isSessiondError(error: unknown, code?: ErrorCode): error is SessiondError {
  return error instanceof Error && error.name === "SessiondError" && "code" in error && isErrorCode(error.code) && (code === undefined || error.code === code);
}
