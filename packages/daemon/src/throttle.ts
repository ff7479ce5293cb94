import { readApiKey, readToken, SessiondError, type LimitName, type Limits, type Row } from "@sessiond/shared";
import type { Clock } from "./clock.ts";
import type { Grant, Peer } from "./gate.ts";

/**
 * How often something may be tried or done: counted in windows of `throttle_window_ms`, by who does it. Who shows
 * wrong credentials is not looked at any more until his window ends; the owner is never counted, and on the unix
 * socket each connection is somebody of its own, so nobody there pays for another.
 */
interface Count {
  count: number;
  readonly until: number;
}

export class Throttle {
  readonly #clock: Clock;
  readonly #limits: Limits;
  /** By name of limit and of whom it counts; the oldest first. */
  readonly #counts = new Map<string, Count>();

  constructor(clock: Clock, limits: Limits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Before a credential is looked at. @throws SessiondError rate_limited */
  mustMayTry(row: Row, { door, name }: Peer): void {
    if (row.gate === "open") return;
    const limit = "failed_credentials_per_peer_per_minute_max";
    const found = this.#counts.get(`${limit} ${door} ${name}`);
    if (found !== undefined && found.until > this.#clock.steady() && found.count >= this.#limits[limit]) throw this.#over(limit, found);
  }

  /** A credential was refused. @returns what is said of it: after too many for one session or key no more than that */
  failed(raw: unknown, { door, name }: Peer, refusal: SessiondError): SessiondError {
    this.#count("failed_credentials_per_peer_per_minute_max", `${door} ${name}`);
    const claimed = claimOf(raw);
    if (claimed === undefined) return refusal;
    const limit = "failed_credentials_per_id_per_minute_max";
    const found = this.#count(limit, claimed);
    return found.count > this.#limits[limit] ? this.#over(limit, found) : refusal;
  }

  /** A call that may be made, unless there were too many. @throws SessiondError rate_limited */
  called(row: Row, grant: Grant): void {
    const who = holderOf(grant);
    if (who === undefined) return;
    this.#spend("calls_per_token_per_minute_max", who);
    if (row.budget === "prompts") this.#spend("prompts_per_token_per_minute_max", who);
    if (row.budget === "starts") this.#spend("starts_per_key_per_minute_max", who);
  }

  #spend(limit: LimitName, who: string): void {
    const found = this.#count(limit, who);
    if (found.count > this.#limits[limit]) throw this.#over(limit, found);
  }

  #count(limit: LimitName, who: string): Count {
    const name = `${limit} ${who}`;
    const now = this.#clock.steady();
    let found = this.#counts.get(name);
    if (found === undefined || found.until <= now) {
      this.#counts.delete(name);
      found = { count: 0, until: now + this.#limits.throttle_window_ms };
      this.#counts.set(name, found);
      this.#forget(now);
    }
    found.count += 1;
    return found;
  }

  /** Windows end in the order in which they began. */
  #forget(now: number): void {
    for (const [name, { until }] of this.#counts) {
      if (until > now && this.#counts.size <= this.#limits.throttled_max) return;
      this.#counts.delete(name);
    }
  }

  #over(limit: LimitName, { until }: Count): SessiondError {
    const retry_after_ms = Math.max(1, Math.ceil(until - this.#clock.steady()));
    return new SessiondError("rate_limited", { limit, value: this.#limits[limit], unit: "a minute", retry_after_ms });
  }
}

/** Nobody counts the owner. */
function holderOf(grant: Grant): string | undefined {
  switch (grant.kind) {
    case "open":
      return undefined;
    case "host":
      return grant.reach.keyId;
    case "token":
    case "seat":
      return grant.token.token_id;
  }
}

/** The session or key that a credential says it is for; anybody may say so. */
function claimOf(raw: unknown): string | undefined {
  const auth: unknown = typeof raw === "object" && raw !== null && Object.hasOwn(raw, "auth") ? (raw as { auth: unknown }).auth : undefined;
  if (typeof auth !== "object" || auth === null) return undefined;
  const { token, api_key: key } = auth as { token?: unknown; api_key?: unknown };
  return readApiKey(key) ?? readToken(token)?.sessionId;
}
