import { limits, SessiondError, type AgentInfo, type Auth, type Policy, type Sandbox, type SessionListing, type VerbOutput } from "@sessiond/shared";
import { callLimit, type CallOptions } from "./call-limit.ts";
import { handleClosed, type Connection } from "./connection.ts";
import type { Door } from "./door.ts";
import { HostSession } from "./host-session.ts";
import { newRequestId } from "./ids.ts";
import { isApiKey, KeyRing } from "./key-ring.ts";
import { HostObserver } from "./observer.ts";
import { Served, type ServedAgent } from "./serve-agent.ts";
import { Session, type Differing } from "./session.ts";
import { untilReady } from "./wait-by-watching.ts";

/** How a life of a session begins; the daemon's configuration decides what is not said. */
export interface LifeOptions extends CallOptions {
  readonly agent?: string | undefined;
  readonly model?: string | undefined;
  /** At most 120 characters. */
  readonly title?: string | undefined;
  /** What decides about a question while no driver is seated; `hold` unless given. */
  readonly policy?: Policy | undefined;
  /** In what its commands run: as the account that owns the daemon (`off`), or in a sandbox; refused where there is none. */
  readonly sandbox?: Sandbox | undefined;
  /** Variables for the tools of this life; what `connect` picked of the caller's environment unless given. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

export interface StartOptions extends LifeOptions {
  /** A new session in this directory; or instead… */
  readonly workdir?: string | undefined;
  /** … the next life of this stopped one. */
  readonly sessionId?: string | undefined;
}

export interface SessionFilter {
  readonly workdir?: string | undefined;
  readonly lifeState?: "live" | "resting" | "stopped" | undefined;
  /** `next` of the page before. */
  readonly after?: string | undefined;
  /** At most 500. */
  readonly limit?: number | undefined;
}

export interface SessionList {
  readonly sessions: SessionListing[];
  /** Pass as `after` for the next page; null: this was the last. */
  readonly next: string | null;
}

export type DaemonStatus = VerbOutput<"daemon_status">;

export interface HostParts {
  readonly door: Door;
  readonly calls: Connection;
  /** The host key, or an API key. */
  readonly auth: Auth;
  readonly clientName: string;
  /** What goes with a start whose caller names no variables; absent: nothing. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Absent where the way to the daemon has no such page. */
  readonly metrics?: (signal: AbortSignal) => Promise<string>;
}

/**
 * The daemon, as its owner holds it: by the host key; or as somebody else does, by an API key, whose scopes say which of
 * this the daemon does. `connect` of `@sessiond/client/node` makes one.
 */
export class Host extends KeyRing {
  readonly #parts: HostParts;
  readonly #calls: Connection;
  readonly #auth: Auth;
  readonly #sessions = new Set<Session>();
  #closed: Promise<void> | null = null;

  constructor(parts: HostParts) {
    super(parts);
    this.#parts = parts;
    this.#calls = parts.calls;
    this.#auth = parts.auth;
  }

  /** By what it is held. What needs the host key fails with `role_too_small` to an API key; so does what its scopes lack. */
  get heldBy(): "host key" | "API key" {
    return isApiKey(this.#auth) ? "API key" : "host key";
  }

  /** Version, boot id and limits that the daemon told at the last connection. */
  get hello(): VerbOutput<"hello"> | null {
    return this.#parts.door.hello;
  }

  /**
   * The one session of a directory: found, woken or made. `session.created` tells which,
   * `session.differs` which options a running life has otherwise.
   *
   * @param workdir  absolute path; several ways of writing it are one directory
   * @throws SessiondError `workdir_invalid`, `model_unknown`, `storage_failed`, `unsupported`; `conflict` where a weaker sandbox runs than is named
   */
  async sessionForWorkdir(workdir: string, options: LifeOptions = {}): Promise<Session> {
    return this.#started(await this.#calls.call("start_or_get_for_workdir", { workdir, ...this.#life(options) }, this.#auth, options));
  }

  /** Always another session, or the next life of `sessionId`. @throws SessiondError as above, `not_found`, `conflict` */
  async startSession({ workdir, sessionId, ...options }: StartOptions): Promise<Session> {
    const input = { request_id: newRequestId(), workdir, session_id: sessionId, ...this.#life(options) };
    return this.#started(await this.#calls.call("start_session", input, this.#auth, options));
  }

  /** Live and stored sessions, newest first, a page at a time. */
  listSessions({ workdir, lifeState, after, limit }: SessionFilter = {}, options: CallOptions = {}): Promise<SessionList> {
    return this.#calls.call("list_sessions", { workdir, life_state: lifeState, after, limit }, this.#auth, options);
  }

  /** Ends the life of the one session of a directory. @throws SessiondError `not_found` */
  async stopWorkdirSession(workdir: string, options: CallOptions = {}): Promise<{ sessionId: string; seq: number; life: number }> {
    const { session_id, seq, life } = await this.#calls.call("stop_workdir_session", { workdir }, this.#auth, options);
    return { sessionId: session_id, seq, life };
  }

  /** The agents that the daemon has: models, modes, what they can do and what they lack. */
  async listAgents(options: CallOptions = {}): Promise<AgentInfo[]> {
    return (await this.#calls.call("list_agents", {}, this.#auth, options)).agents;
  }

  /**
   * Offers an agent of your own: sessions that are started with `agent: name` are run by it, one turn of each at a time,
   * until the handle is closed. Over the unix socket, by the host key.
   *
   * ```js
   * const served = await host.serveAgent("echo", {
   *   async *prompt(turn) {
   *     yield `You said: ${turn.text}`;
   *   },
   * });
   * await served.ended;
   * ```
   *
   * @param name  small letters, digits, - and _; at most 64
   * @throws SessiondError `conflict` when the daemon has an agent of that name, or another program serves it; `role_too_small` by an API key
   */
  serveAgent(name: string, agent: ServedAgent, options: CallOptions = {}): Promise<Served> {
    return Served.open({ calls: this.#calls, auth: this.#auth }, name, agent, options);
  }

  /** The sessions for whoever may only look. It lives as long as this handle. */
  observe(): HostObserver {
    return new HostObserver({ calls: this.#calls, auth: this.#auth });
  }

  /** Resolves when the daemon has opened every session that it found at its start; at once where it has. */
  async waitReady({ timeoutMs = limits.call_timeout_ms, signal }: CallOptions = {}): Promise<DaemonStatus> {
    const limit = callLimit(timeoutMs, signal, this.#calls.closed);
    try {
      return await untilReady(this.#calls, this.#auth, limit.signal);
    } finally {
      limit.release();
    }
  }

  status(options: CallOptions = {}): Promise<DaemonStatus> {
    return this.#calls.call("daemon_status", {}, this.#auth, options);
  }

  /** The daemon's figures, as Prometheus reads them. @throws SessiondError `unsupported` where it is not reached by its unix socket */
  async metrics({ timeoutMs = limits.call_timeout_ms, signal }: CallOptions = {}): Promise<string> {
    if (this.#parts.metrics === undefined) throw new SessiondError("unsupported", { reason: "figures come over the daemon's unix socket only" });
    const limit = callLimit(timeoutMs, signal);
    try {
      return await this.#parts.metrics(limit.signal);
    } finally {
      limit.release();
    }
  }

  /**
   * Drains the daemon, then ends it: running turns get `waitMs` to end. Returns when the
   * draining has begun. This handle starts no daemon after that but for a new session.
   */
  async shutDown({ waitMs, ...options }: CallOptions & { readonly waitMs?: number | undefined } = {}): Promise<{ pid: number }> {
    this.#parts.door.leaving();
    // One try: sent again, it could reach the daemon that somebody started since.
    return this.#calls.call("shut_down", { wait_ms: waitMs }, this.#auth, { ...options, once: true });
  }

  /** A session by its id, without a token and without asking whether it exists. */
  session(sessionId: string): HostSession {
    return new HostSession(this.#calls, { id: sessionId, auth: this.#auth, open: (options) => this.openSession(sessionId, { ...options, right: "view" }) });
  }

  /** An existing session to attach to, through a token minted for this handle and revoked when it is closed. An API key needs `tokens:mint` for it. */
  async openSession(
    sessionId: string,
    { right = "control", label, ...options }: CallOptions & { readonly right?: "view" | "control"; readonly label?: string | undefined } = {},
  ): Promise<Session> {
    const { token, record } = await this.session(sessionId).mintToken({ right, label: label ?? this.#parts.clientName }, options);
    // By the token: an API key learns nothing of a session by itself.
    const { workdir } = await this.#calls.call("session_info", { session_id: sessionId }, { token }, options);
    return this.#keep(sessionId, { token, workdir, ownTokenId: record.token_id });
  }

  /** Closes every session that this handle gave out, then its connection. Never fails. */
  close(): Promise<void> {
    this.#closed ??= Promise.all([...this.#sessions].map((session) => session.close())).then(() => this.#calls.close());
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #life({ agent, model, title, policy, sandbox, env = this.#parts.env }: LifeOptions) {
    return { agent, model, title, policy, sandbox, ...(env && { env: { ...env } }) };
  }

  #started({ session, token, token_id, created, differs }: VerbOutput<"start_session">): Session {
    return this.#keep(session.session_id, { token, workdir: session.workdir, created, differs, ownTokenId: token_id });
  }

  #keep(id: string, facts: { token: string; workdir: string; ownTokenId: string; created?: boolean; differs?: readonly Differing[] }): Session {
    if (this.#closed !== null) throw handleClosed();
    const { auth: hostAuth, clientName } = this.#parts;
    const session = new Session(id, { ...facts, calls: this.#calls, hostAuth, clientName, closed: (each) => this.#sessions.delete(each) });
    this.#sessions.add(session);
    return session;
  }
}
