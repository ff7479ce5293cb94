import { readFileSync, statSync } from "node:fs";
import { isSessiondError, readToken, SessiondError, type Host, type Session } from "@sessiond/client";
import { connect, sessionFromToken } from "@sessiond/client/node";
import type { AcpListSessionsResponse, AcpSessionInfo } from "@sessiond/shared/acp";
import { notOpen } from "./errors.ts";
import type { FrontOptions } from "./options.ts";

/** Where sessions come from: the owner's daemon, found or started, or one session's token. */
export interface Place {
  /** The owner minted the tokens of its sessions. */
  readonly owner: boolean;
  start(cwd: string): Promise<Session>;
  /** One that there is; of a stopped one, its next life. */
  open(sessionId: string): Promise<Session>;
  list(filter: { readonly cwd?: string | undefined; readonly cursor?: string | undefined }): Promise<AcpListSessionsResponse>;
  /** Never fails. */
  close(): Promise<void>;
}

/** @param label  how others see what this connection does. @throws SessiondError */
export async function reach(options: FrontOptions, label: string, signal: AbortSignal): Promise<Place> {
  if (options.tokenFile !== undefined) return new TokenPlace(tokenIn(options.tokenFile), label);
  return new OwnersPlace(await connect({ clientName: label, signal }), options);
}

class OwnersPlace implements Place {
  readonly owner = true;
  readonly #host: Host;
  readonly #options: FrontOptions;

  constructor(host: Host, options: FrontOptions) {
    this.#host = host;
    this.#options = options;
  }

  start(cwd: string): Promise<Session> {
    const { agent, model, workdir } = this.#options;
    return workdir === undefined ? this.#host.startSession({ workdir: cwd, agent, model }) : this.#host.sessionForWorkdir(workdir, { agent, model });
  }

  async open(sessionId: string): Promise<Session> {
    const before = await this.#host.session(sessionId).info();
    if (before.life_state !== "stopped") return this.#host.openSession(sessionId);
    // As it was: above all in no weaker sandbox.
    const { agent = before.agent, model = before.model || undefined } = this.#options;
    const { policy, sandbox } = before;
    return this.#host.startSession({ sessionId, agent, model, policy, sandbox });
  }

  async list({ cwd, cursor }: { readonly cwd?: string | undefined; readonly cursor?: string | undefined }): Promise<AcpListSessionsResponse> {
    const { sessions, next } = await this.#host.listSessions({ workdir: cwd, after: cursor });
    return { sessions: sessions.map(entryOf), ...(next !== null && { nextCursor: next }) };
  }

  close(): Promise<void> {
    return this.#host.close();
  }
}

class TokenPlace implements Place {
  readonly owner = false;
  readonly #token: string;
  readonly #label: string;

  constructor(token: string, label: string) {
    this.#token = token;
    this.#label = label;
  }

  start(): Promise<Session> {
    return sessionFromToken(this.#token, { clientName: this.#label });
  }

  async open(sessionId: string): Promise<Session> {
    if (readToken(this.#token)?.sessionId !== sessionId) throw notOpen(sessionId);
    return this.start();
  }

  async list({ cwd }: { readonly cwd?: string | undefined }): Promise<AcpListSessionsResponse> {
    const session = await sessionFromToken(this.#token, { clientName: this.#label });
    try {
      const info = await session.info();
      return { sessions: cwd === undefined || cwd === info.workdir ? [entryOf(info)] : [] };
    } finally {
      await session.close();
    }
  }

  /** Each session has a connection of its own, and who got it closes it. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}

interface Listed {
  readonly session_id: string;
  readonly workdir: string;
  readonly created_at: number;
  readonly status_since?: number | undefined;
  readonly title?: string | null | undefined;
}

const entryOf = ({ session_id, workdir, title, status_since, created_at }: Listed): AcpSessionInfo => ({
  sessionId: session_id,
  cwd: workdir,
  ...(title != null && { title }),
  updatedAt: new Date(status_since || created_at).toISOString(),
});

/** @throws SessiondError unauthenticated, with the reason */
function tokenIn(file: string): string {
  let text: string;
  try {
    if (statSync(file).isFile() && (statSync(file).mode & 0o077) !== 0)
      throw new SessiondError("unauthenticated", { reason: `${file} is open to others, so its token is not used; chmod 600 closes it` });
    text = readFileSync(file, "utf8").trim();
  } catch (error) {
    if (isSessiondError(error)) throw error;
    throw new SessiondError("unauthenticated", { reason: `${file} cannot be read` }, { cause: error });
  }
  if (readToken(text) === null)
    throw new SessiondError("unauthenticated", { reason: `${file} holds no whole token (ssd_…), and nothing else may stand in it` });
  return text;
}
