import { readApiKey, readToken, SessiondError, type LimitName, type Limits, type Row } from "@sessiond/shared";
import { Allowance } from "./allowance.ts";
import type { Clock } from "./clock.ts";
import type { Peer } from "./gate.ts";

/**
 * How often something may be tried or done. A connection is somebody of its own; over TCP it is also the address that
 * it comes from, until a right credential was shown on it. So nobody on the unix socket pays for another, and behind one
 * address who is known goes on while who is not may have to wait.
 *
 * Wrong credentials alone are counted, never right ones. Whoever showed too many is not looked at: a right one is
 * refused like a wrong one, so that trying on tells nothing. Wrong ones for one session or key are counted too, wherever they
 * come from and whether or not there is such a one; they lock nobody out: the right one passes.
 *
 * The holder of a token or key has so many calls; the owner as many as he likes.
 */
const units = {
  failed_credentials_per_peer_per_minute_max: "wrong credentials a minute from this address or connection",
  failed_credentials_per_id_per_minute_max: "wrong credentials a minute for this session or key, this one included",
  open_calls_per_peer_per_minute_max: "connections and messages without a credential a minute from this address",
  calls_per_token_per_minute_max: "calls a minute with this token or key",
  prompts_per_token_per_minute_max: "prompts a minute with this token",
  starts_per_key_per_minute_max: "starts a minute with this key",
} as const satisfies Partial<Record<LimitName, string>>;
type Rate = keyof typeof units;
type Use = readonly [rate: Rate, who: Peer | string];

/** Whose call it is. */
interface Caller {
  readonly peer: Peer;
  /** It gets its answer, and then its connection is closed. */
  turnOut(): void;
}

export class Throttle {
  readonly #limits: Limits;
  readonly #allowances: Readonly<Record<Rate, Allowance<Peer | string>>>;
  /** Connections on which a right credential was shown. */
  readonly #known = new WeakSet<Peer>();

  constructor(clock: Clock, limits: Limits) {
    this.#limits = limits;
    const { throttle_window_ms: windowMs, throttled_max: keptMax } = limits;
    const allowance = (rate: Rate) => new Allowance<Peer | string>({ clock, max: limits[rate], windowMs, keptMax });
    this.#allowances = {
      failed_credentials_per_peer_per_minute_max: allowance("failed_credentials_per_peer_per_minute_max"),
      failed_credentials_per_id_per_minute_max: allowance("failed_credentials_per_id_per_minute_max"),
      open_calls_per_peer_per_minute_max: allowance("open_calls_per_peer_per_minute_max"),
      calls_per_token_per_minute_max: allowance("calls_per_token_per_minute_max"),
      prompts_per_token_per_minute_max: allowance("prompts_per_token_per_minute_max"),
      starts_per_key_per_minute_max: allowance("starts_per_key_per_minute_max"),
    };
  }

  /** Somebody at the door, who has said nothing yet. @returns why he is not let in, or undefined */
  knock(peer: Peer): SessiondError | undefined {
    const calls = this.#openCalls(peer);
    const over = this.#over([...this.#tries(peer), ...calls]);
    if (over === undefined) this.#use(calls);
    return over;
  }

  /** It needs no credential, or is no call at all. @returns what is said of it where there was too much of that, or undefined */
  strayed(caller: Caller): SessiondError | undefined {
    const uses = this.#openCalls(caller.peer);
    const over = this.#over(uses, caller);
    if (over === undefined) this.#use(uses);
    return over;
  }

  /** A message came, and nobody has looked into it. @returns what stands against it, or undefined */
  said(caller: Caller, { bytes, call }: { readonly bytes: number; readonly call: boolean }): SessiondError | undefined {
    const byLength = this.#known.has(caller.peer) ? 0 : Math.floor(bytes / this.#limits.open_call_bytes_max);
    let over: SessiondError | undefined;
    for (let left = byLength + (call ? 0 : 1); left > 0 && over === undefined; left -= 1) over = this.strayed(caller);
    return over;
  }

  /** Before a credential is looked at. @throws SessiondError rate_limited */
  mustMayTry(row: Row, caller: Caller): void {
    const over = row.gate === "open" ? this.strayed(caller) : this.#over(this.#tries(caller.peer), caller);
    if (over !== undefined) throw over;
  }

  /** A credential was refused. @returns what is said of it */
  failed(raw: unknown, caller: Caller, refusal: SessiondError): SessiondError {
    // Others of this peer may have failed while the gate was looking.
    const over = this.#over(this.#tries(caller.peer), caller);
    if (over !== undefined) return over;
    const address = addressOf(caller.peer);
    this.#use([["failed_credentials_per_peer_per_minute_max", caller.peer]]);
    if (address !== undefined) this.#use([["failed_credentials_per_peer_per_minute_max", address]]);
    const forIds = claimsOf(raw).map((id): Use => ["failed_credentials_per_id_per_minute_max", id]);
    const tooMany = this.#over(forIds);
    if (tooMany === undefined) this.#use(forIds);
    return tooMany ?? refusal;
  }

  /** A right credential was shown, whatever may be done with it. @param holder  id of the token or key; absent: the owner. @throws SessiondError rate_limited */
  recognised(row: Row, caller: Caller, holder: string | undefined): void {
    if (row.gate === "open") return;
    // Nor is a right one told from the wrong ones that came with it.
    this.#mustHave(this.#tries(caller.peer), caller);
    this.#known.add(caller.peer);
    if (holder === undefined) return;
    const uses: Use[] = [["calls_per_token_per_minute_max", holder]];
    if (row.budget === "prompts") uses.push(["prompts_per_token_per_minute_max", holder]);
    if (row.budget === "starts") uses.push(["starts_per_key_per_minute_max", holder]);
    this.#mustHave(uses);
    this.#use(uses);
  }

  /** What stands in the way of a peer's next try. */
  #tries(peer: Peer): Use[] {
    const address = this.#known.has(peer) ? undefined : addressOf(peer);
    const rate = "failed_credentials_per_peer_per_minute_max";
    return address === undefined
      ? [[rate, peer]]
      : [
          [rate, peer],
          [rate, address],
        ];
  }

  #openCalls(peer: Peer): Use[] {
    const address = addressOf(peer);
    if (address === undefined) return [];
    return [["open_calls_per_peer_per_minute_max", this.#known.has(peer) ? peer : address]];
  }

  #wait([rate, who]: Use): number {
    return this.#allowances[rate].wait(who);
  }

  #use(uses: readonly Use[]): void {
    for (const [rate, who] of uses) this.#allowances[rate].use(who);
  }

  /** @param caller  absent: its connection may stay. @throws SessiondError rate_limited */
  #mustHave(uses: readonly Use[], caller?: Caller): void {
    const over = this.#over(uses, caller);
    if (over !== undefined) throw over;
  }

  /** Told is the longest wait: after it none of them is in the way. */
  #over(uses: readonly Use[], caller?: Caller): SessiondError | undefined {
    const [longest] = uses.map((use) => ({ limit: use[0], wait: this.#wait(use) })).sort((one, other) => other.wait - one.wait);
    if (longest === undefined || longest.wait === 0) return undefined;
    const { limit, wait } = longest;
    if (caller?.peer.door === "tcp") caller.turnOut();
    return new SessiondError("rate_limited", { limit, value: this.#limits[limit], unit: units[limit], retry_after_ms: wait });
  }
}

const addressOf = ({ door, name }: Peer): string | undefined => (door === "tcp" ? name : undefined);

/** The session and the key that credentials say they are for; anybody may say so. */
function claimsOf(raw: unknown): string[] {
  const auth: unknown = typeof raw === "object" && raw !== null && Object.hasOwn(raw, "auth") ? (raw as { auth: unknown }).auth : undefined;
  if (typeof auth !== "object" || auth === null) return [];
  const { token, api_key: key } = auth as { token?: unknown; api_key?: unknown };
  return [readApiKey(key), readToken(token)?.sessionId].filter((id) => typeof id === "string");
}
