import { SessiondError, type Gate, type GateWord, type Row, type Seat, type TokenRecord } from "@sessiond/shared";
import type { Credentials } from "./host/credentials.ts";
import type { Host } from "./host/host.ts";
import type { RegistryEntry } from "./host/registry.ts";
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
export interface HostGrant {
  readonly kind: "host";
}
export interface TokenGrant {
  readonly kind: "token";
  readonly entry: RegistryEntry;
  readonly credentials: Credentials;
  readonly token: TokenRecord;
  /** The token's life is over. */
  readonly pastLife: boolean;
  /** As sent; who attaches makes it, who acts for a seat repeats it. */
  readonly seatSecret: string | undefined;
}
export interface SeatGrant extends Omit<TokenGrant, "kind"> {
  readonly kind: "seat";
  readonly session: Session;
  readonly seat: Seat;
  /** Looks once more, after a wait: the wheel may have been handed on, the seat left. @throws SessiondError as `authorize` */
  mustStand(): void;
}
export type Grant = OpenGrant | HostGrant | TokenGrant | SeatGrant;

/** Whom the gate has recognised, whatever it decides. */
export interface Found {
  token?: string;
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

  constructor(host: Host, hostKey: HostKey) {
    this.#host = host;
    this.#hostKey = hostKey;
  }

  /**
   * @param found  filled in with the token as soon as it is known, for the audit line of a refusal
   * @throws SessiondError unauthenticated, role_too_small, not_attached, not_driver, session_stopped
   */
  async authorize(row: Row, raw: unknown, found: Found = {}): Promise<Grant> {
    const word = wordOf(row.gate, raw);
    const auth = own(raw, "auth");
    switch (word) {
      case "open":
        return { kind: "open" };
      case "host":
        return this.owner(own(auth, "host_key"));
      case "host_or_view":
      case "host_or_control":
      case "host_or_lineage":
        if (own(auth, "host_key") !== undefined) return this.owner(own(auth, "host_key"));
        return word === "host_or_lineage" ? this.#lineage(row, word, raw, found) : this.#tokenGrant(row, word, raw, found);
      case "view":
      case "control":
        return this.#tokenGrant(row, word, raw, found);
      case "seat":
      case "control_seat":
      case "driver":
      case "host_minted_driver":
        return this.#seatGrant(await this.#tokenGrant(row, word, raw, found), word);
    }
  }

  /** Also for what is no verb and takes the host key alone. @throws SessiondError unauthenticated */
  owner(key: unknown): HostGrant {
    if (!this.#hostKey.matches(key)) throw new SessiondError("unauthenticated");
    return { kind: "host" };
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
    return { kind: "token", entry, credentials, token, pastLife: now.stopped || token.life !== now.life, seatSecret: ownString(auth, "seat_secret") };
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
    const seated = (): Seat => {
      const seat = session.seats.find(grant.seatSecret, grant.token.token_id);
      if (seat === undefined) throw new SessiondError("not_attached", { needs: drives ? "driver" : "seat" });
      if (drives && seat.role !== "driver") throw new SessiondError("not_driver", { driver: session.seats.driver()?.label ?? "nobody" });
      return seat;
    };
    const seat = seated();
    // One that a token minted may pass on what it was given, and no more.
    if (word === "host_minted_driver" && grant.token.origin === "token")
      throw new SessiondError("role_too_small", { needs: "a token that the host key minted" });
    return { ...grant, kind: "seat", session, seat, mustStand: () => void seated() };
  }
}
