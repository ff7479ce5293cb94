import { SessiondError, type Fault, type SessionInfo, type SessionState } from "@sessiond/shared";
import type { CallOptions } from "./call-limit.ts";

/** What can be waited for; see `SessionHandle.waitFor`. */
export type WaitGoal = "idle" | "approval" | "stopped";

/** What bounds a wait. */
export interface WaitLimits extends CallOptions {
  /** Aborts when its handle is closed. */
  readonly closed: AbortSignal;
}

/** How a session was found when the waiting was over: what is there is a part of its `info`. */
export interface SessionFacts extends Pick<SessionInfo, "session_id" | "workdir" | "life_state"> {
  /** From here on: absent where the session is not in memory and was not woken for it. */
  readonly status?: SessionInfo["status"];
  readonly status_since?: number;
  readonly last_turn?: SessionInfo["last_turn"];
  readonly fault?: Fault;
  /** Open questions, without their inputs. */
  readonly approvals: readonly { readonly approval_id: string; readonly tool: string; readonly asked_at: number }[];
}

type Seen = (SessionInfo | SessionState) & { readonly fault?: Fault | undefined };

/**
 * @returns the facts, or null while it is not so
 * @throws SessiondError `session_stopped` when it will not come any more
 */
export function reached(goal: WaitGoal, seen: Seen): SessionFacts | null {
  if (goal === "stopped") return seen.life_state === "stopped" ? factsOf(seen) : null;
  if (seen.life_state === "stopped") throw new SessiondError("session_stopped");
  if (goal === "approval") return seen.approvals.length > 0 ? factsOf(seen) : null;
  // A prompt that is not held is about to run.
  return seen.turn === null && seen.queue.every(({ held }) => held) ? factsOf(seen) : null;
}

const factsOf = ({ session_id, workdir, life_state, status, status_since, last_turn, fault, approvals }: Seen): SessionFacts => ({
  session_id,
  workdir,
  life_state,
  status,
  status_since,
  last_turn,
  approvals: approvals.map(({ approval_id, tool, asked_at }) => ({ approval_id, tool, asked_at })),
  ...(fault && { fault }),
});
