import { commonErrors, verbs, type ErrorCode, type TokenRecord, type VerbInput, type VerbName, type VerbOutput } from "@sessiond/shared";
import type { SimSession, SimToken } from "./records.ts";
import type { SeatClient } from "./seat-client.ts";
import { holds } from "./violation.ts";
import type { World } from "./world.ts";

/**
 * A call, and what its answer must be like: a token that has ended gets nothing, a refusal has a
 * reason that this world knows of, and what was acknowledged is safe.
 */
export interface As {
  readonly token?: SimToken;
  readonly seat?: SeatClient;
}

export interface Told<V extends VerbName> {
  /** @param seq  the acknowledged frame is safe already */
  ok?(output: VerbOutput<V>): void;
  refused?(code: ErrorCode): void;
}

export function callSession<V extends VerbName>(
  world: World,
  session: SimSession,
  verb: V,
  input: Omit<VerbInput<V>, "session_id">,
  as: As,
  told: Told<V> = {},
): void {
  const token = as.seat?.token ?? as.token;
  const auth = as.seat?.auth ?? (token === undefined ? { host_key: world.hostKey } : { token: token.secret });
  const dead = token?.ended === "yes";
  // What is decided and not shown yet is not known here.
  const allShown = (): boolean => {
    const log = world.boot.host.inMemory(session.id)?.log;
    return log?.room.fault === undefined && log?.decided.state.seq === session.model.seq;
  };
  const drove = as.seat !== undefined && session.model.driver?.id === as.seat.seatId && allShown();
  const seq = session.model.seq;
  const lifeThen = session.model.life;
  world.call<VerbOutput<V>>(verb, { session_id: session.id, ...input }, auth, (outcome) => {
    if ("code" in outcome) {
      world.told.push(`  ${verb}: ${outcome.code}`);
      mustBeExplained(world, {
        session,
        verb,
        code: outcome.code as ErrorCode,
        error: outcome.error,
        token,
        drove: drove && session.model.seq === seq && allShown(),
      });
      told.refused?.(outcome.code as ErrorCode);
      return;
    }
    world.told.push(`  ${verb}: ok`);
    holds(!dead, "B4", () => `${verb} was answered to token ${token?.record.label ?? ""}, which had ended`);
    if (as.seat !== undefined && verb !== "stop")
      holds(token?.record.life === undefined || token.record.life >= lifeThen, "B4", () => `${verb} by a token of an earlier life`);
    const output = outcome.ok as { seq?: number };
    if (verbs[verb].kind === "mutation" && typeof output.seq === "number") world.acknowledged(session, output.seq, verb);
    told.ok?.(outcome.ok);
  });
}

interface Refusal {
  readonly session: SimSession;
  readonly verb: VerbName;
  readonly code: ErrorCode;
  readonly error: Error;
  readonly token: SimToken | undefined;
  /** Its seat drove when it called, and nothing has happened since. */
  readonly drove: boolean;
}

/** @throws Violation */
export function mustBeExplained(world: World, { session, verb, code, error, token, drove }: Refusal): void {
  holds(
    code === "internal" || [...commonErrors, ...verbs[verb].throws, "session_stopped"].includes(code),
    "B38",
    () => `${verb} was refused with ${code}, which the table does not know`,
  );
  const unexplained = (promise: string): void => holds(false, promise, () => `${verb} was refused with ${code} (${error.message}), for no reason`);
  switch (code) {
    case "internal":
      return holds(false, "B38", () => `${verb} met a bug: ${error.stack ?? error.message}`);
    case "storage_failed":
    case "session_faulted":
      if (!world.faults.failed) unexplained("B38");
      return;
    case "shutting_down":
      if (!world.draining) unexplained("B13");
      return;
    case "unauthenticated":
      if (token === undefined || !mayHaveEnded(world, session, token)) unexplained("B4");
      return;
    case "session_stopped":
      if (verb === "stop" || verb === "authorize" || verb === "session_data" || verb === "session_info") unexplained("B35");
      if (!session.stopAsked && session.model.life <= (token?.record.life ?? 0)) unexplained("B35");
      return;
    case "not_driver":
    case "not_attached":
      if (drove && token !== undefined && !mayHaveEnded(world, session, token)) unexplained("B14");
      return;
    case "role_too_small":
      if (token?.record.right === "control" && verb !== "revoke_token" && verb !== "approve") unexplained("B5");
      return;
    default:
  }
}

export function mayHaveEnded(world: World, session: SimSession, token: SimToken): boolean {
  if (token.ended !== "no" || world.expired(token, session) || session.gone || session.model.turns === 0) return true;
  // Beyond its number of tokens the longest unused ones go.
  return world.maybeIdle(token) || session.tokens.length > world.limits.tokens_live_max / 2;
}

export function keepToken(session: SimSession, secret: string, record: TokenRecord): SimToken {
  const token: SimToken = { secret, record, ended: "no" };
  session.tokens.push(token);
  return token;
}

/** Tokens that surely are good for acting now. */
export const goodTokens = (world: World, session: SimSession, right: "view" | "control" = "control"): SimToken[] =>
  session.tokens.filter(
    (token) =>
      token.ended === "no" &&
      !world.expired(token, session) &&
      token.record.life === session.model.life &&
      (right === "view" || token.record.right === "control"),
  );

export const present = (world: World): SimSession[] => world.sessions.filter(({ gone }) => !gone);
export const living = (world: World): SimSession[] => present(world).filter(({ model }) => model.live);
