import { SessiondError, type Auth, type SessionListing, type VerbOutput } from "@sessiond/shared";
import type { CallOptions } from "./call-limit.ts";
import { Connection } from "./connection.ts";
import type { Door } from "./door.ts";
import { newRequestId } from "./ids.ts";
import { HostSession } from "./session-handle.ts";
import { Session } from "./session.ts";

/** How a life of a session begins; the daemon's configuration decides what is not said. */
export interface LifeOptions extends CallOptions {
  readonly agent?: string | undefined;
  readonly model?: string | undefined;
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
  readonly hostKey: string;
  readonly clientName: string;
}

/** The daemon, as its owner holds it: by the host key. `connect` of `@sessiond/client/node` makes one. */
export class Host {
  readonly #parts: HostParts;
  readonly #calls: Connection;
  readonly #auth: Auth;
  readonly #sessions = new Set<Session>();
  #closed: Promise<void> | null = null;

  constructor(parts: HostParts) {
    this.#parts = parts;
    this.#calls = parts.calls;
    this.#auth = { host_key: parts.hostKey };
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
   * @throws SessiondError `workdir_invalid`, `model_unknown`, `storage_failed`
   */
  async sessionForWorkdir(workdir: string, { agent, model, ...options }: LifeOptions = {}): Promise<Session> {
    return this.#started(await this.#calls.call("start_or_get_for_workdir", { workdir, agent, model }, this.#auth, options));
  }

  /** Always another session, or the next life of `sessionId`. @throws SessiondError as above, `not_found`, `conflict` */
  async startSession({ workdir, sessionId, agent, model, ...options }: StartOptions): Promise<Session> {
    const input = { request_id: newRequestId(), workdir, session_id: sessionId, agent, model };
    return this.#started(await this.#calls.call("start_session", input, this.#auth, options));
  }

  /** Live and stored sessions, newest first, a page at a time. */
  listSessions({ workdir, lifeState, after, limit }: SessionFilter = {}, options: CallOptions = {}): Promise<SessionList> {
    return this.#calls.call("list_sessions", { workdir, life_state: lifeState, after, limit }, this.#auth, options);
  }

  status(options: CallOptions = {}): Promise<DaemonStatus> {
    return this.#calls.call("daemon_status", {}, this.#auth, options);
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
    return new HostSession(this.#calls, { id: sessionId, auth: this.#auth });
  }

  /** An existing session to attach to, through a token minted for this handle and revoked when it is closed. */
  async openSession(
    sessionId: string,
    { right = "control", label, ...options }: CallOptions & { readonly right?: "view" | "control"; readonly label?: string | undefined } = {},
  ): Promise<Session> {
    const { workdir } = await this.session(sessionId).info(options);
    const { token, record } = await this.session(sessionId).mintToken({ right, label: label ?? this.#parts.clientName }, options);
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

  #started({ session, token, token_id, created, differs }: VerbOutput<"start_session">): Session {
    return this.#keep(session.session_id, { token, workdir: session.workdir, created, differs, ownTokenId: token_id });
  }

  #keep(id: string, facts: { token: string; workdir: string; ownTokenId: string; created?: boolean; differs?: readonly ("agent" | "model")[] }): Session {
    if (this.#closed !== null) throw new SessiondError("daemon_unreachable", { reason: "this handle is closed" });
    const { hostKey, clientName } = this.#parts;
    const session = new Session(id, { ...facts, calls: this.#calls, hostKey, clientName, closed: (each) => this.#sessions.delete(each) });
    this.#sessions.add(session);
    return session;
  }
}
