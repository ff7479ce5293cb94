import { initTRPC, tracked, TRPCError } from "@trpc/server";
import { errorTable, holdsSecret, isSessiondError, schemas, SessiondError, verbs, type Row, type VerbName, type WireErrorShape } from "@sessiond/shared";
import { z } from "zod";
import { AnswerTurns, charsOf } from "./answer-turns.ts";
import type { Audit } from "./audit.ts";
import type { Clock } from "./clock.ts";
import type { Counters } from "./counters.ts";
import type { Found, GateKeeper, Grant, Peer } from "./gate.ts";
import { joinedSignal } from "./joined-signal.ts";
import { refusalCodes } from "./metric-table.ts";
import type { Reader } from "./session/attach.ts";
import { handlers } from "./verbs/index.ts";
import type { Throttle } from "./throttle.ts";
import type { Daemon, StreamOutput } from "./verbs/verb.ts";

/**
 * From the table and the handlers to a tRPC router. Every call goes through one ladder, in one
 * order: known verb, draining, gate, schema, limits of the connection, a turn where the answer may be long, handler,
 * output schema, audit line. Where what is done must not wait, the turn comes after the audit line. Expected errors travel as
 * they are; anything else is a bug: logged, and `internal`.
 */
export interface Connection extends Reader {
  readonly peer: Peer;
  /** Its peer has yet to take what was said. */
  readonly full: boolean;
  /** It is closed when this aborts: a credential that was used on it has ended. */
  endsWith(credential: AbortSignal): void;
  /** Answered, and then closed: it tried too often. */
  turnOut(): void;
  /** @throws SessiondError rate_limited, limit_reached */
  enter(kind: Row["kind"]): () => void;
}

export interface RouterOptions {
  readonly daemon: Daemon;
  readonly gate: GateKeeper;
  readonly throttle: Throttle;
  readonly audit: Audit;
  readonly counters: Counters;
  readonly clock: Clock;
  report(error: unknown): void;
}

/** What all calls share. */
interface Ladder extends RouterOptions {
  readonly turns: AnswerTurns;
}

interface Dispatched {
  readonly row: Row;
  readonly name: VerbName;
  readonly raw: unknown;
  readonly connection: Connection;
  readonly signal: AbortSignal | undefined;
  readonly found: Found;
}

const refusals: ReadonlySet<string> = new Set(refusalCodes);

export function buildRouter(options: RouterOptions) {
  const t = initTRPC.context<{ connection: Connection }>().create({
    isDev: false,
    errorFormatter: ({ error, path, shape, ctx }): WireErrorShape => wireError(toSessiondError(error, path, ctx?.connection, options), shape.code),
  });
  const ladder: Ladder = { ...options, turns: new AnswerTurns() };
  const procedure = t.procedure.input((raw: unknown) => raw);
  const build = ([key, row]: [string, Row]) => {
    const name = key as VerbName;
    const dispatched = (raw: unknown, connection: Connection, signal: AbortSignal | undefined): Dispatched => ({
      row,
      name,
      raw,
      connection,
      signal,
      found: {},
    });
    switch (row.kind) {
      case "query":
        return [key, procedure.query(({ input, ctx, signal }) => call(ladder, dispatched(input, ctx.connection, signal)))] as const;
      case "mutation":
        return [key, procedure.mutation(({ input, ctx, signal }) => call(ladder, dispatched(input, ctx.connection, signal)))] as const;
      case "subscription":
        return [key, procedure.subscription(({ input, ctx, signal }) => stream(ladder, dispatched(input, ctx.connection, signal)))] as const;
    }
  };
  return t.router(Object.fromEntries(Object.entries<Row>(verbs).map(build)));
}

/** The checks before a handler. */
async function admit(options: RouterOptions, dispatched: Dispatched): Promise<{ grant: Grant; input: unknown }> {
  const { row, raw } = dispatched;
  if (options.daemon.host.draining && !passesDraining(row, raw)) throw new SessiondError("shutting_down");
  const grant = await recognise(options, dispatched);
  // Credentials end here: no schema, handler or log sees them.
  const { auth: _auth, ...input } = typeof raw === "object" && raw !== null ? (raw as Record<string, unknown>) : {};
  const parsed = row.input.safeParse(input);
  if (!parsed.success) throw new SessiondError("bad_request", { reason: reasonOf(parsed.error) });
  return { grant, input: parsed.data };
}

/** The gate's answer; who is refused too often is not looked at for a while. */
async function recognise({ gate, throttle }: RouterOptions, { row, raw, connection, found }: Dispatched): Promise<Grant> {
  throttle.mustMayTry(row, connection);
  let grant: Grant;
  try {
    grant = await gate.authorize(row, raw, connection.peer, found);
  } catch (error) {
    const holder = holderOf(found);
    if (holder === undefined && found.owner === undefined) throw isSessiondError(error, "unauthenticated") ? throttle.failed(raw, connection, error) : error;
    // Who is known and may not do this has made a call all the same.
    throttle.recognised(row, connection, holder);
    throw error;
  }
  throttle.recognised(row, connection, holderOf(found));
  if (grant.kind === "host") connection.endsWith(grant.ends);
  return grant;
}

/** Whose calls are counted; the owner's are not. */
const holderOf = ({ key, token }: Found): string | undefined => key ?? token;

/** The session that a call names is not put to rest or deleted while the call is at work on it. */
async function hold({ daemon }: RouterOptions, raw: unknown): Promise<() => void> {
  const named = sessionNamed(raw);
  return named !== undefined && daemon.host.entry(named) !== undefined ? daemon.host.leases.hold(named) : () => undefined;
}

function sessionNamed(raw: unknown): string | undefined {
  const named = typeof raw === "object" && raw !== null && Object.hasOwn(raw, "session_id") ? (raw as Record<string, unknown>)["session_id"] : undefined;
  return typeof named === "string" ? named : undefined;
}

/** Whose turns are taken one after the other. */
const about = ({ name, raw }: Dispatched): string => `${name} ${sessionNamed(raw) ?? ""}`;

/**
 * The wait may be long: the gate is asked again after one that outlasted its turn of the event loop. After another, that the
 * grant must stand when the handler begins is enough, as it is for a call that has no turn to wait for.
 */
async function turn({ turns, daemon, gate }: Ladder, dispatched: Dispatched, grant: Grant): Promise<{ given: (chars?: number) => void; grant: Grant }> {
  const { row, raw, connection, signal, found } = dispatched;
  let atOnce = true;
  const later = setImmediate(() => (atOnce = false));
  const given = await turns.take(connection, about(dispatched)).finally(() => clearImmediate(later));
  try {
    // Who has stopped waiting for it takes no seat.
    if (signal?.aborted === true) throw new SessiondError("cancelled");
    if (daemon.host.draining && !passesDraining(row, raw)) throw new SessiondError("shutting_down");
    return { given, grant: atOnce ? grant : await gate.authorize(row, raw, connection.peer, found) };
  } catch (error) {
    given(0);
    throw error;
  }
}

async function call(options: Ladder, dispatched: Dispatched): Promise<unknown> {
  const since = options.clock.steady();
  let grant: Grant | undefined;
  let leave: (() => void) | undefined;
  let release: (() => void) | undefined;
  let given: ((chars?: number) => void) | undefined;
  let noted = false;
  try {
    leave = dispatched.connection.enter(dispatched.row.kind);
    release = await hold(options, dispatched.raw);
    const admitted = await admit(options, dispatched);
    grant = admitted.grant;
    if (dispatched.row.long === true) ({ given, grant } = await turn(options, dispatched, grant));
    const handler = handlers[dispatched.name] as (call: unknown) => Promise<unknown>;
    // In the step in which the handler decides: other calls have had theirs since the gate.
    if (grant.kind !== "open") grant.mustStand();
    const output = await handler({ input: admitted.input, grant, daemon: options.daemon, reader: dispatched.connection });
    if (dispatched.row.long === "answer") {
      // Done, and written down as that, whether or not anybody waits to hear of it.
      note(options, dispatched, grant, "ok", since, { session: startedSession(output) });
      noted = true;
      given = await options.turns.take(dispatched.connection, about(dispatched));
    }
    // Validated, so that nothing leaves that the table does not name.
    const checked = dispatched.row.output.parse(output);
    if (!noted) note(options, dispatched, grant, "ok", since);
    given?.(charsOf(checked));
    given = undefined;
    return checked;
  } catch (error) {
    if (noted) throw trpcError(toKnown(error, options.report));
    throw refused(options, dispatched, grant, error, since);
  } finally {
    given?.(0);
    release?.();
    leave?.();
  }
}

async function* stream(options: Ladder, dispatched: Dispatched) {
  const since = options.clock.steady();
  let grant: Grant | undefined;
  let leave: (() => void) | undefined;
  let release: (() => void) | undefined;
  let given: ((chars?: number) => void) | undefined;
  let joined: ReturnType<typeof joinedSignal> | undefined;
  let noted = false;
  try {
    leave = dispatched.connection.enter("subscription");
    release = await hold(options, dispatched.raw);
    const admitted = await admit(options, dispatched);
    grant = admitted.grant;
    if (dispatched.row.long === true) ({ given, grant } = await turn(options, dispatched, grant));
    if (grant.kind !== "open") grant.mustStand();
    const ends = grant.kind === "host" ? grant.ends : undefined;
    const signals = [ends, dispatched.connection.signal, dispatched.signal].filter((each) => each !== undefined);
    joined = joinedSignal(...signals);
    const { signal } = joined;
    const handler = handlers[dispatched.name] as (call: unknown) => AsyncGenerator<StreamOutput<"attach" | "watch_sessions" | "serve_agent">>;
    for await (const item of handler({
      input: admitted.input,
      grant,
      daemon: options.daemon,
      reader: { signal, ready: () => dispatched.connection.ready() },
    })) {
      if (!noted) note(options, dispatched, grant, "ok", since, { seat: "seat" in item ? item.seat?.seat_id : undefined });
      noted = true;
      if (item.type === "batch") options.counters.batchSent(item.frames.texts.length);
      yield tracked(item.cursor, item);
      // The first item, maybe a snapshot, has been sent; what follows goes at its reader's pace.
      given?.();
      given = undefined;
    }
  } catch (error) {
    if (noted) throw streamFailed(options, error);
    throw refused(options, dispatched, grant, error, since);
  } finally {
    given?.(0);
    joined?.release();
    release?.();
    leave?.();
  }
}

function passesDraining(row: Row, raw: unknown): boolean {
  if (row.kind === "query" || row.draining === true) return true;
  if (typeof row.draining !== "object") return false;
  const chosen = typeof raw === "object" && raw !== null && Object.hasOwn(raw, row.draining.by) ? (raw as Record<string, unknown>)[row.draining.by] : undefined;
  return typeof chosen === "string" && row.draining.passes.includes(chosen);
}

/** Names of fields and what is wrong with them; never a value, which might be a secret in the wrong place. */
function reasonOf(error: z.ZodError): string {
  return error.issues
    .slice(0, 3)
    .map((issue) => `${issue.path.map(fieldName).join(".") || "input"}: ${wrongWith(issue)}`)
    .join("; ")
    .slice(0, 300);
}

/** A name that the caller made up, as a variable's, may be a secret too. */
const fieldName = (field: PropertyKey): string => (holdsSecret(String(field)) ? "…" : String(field));

function wrongWith(issue: z.core.$ZodIssue): string {
  if (issue.code === "unrecognized_keys") return "unknown field";
  return issue.code === "invalid_key" ? (issue.issues[0]?.message ?? issue.message) : issue.message;
}

function streamFailed({ counters, report }: RouterOptions, error: unknown): TRPCError {
  const known = toKnown(error, report);
  counters.streamEnded(known.code);
  return trpcError(known);
}

function refused(options: RouterOptions, dispatched: Dispatched, grant: Grant | undefined, error: unknown, since: number): TRPCError {
  const known = toKnown(error, options.report);
  if (known.code === "rate_limited") options.counters.throttle(String(known.detail["limit"]));
  note(options, dispatched, grant, known.code, since);
  return trpcError(known);
}

/** What only the reply tells: the seat that was taken, the session that was started. */
interface Learnt {
  readonly seat?: string | undefined;
  readonly session?: string | undefined;
}

function startedSession(output: unknown): string | undefined {
  const session = typeof output === "object" && output !== null && "session" in output ? output.session : undefined;
  const id = typeof session === "object" && session !== null && "session_id" in session ? session.session_id : undefined;
  return typeof id === "string" ? id : undefined;
}

function note(
  options: RouterOptions,
  { row, name, raw, found, connection }: Dispatched,
  grant: Grant | undefined,
  outcome: string,
  since: number,
  learnt: Learnt = {},
): void {
  options.counters.called(name, outcome);
  const refusal = refusals.has(outcome);
  const reads = name === "session_data" && grant?.kind === "token";
  if (row.kind === "query" && !reads && !refusal) return;
  const named = typeof raw === "object" && raw !== null && "session_id" in raw ? schemas.sessionId.safeParse(raw.session_id).data : undefined;
  const session = learnt.session ?? named;
  const seat = learnt.seat ?? (grant?.kind === "seat" ? grant.seat.seat_id : undefined);
  options.audit.record(
    {
      verb: name,
      outcome,
      ms: Math.round(options.clock.steady() - since),
      ...(session !== undefined && { session }),
      ...(seat !== undefined && { seat }),
      ...(found.token !== undefined && { token: found.token }),
      ...(found.key !== undefined && { key: found.key }),
      ...(connection.peer.door === "tcp" && { peer: connection.peer.name }),
    },
    refusal ? "refusal" : reads ? "read" : found.owner === true && row.often !== true ? "act" : "call",
  );
}

function toKnown(error: unknown, report: (error: unknown) => void): SessiondError {
  if (isSessiondError(error)) return error;
  report(error);
  return new SessiondError("internal");
}

const trpcError = (error: SessiondError): TRPCError => new TRPCError({ code: errorTable[error.code].trpc, message: error.message, cause: error });

/** Errors that tRPC itself raises: an unknown path, a message that is no request. */
function toSessiondError(error: TRPCError, path: string | undefined, connection: Connection | undefined, options: RouterOptions): SessiondError {
  const { counters, report, throttle } = options;
  if (isSessiondError(error.cause)) return error.cause;
  const tooMany = connection === undefined ? undefined : throttle.strayed(connection);
  if (tooMany !== undefined) {
    counters.called("unknown", tooMany.code);
    counters.throttle(String(tooMany.detail["limit"]));
    return tooMany;
  }
  counters.called("unknown", error.code === "NOT_FOUND" ? "unknown_verb" : "bad_request");
  if (error.code === "NOT_FOUND") return new SessiondError("unknown_verb", { verb: /^[a-z_]{1,64}$/.test(path ?? "") ? path : "of that name" });
  if (error.code === "PARSE_ERROR" || error.code === "BAD_REQUEST" || error.code === "METHOD_NOT_SUPPORTED" || error.code === "UNPROCESSABLE_CONTENT")
    return new SessiondError("bad_request", { reason: "the message is not a tRPC request of that verb's kind" });
  report(error);
  return new SessiondError("internal");
}

const wireError = (error: SessiondError, code: number): WireErrorShape => ({ code, message: error.message, data: error.toWire() });
