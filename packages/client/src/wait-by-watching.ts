import { SessiondError, type Auth, type VerbOutput } from "@sessiond/shared";
import { Backoff, untilAnswered } from "./backoff.ts";
import { callLimit, orAborted } from "./call-limit.ts";
import { handleClosed, type Connection } from "./connection.ts";
import { SessionWatch } from "./session-watch.ts";
import { reached, type SessionFacts, type WaitGoal, type WaitLimits } from "./wait.ts";
import type { WatchedSession } from "./watched-session.ts";

/** What can be asked; a connection, and nothing else of it. */
export interface Asking {
  readonly calls: Pick<Connection, "call">;
}

export interface Waiting extends Asking {
  readonly calls: Connection;
  /** The host key. */
  readonly auth: Auth;
  readonly sessionId: string;
  readonly goal: WaitGoal;
}

/** A wait with the host key: the watch says when to look; a session that is not in memory is not woken for it. */
export async function waitByWatching(waiting: Waiting, { timeoutMs, signal, closed }: WaitLimits): Promise<SessionFacts> {
  const { calls, auth, sessionId } = waiting;
  const limit = callLimit(timeoutMs, signal, closed);
  const watch = new SessionWatch({ calls, auth }, { sessionIds: [sessionId] });
  try {
    for (;;) {
      // Before the look: what changes during it must not be missed.
      const changed = watch.changed();
      if (watch.connection === "ended") throw (await watch.ended) ?? handleClosed();
      if (watch.listed) {
        const found = watch.sessions.get(sessionId);
        if (found === undefined) throw new SessiondError("not_found", { what: "session" });
        const facts = await look(waiting, found, limit.signal);
        if (facts !== null) return facts;
      }
      await orAborted(changed, limit.signal);
    }
  } finally {
    watch.close();
    limit.release();
  }
}

async function look({ calls, auth, sessionId, goal }: Waiting, found: WatchedSession, signal: AbortSignal): Promise<SessionFacts | null> {
  const { session_id, workdir, life_state, status, approvals = [] } = found;
  const atRest: SessionFacts = { session_id, workdir, life_state, approvals };
  if (life_state === "stopped") {
    if (goal === "stopped") return atRest;
    throw new SessiondError("session_stopped");
  }
  if (goal === "stopped") return null;
  if (life_state === "resting") return goal === "idle" && (await staysAtRest({ calls, auth, sessionId }, workdir, signal)) ? atRest : null;
  const worthAsking = goal === "idle" ? status === "idle" || status === "error" : approvals.length > 0;
  if (!worthAsking) return null;
  return reached(goal, await untilAnswered(() => calls.call("session_info", { session_id }, auth, { signal }), { signal }));
}

/**
 * A daemon that is leaving puts to rest what another one will wake, and one that has just begun
 * has not yet woken what had work: rest is idleness only between the two.
 */
export async function staysAtRest(
  { calls, auth, sessionId }: Pick<Waiting, "auth" | "sessionId"> & Asking,
  workdir: string,
  signal: AbortSignal,
): Promise<boolean> {
  const before = await untilReady(calls, auth, signal);
  let atRest = false;
  let from: string | undefined;
  do {
    const input = { workdir, life_state: "resting", after: from, limit: 500 } as const;
    const { sessions, next } = await untilAnswered(() => calls.call("list_sessions", input, auth, { signal }), { signal });
    atRest = sessions.some(({ session_id }) => session_id === sessionId);
    from = next ?? undefined;
  } while (!atRest && from !== undefined);
  const after = await untilReady(calls, auth, signal);
  return atRest && before.boot_id === after.boot_id;
}

/** @returns the status of a daemon that has opened all that it found, and is not leaving */
export async function untilReady(calls: Asking["calls"], auth: Auth, signal: AbortSignal): Promise<VerbOutput<"daemon_status">> {
  const backoff = new Backoff();
  for (;;) {
    const status = await untilAnswered(() => calls.call("daemon_status", {}, auth, { signal }), { signal });
    if (status.ready && !status.draining) return status;
    await backoff.wait(signal);
  }
}
