import { SessiondError, type Actor, type Gate, type GateWord, type Row, type Seat, type TokenRecord } from "@sessiond/shared";
import type { ApiKeys } from "./host/api-keys.ts";
import type { Credentials } from "./host/credentials.ts";
import type { Host } from "./host/host.ts";
import { everywhere, reachOfKey, type Reach, type Standing } from "./host/reach.ts";
import type { RegistryEntry } from "./host/registry-file.ts";
import type { HostKey } from "./keys.ts";
import type { Session } from "./session/session.ts";

/**
 * The only code that decides who may. It reads `auth`, `session_id` and the row's `by` field from
 * the raw input, as own properties, and nothing else; what is missing or unknown is met with the
 * strictest word. It changes nothing.
 *
 * Every way to lack a valid credential looks the same from outside. A token that is live for this
 * very session, and too small, is told what it lacks.
 */
export interface OpenGrant {
  readonly kind: "open";
}
export interface HostGrant extends Standing {
  readonly kind: "host";
  /** How it appears in frames. */
  readonly actor: Actor;
  /** Of what tokens are minted by it. */
  readonly origin: "host" | "key";
  readonly reach: Reach;
  /** Aborts, with `token_ended` as its reason, when the credential ends. */
  readonly ends: AbortSignal;
}
export interface TokenGrant extends Standing {
  readonly kind: "token";
  readonly entry: RegistryEntry;
  readonly credentials: Credentials;
  readonly token: TokenRecord;
  /** The token's life is over. */
  readonly pastLife: boolean;
  /** As sent; who attaches makes it, who acts for a seat repeats it. */
  readonly seatSecret: string | undefined;
}
/** It stands while its seat is there; and where only the driver may, while that has the wheel. */
export interface SeatGrant extends Omit<TokenGrant, "kind"> {
  readonly kind: "seat";
  readonly session: Session;
  readonly seat: Seat;
}
export type Grant = OpenGrant | HostGrant | TokenGrant | SeatGrant;

/** Whom the gate has recognised, whatever it decides. */
export interface Found {
  token?: string;
  key?: string;
  owner?: true;
}

/** By which door a call came, and from whom as far as that can be told: an address, or the number of a connection. */
export interface Peer {
  readonly door: "unix" | "tcp";
  readonly name: string;
}

type SeatWord = "seat" | "control_seat" | "driver" | "host_minted_driver";

export type GrantFor<G extends Gate> = G extends "open"
  ? OpenGrant
  : G extends "host"
    ? HostGrant
    : G extends SeatWord
      ? SeatGrant
      : G extends `host_or_${string}`
        ? HostGrant | TokenGrant
        : G extends { readonly words: Readonly<Record<string, infer W extends GateWord>>; readonly otherwise: infer O extends GateWord }
          ? GrantFor<W | O>
          : TokenGrant;

/** Every way to lack a credential ends here, word for word. */
function refuse(): never {
  throw new SessiondError("unauthenticated");
}

type Raw = Readonly<Record<string, unknown>>;

/** An own property of an object, else undefined; never one that is inherited. */
const own = (value: unknown, key: string): unknown =>
  typeof value === "object" && value !== null && Object.hasOwn(value, key) ? (value as Raw)[key] : undefined;

const ownString = (value: unknown, key: string): string | undefined => {
  const found = own(value, key);
  return typeof found === "string" ? found : undefined;
};

function wordOf(gate: Gate, raw: unknown): GateWord {
  if (typeof gate === "string") return gate;
  const chosen = ownString(raw, gate.by);
  return chosen !== undefined && Object.hasOwn(gate.words, chosen) ? (gate.words[chosen] ?? gate.otherwise) : gate.otherwise;
}

const wantsControl: ReadonlySet<GateWord> = new Set<GateWord>(["control", "host_or_control", "control_seat", "driver", "host_minted_driver"]);

/** After its life a token reads, and `stop` repeats its answer; nothing else. */
function mustBeOfThisLife(grant: TokenGrant, row: Row, word: GateWord): void {
  const reads = word === "view" || word === "host_or_view";
  if (grant.pastLife && !reads && row.past_life !== "answer") throw new SessiondError("session_stopped");
}

export class GateKeeper {
  readonly #host: Host;
  readonly #hostKey: HostKey;
  readonly #keys: ApiKeys;

  constructor(host: Host, hostKey: HostKey, keys: ApiKeys) {
    this.#host = host;
    this.#hostKey = hostKey;
    this.#keys = keys;
  }

  /**
   * @param found  filled in with whom it is as soon as that is known, for the audit line of a call that fails
   * @throws SessiondError unauthenticated, role_too_small, not_attached, not_driver, session_stopped
   */
  async authorize(row: Row, raw: unknown, { door }: Pick<Peer, "door">, found: Found = {}): Promise<Grant> {
    const word = wordOf(row.gate, raw);
    switch (word) {
      case "open":
        return { kind: "open" };
      case "host":
        return (await this.#hostGrant(row, raw, door, found)) ?? refuse();
      case "host_or_view":
      case "host_or_control":
      case "host_or_lineage": {
        const host = await this.#hostGrant(row, raw, door, found);
        if (host !== null && word === "host_or_lineage") await this.#mustGovern(host, raw);
        if (host !== null) return host;
        return word === "host_or_lineage" ? this.#lineage(row, word, raw, found) : this.#tokenGrant(row, word, raw, found);
      }
      case "view":
      case "control":
        this.#recognise(raw, door, found);
        return this.#tokenGrant(row, word, raw, found);
      case "seat":
      case "control_seat":
      case "driver":
      case "host_minted_driver":
        this.#recognise(raw, door, found);
        return this.#seatGrant(await this.#tokenGrant(row, word, raw, found), word);
    }
  }

  /** Also for what is no verb and takes the host key alone. @throws SessiondError unauthenticated */
  owner(key: unknown): HostGrant {
    const live = this.#hostKey.verify(key) ?? refuse();
    const mustStand = () => (live.stands() ? undefined : refuse());
    return { kind: "host", actor: { label: "owner" }, origin: "host", reach: { ...everywhere, mustStand }, ends: live.ends, mustStand };
  }

  /** By the host key or an API key, or null when neither is shown. The owner's key counts where only the owner can come in. */
  async #hostGrant(row: Row, raw: unknown, door: Peer["door"], found: Found): Promise<HostGrant | null> {
    const auth = own(raw, "auth");
    const hostKey = own(auth, "host_key");
    if (hostKey !== undefined) {
      const owner = door === "unix" ? this.owner(hostKey) : refuse();
      found.owner = true;
      return owner;
    }
    const apiKey = own(auth, "api_key");
    if (apiKey === undefined) return null;
    const live = this.#keys.verify(apiKey);
    if (live === null) return refuse();
    const { key_id: keyId, name, roots, scopes } = live.record;
    found.key = keyId;
    if (row.scope === null)
      throw new SessiondError("role_too_small", { needs: row.gate === "host" ? "the host key" : "the host key, or a token of the session" });
    if (!scopes.includes(row.scope)) throw new SessiondError("role_too_small", { needs: `the scope ${row.scope}` });
    // Asked again in the step that does it: the secret may have been rotated out meanwhile.
    const mustStand = () => {
      if (!live.stands()) refuse();
      if (row.newest_secret === true && !live.isNewest()) throw new SessiondError("role_too_small", { needs: "the key's newest secret" });
    };
    mustStand();
    const reach = reachOfKey(keyId, roots, { governs: (other) => this.#keys.descends(other, keyId), mustStand });
    // What it does not see is for it what there is not.
    const sessionId = own(raw, "session_id");
    if (sessionId !== undefined) {
      if (typeof sessionId !== "string") return refuse();
      await this.#host.settled(sessionId);
      const entry = this.#host.entry(sessionId);
      if (entry === undefined || !reach.sees(entry)) return refuse();
    }
    return { kind: "host", actor: { label: name }, origin: "key", reach, ends: live.ends, mustStand };
  }

  /** Of a right credential where only a token will do: it is refused like any other, and nobody was guessing. */
  #recognise(raw: unknown, door: Peer["door"], found: Found): void {
    const auth = own(raw, "auth");
    // Whoever shows a token is judged by that.
    if (own(auth, "token") !== undefined) return;
    const keyId = this.#keys.verify(own(auth, "api_key"))?.record.key_id;
    if (keyId !== undefined) found.key = keyId;
    else if (door === "unix" && this.#hostKey.verify(own(auth, "host_key")) !== null) found.owner = true;
  }

  /** A key ends the tokens that were given to it or to keys that it made, and what descends from them. */
  async #mustGovern({ reach }: HostGrant, raw: unknown): Promise<void> {
    if (reach.keyId === undefined) return;
    const entry = this.#host.entry(ownString(raw, "session_id") ?? "") ?? refuse();
    const { tokens } = await this.#host.credentials.of(entry);
    const giver = tokens.root(ownString(raw, "token_id") ?? "")?.key_id;
    if (giver === undefined || !reach.governs(giver)) throw new SessiondError("role_too_small", { needs: "the host key, or the key that it was given to" });
  }

  /** A live token of the very session that the call names. */
  async #token(raw: unknown, found: Found): Promise<TokenGrant> {
    const auth = own(raw, "auth");
    const secret = ownString(auth, "token");
    const sessionId = ownString(raw, "session_id");
    if (secret === undefined || sessionId === undefined) throw new SessiondError("unauthenticated");
    await this.#host.settled(sessionId);
    const entry = this.#host.entry(sessionId);
    if (entry === undefined) throw new SessiondError("unauthenticated");
    const credentials = await this.#host.credentials.of(entry);
    const token = credentials.tokens.verify(secret);
    if (token === null) throw new SessiondError("unauthenticated");
    const now = this.#host.life(entry);
    found.token = token.token_id;
    return {
      kind: "token",
      entry,
      credentials,
      token,
      pastLife: now.stopped || token.life !== now.life,
      seatSecret: ownString(auth, "seat_secret"),
      mustStand: () => (credentials.tokens.isLive(token.token_id) ? undefined : refuse()),
    };
  }

  async #tokenGrant(row: Row, word: GateWord, raw: unknown, found: Found): Promise<TokenGrant> {
    const grant = await this.#token(raw, found);
    if (wantsControl.has(word) && grant.token.right !== "control") throw new SessiondError("role_too_small", { needs: "control" });
    mustBeOfThisLife(grant, row, word);
    return grant;
  }

  async #lineage(row: Row, word: GateWord, raw: unknown, found: Found): Promise<TokenGrant> {
    const grant = await this.#token(raw, found);
    const target = ownString(raw, "token_id");
    if (target === undefined || !grant.credentials.tokens.descends(target, grant.token.token_id))
      throw new SessiondError("role_too_small", { needs: "the host key, the token itself or an ancestor of it" });
    mustBeOfThisLife(grant, row, word);
    return grant;
  }

  async #seatGrant(grant: TokenGrant, word: SeatWord): Promise<SeatGrant> {
    const drives = word === "driver" || word === "host_minted_driver";
    const session = await this.#host.session(grant.entry.id);
    const find = session.seats.finder(grant.seatSecret, grant.token.token_id);
    const seated = (): Seat => {
      const seat = find();
      if (seat === undefined) throw new SessiondError("not_attached", { needs: drives ? "driver" : "seat" });
      if (drives && seat.role !== "driver") throw new SessiondError("not_driver", { driver: session.seats.driver()?.label ?? "nobody" });
      return seat;
    };
    const seat = seated();
    // One that a token minted may pass on what it was given, and no more.
    if (word === "host_minted_driver" && (grant.token.origin === "token" || grant.token.key_id !== undefined))
      throw new SessiondError("role_too_small", { needs: "a token that the host key minted" });
    return { ...grant, kind: "seat", session, seat, mustStand: () => void seated() };
  }
}
