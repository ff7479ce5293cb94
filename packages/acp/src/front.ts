import type { Session } from "@sessiond/client";
import type { Limits } from "@sessiond/shared";
import {
  AcpError,
  acpErrors,
  cancelNotification,
  closeSessionRequest,
  listSessionsRequest,
  loadSessionRequest,
  mustReadAcp,
  newSessionRequest,
  promptRequest,
  setConfigOptionRequest,
  setModeRequest,
  type AcpLoadSessionResponse,
  type AcpNewSessionResponse,
  type IncomingRequest,
  type JsonRpcPeer,
} from "@sessiond/shared/acp";
import { notOpen, told, tooMany } from "./errors.ts";
import { FrontSession, type Opening } from "./front-session.ts";
import type { FrontOptions } from "./options.ts";
import { reach, type Place } from "./place.ts";
import { partsOf } from "./prompt-parts.ts";
import type { ClientFacts } from "./settings.ts";

export interface FrontParts {
  readonly peer: JsonRpcPeer;
  readonly options: FrontOptions;
  readonly limits: Limits;
  readonly client: ClientFacts;
}

interface Opened {
  readonly opening: Promise<FrontSession>;
  session: FrontSession | null;
}

/** Everything that an editor asks beside `initialize`: its sessions, over one connection to the daemon. */
export class Front {
  readonly #parts: FrontParts;
  readonly #open = new Map<string, Opened>();
  readonly #leaving = new AbortController();
  #place: Promise<Place> | null = null;
  /** Sessions that are being found or begun. */
  #finding = 0;

  constructor(parts: FrontParts) {
    this.#parts = parts;
  }

  /** In the order in which they came. @throws AcpError */
  async request(method: string, params: unknown, request: IncomingRequest): Promise<unknown> {
    switch (method) {
      case "session/new":
        return this.#new(mustReadAcp(newSessionRequest, params).cwd, request);
      case "session/load":
        return this.#load(mustReadAcp(loadSessionRequest, params).sessionId, true, request);
      case "session/resume":
        return this.#load(mustReadAcp(loadSessionRequest, params).sessionId, false, request);
      case "session/list": {
        const { cwd, cursor } = mustReadAcp(listSessionsRequest, params);
        return this.#reached((place) => place.list({ cwd, cursor }));
      }
      case "session/close":
        return this.#close(mustReadAcp(closeSessionRequest, params).sessionId);
      case "session/prompt": {
        const { sessionId, prompt } = mustReadAcp(promptRequest, params);
        const parts = partsOf(prompt);
        return this.#in(sessionId, (session) => session.prompt(parts, request.signal));
      }
      case "session/set_mode": {
        const { sessionId, modeId } = mustReadAcp(setModeRequest, params);
        return this.#in(sessionId, (session) => session.configure(() => ({ mode: modeId })));
      }
      case "session/set_config_option": {
        const { sessionId, configId, value } = mustReadAcp(setConfigOptionRequest, params);
        return this.#in(sessionId, async (session) => ({ configOptions: await session.setOption(configId, value) }));
      }
      default:
        throw new AcpError(acpErrors.method_not_found, `There is no method ${method} here.`);
    }
  }

  notification(method: string, params: unknown): void {
    if (method !== "session/cancel") return;
    const { sessionId } = mustReadAcp(cancelNotification, params);
    void this.#in(sessionId, (session) => session.cancel()).catch(() => undefined);
  }

  /** Leaves all sessions, or stops those that were open here. Never fails. */
  async close(): Promise<void> {
    this.#leaving.abort();
    const stop = this.#parts.options.close === "stop";
    await Promise.allSettled([...this.#open.values()].map(async ({ opening }) => closed(await opening, stop)));
    await this.#place?.then(
      (place) => place.close(),
      () => undefined,
    );
  }

  async #new(cwd: string, request: IncomingRequest): Promise<AcpNewSessionResponse> {
    const session = await this.#found((place) => place.start(cwd));
    // The one session of a directory, or of a token, may be open already.
    const before = this.#open.get(session.id);
    if (before !== undefined) void session.close();
    const front = await (before?.opening ?? this.#opened(session, { replay: false, back: false }));
    if (before === undefined) request.afterResponse(() => front.run());
    return { sessionId: front.id, ...front.settings() };
  }

  async #load(sessionId: string, replay: boolean, request: IncomingRequest): Promise<AcpLoadSessionResponse> {
    await this.#leaveBefore(sessionId);
    const session = await this.#found((place) => place.open(sessionId), sessionId);
    try {
      // Another request may have opened it meanwhile: one seat of a session is what is left here.
      while (this.#open.has(sessionId)) await this.#leaveBefore(sessionId);
    } catch (error) {
      void session.close();
      throw error;
    }
    const front = await this.#opened(session, { replay, back: true });
    request.afterResponse(() => front.run());
    return front.settings();
  }

  /** @throws AcpError where a prompt of it is under way */
  async #leaveBefore(sessionId: string): Promise<void> {
    const opened = this.#open.get(sessionId);
    const before = await opened?.opening.catch(() => undefined);
    if (before?.busy) throw new AcpError(acpErrors.invalid_request, "A prompt of this session is under way here.", { code: "turn_in_progress" });
    if (this.#open.get(sessionId) === opened) this.#open.delete(sessionId);
    await before?.leave();
  }

  /** @throws AcpError */
  async #opened(session: Session, how: Opening): Promise<FrontSession> {
    const { id } = session;
    const opened: Opened = {
      session: null,
      opening: this.#reached(async ({ owner }) => {
        const front = await FrontSession.open({ ...this.#parts, session, owner, ended: () => this.#forget(id, opened) }, how);
        return (opened.session = front);
      }, id),
    };
    this.#open.set(id, opened);
    try {
      return await opened.opening;
    } catch (error) {
      this.#forget(id, opened);
      void session.close();
      throw error;
    }
  }

  /** A session to open, where there is room for one. @throws AcpError */
  async #found(find: (place: Place) => Promise<Session>, sessionId?: string): Promise<Session> {
    const { acp_sessions_max } = this.#parts.limits;
    if (this.#open.size + this.#finding >= acp_sessions_max) throw tooMany("acp_sessions_max", acp_sessions_max);
    this.#finding += 1;
    try {
      return await this.#reached(find, sessionId);
    } finally {
      this.#finding -= 1;
    }
  }

  #forget(id: string, opened: Opened): void {
    if (this.#open.get(id) === opened) this.#open.delete(id);
    void opened.session?.leave();
  }

  async #close(sessionId: string): Promise<void> {
    const opened = this.#open.get(sessionId);
    if (opened === undefined) throw notOpen(sessionId);
    this.#open.delete(sessionId);
    await closed(await opened.opening, this.#parts.options.close === "stop");
  }

  /** At once where the session is open, so that what comes in a row is done in that order. @throws AcpError */
  #in<T>(sessionId: string, work: (session: FrontSession) => T | Promise<T>): Promise<T> {
    const opened = this.#open.get(sessionId);
    if (opened === undefined) return Promise.reject(notOpen(sessionId));
    return opened.session === null ? opened.opening.then(work) : Promise.resolve(work(opened.session));
  }

  /** @throws AcpError */
  async #reached<T>(work: (place: Place) => Promise<T>, sessionId?: string): Promise<T> {
    const place = (this.#place ??= reach(this.#parts.options, this.#parts.client.label, this.#leaving.signal));
    try {
      return await work(
        await place.catch((error: unknown) => {
          // One that could not be reached now may be later.
          if (this.#place === place) this.#place = null;
          throw error;
        }),
      );
    } catch (error) {
      throw told(error, sessionId);
    }
  }
}

async function closed(front: FrontSession, stop: boolean): Promise<void> {
  if (stop) await front.session.stop().catch(() => undefined);
  await front.leave();
}
