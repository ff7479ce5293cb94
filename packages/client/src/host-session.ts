import type { CallOptions } from "./call-limit.ts";
import { SessionHandle } from "./session-handle.ts";
import { waitByWatching } from "./wait-by-watching.ts";
import type { SessionFacts, WaitGoal } from "./wait.ts";

/** A session by its id, through the host key. It cannot attach: seats need a token (`Host.openSession`). */
export class HostSession extends SessionHandle {
  /** Takes no seat, and wakes nothing. */
  override waitFor(goal: WaitGoal, options: CallOptions = {}): Promise<SessionFacts> {
    return waitByWatching({ calls: this.calls, auth: this.auth, sessionId: this.id, goal }, { ...options, closed: this.calls.closed });
  }
}
