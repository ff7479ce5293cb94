import type { AgentInfo, Auth, Frame, QueuedPrompt, SessionInfo, TokenRecord, VerbOutput } from "@sessiond/shared";
import type { CallOptions } from "./call-limit.ts";
import type { Connection } from "./connection.ts";
import type { SessionFacts, WaitGoal } from "./wait.ts";

/**
 * A page of the transcript. `more`: there are further frames in the direction that was asked for.
 * `compacted_through`: up to this seq frames are not all as they were sent; pieces of a text are
 * merged into one, and seats that came and went are left out.
 */
export interface SessionPage {
  readonly frames: Frame[];
  readonly more: boolean;
  readonly cursor: string;
  readonly head: number;
  readonly compacted_through: number;
}

/** `interrupted` is false when that turn no longer ran. `queue`: what is held and waits for `releaseQueue`. */
export interface InterruptOutcome {
  readonly interrupted: boolean;
  readonly seq: number;
  readonly queue: QueuedPrompt[];
}

export interface MintRequest {
  readonly right: "view" | "control";
  readonly label: string;
  /** Milliseconds until it ends by itself, from 1,000 to a year; for ever unless given. */
  readonly ttlMs?: number | undefined;
}

/** The only time that the token's secret is shown. */
export interface MintedToken {
  readonly token: string;
  readonly record: TokenRecord;
}

/** What session handles share: verbs that need no seat. */
export abstract class SessionHandle {
  readonly id: string;
  protected readonly calls: Connection;
  protected readonly auth: Auth;
  /** Mints and revokes tokens: the host handle's credential where there is one, so that they do not end with this handle's own. */
  protected readonly mintAuth: Auth;

  constructor(calls: Connection, { id, auth, mintAuth = auth }: { id: string; auth: Auth; mintAuth?: Auth }) {
    this.id = id;
    this.calls = calls;
    this.auth = auth;
    this.mintAuth = mintAuth;
  }

  /** Status, seats, queue and open questions. Wakes a resting session. @throws SessiondError `not_found` (to the host key), `unauthenticated` */
  info(options: CallOptions = {}): Promise<SessionInfo> {
    return this.calls.call("session_info", { session_id: this.id }, this.auth, options);
  }

  /** Frames with a seq above `after` or below `before`; from the beginning unless told otherwise; at most 512. */
  data({
    after,
    before,
    limit,
    ...options
  }: CallOptions & {
    readonly after?: number | undefined;
    readonly before?: number | undefined;
    readonly limit?: number | undefined;
  } = {}): Promise<SessionPage> {
    return this.calls.call("session_data", { session_id: this.id, after, before, limit }, this.auth, options);
  }

  /**
   * A further token of this session. Never repeated by the library: after a lost link the
   * error says that it may have happened, and `listTokens` shows whether it did.
   */
  mintToken({ right, label, ttlMs }: MintRequest, options: CallOptions = {}): Promise<MintedToken> {
    return this.calls.call("mint_token", { session_id: this.id, right, label, ttl_ms: ttlMs }, this.mintAuth, options);
  }

  /** Records without secrets. */
  async listTokens(options: CallOptions = {}): Promise<TokenRecord[]> {
    return (await this.calls.call("list_tokens", { session_id: this.id }, this.auth, options)).tokens;
  }

  /** Ends a token with its children and their streams. @returns the ids that ended */
  async revokeToken(tokenId: string, options: CallOptions = {}): Promise<string[]> {
    // Refused when repeated: it is gone, or it was the very token that asked.
    const alreadyDone = ({ code }: { code: string }): { revoked: string[] } | undefined =>
      code === "not_found" || code === "unauthenticated" ? { revoked: [] } : undefined;
    return (await this.calls.call("revoke_token", { session_id: this.id, token_id: tokenId }, this.mintAuth, { ...options, alreadyDone })).revoked;
  }

  /** Forgets one remembered answer, of any scope. @throws SessiondError `not_found` */
  async forgetRule(ruleId: string, options: CallOptions = {}): Promise<void> {
    const alreadyDone = ({ code }: { code: string }): VerbOutput<"forget_rule"> | undefined => (code === "not_found" ? { seq: 0 } : undefined);
    await this.calls.call("forget_rule", { session_id: this.id, rule_id: ruleId }, this.auth, { ...options, alreadyDone });
  }

  /** The agents that the daemon has: models, modes, what they can do and what they lack. */
  async listAgents(options: CallOptions = {}): Promise<AgentInfo[]> {
    return (await this.calls.call("list_agents", { session_id: this.id }, this.auth, options)).agents;
  }

  /**
   * Resolves when the session is `idle` (no turn runs and none is about to: what is queued, if
   * anything, is held), when a question is open (`approval`), or when its life is over
   * (`stopped`); at once where that is so already. However long, across reconnects and restarts
   * of the daemon, unless `timeoutMs` bounds it.
   *
   * @throws SessiondError `session_stopped` when it will not come any more, `not_found`, `timeout`, `cancelled`
   */
  abstract waitFor(goal: WaitGoal, options?: CallOptions): Promise<SessionFacts>;

  /** Ends the running turn, or the given one if it still runs; the queue is then held. */
  async interrupt({ turnId, ...options }: CallOptions & { readonly turnId?: string | undefined } = {}): Promise<InterruptOutcome> {
    let current = turnId;
    if (current === undefined) {
      const { turn, seq, queue } = await this.info(options);
      if (turn === null) return { interrupted: false, seq, queue };
      current = turn.turn_id;
    }
    return this.calls.call("interrupt", { session_id: this.id, turn_id: current }, this.auth, options);
  }

  /** Ends this life of the session; repeated, it answers the same. */
  stop(options: CallOptions = {}): Promise<{ seq: number; life: number }> {
    return this.calls.call("stop", { session_id: this.id }, this.auth, options);
  }
}
