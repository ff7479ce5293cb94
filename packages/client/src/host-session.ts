import type { Auth } from "@sessiond/shared";
import type { CallOptions } from "./call-limit.ts";
import type { Connection } from "./connection.ts";
import { isApiKey } from "./key-ring.ts";
import { SessionHandle } from "./session-handle.ts";
import type { Session } from "./session.ts";
import { waitByWatching } from "./wait-by-watching.ts";
import type { SessionFacts, WaitGoal } from "./wait.ts";

export interface HostSessionParts {
  readonly id: string;
  readonly auth: Auth;
  /** With a token that may look. */
  readonly open: (options: CallOptions) => Promise<Session>;
}

/** A session by its id, through the host's credential. It cannot attach: seats need a token (`Host.openSession`). */
export class HostSession extends SessionHandle {
  readonly #open: HostSessionParts["open"];

  constructor(calls: Connection, { id, auth, open }: HostSessionParts) {
    super(calls, { id, auth });
    this.#open = open;
  }

  /** By the host key it takes no seat, and wakes nothing; by an API key it takes a viewer's meanwhile. */
  override async waitFor(goal: WaitGoal, options: CallOptions = {}): Promise<SessionFacts> {
    const { calls, auth, id: sessionId } = this;
    if (!isApiKey(auth)) return waitByWatching({ calls, auth, sessionId, goal }, { ...options, closed: calls.closed });
    const session = await this.#open(options);
    try {
      return await session.waitFor(goal, options);
    } finally {
      await session.close();
    }
  }
}
