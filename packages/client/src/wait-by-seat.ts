import { untilAnswered } from "./backoff.ts";
import { callLimit, orAborted } from "./call-limit.ts";
import { handleClosed } from "./connection.ts";
import type { Session } from "./session.ts";
import { reached, type SessionFacts, type WaitGoal, type WaitLimits } from "./wait.ts";

/** A wait with a token alone: where it is not so yet, from a viewer's seat that is left afterwards. */
export async function waitBySeat(session: Session, goal: WaitGoal, { timeoutMs, signal: caller, closed }: WaitLimits): Promise<SessionFacts> {
  const limit = callLimit(timeoutMs, caller, closed);
  const { signal } = limit;
  try {
    const already = reached(goal, await untilAnswered(() => session.info({ signal }), { signal }));
    if (already !== null) return already;
    const seat = await untilAnswered(() => session.attach({ as: "viewer", signal }), { signal });
    try {
      for (;;) {
        const facts = reached(goal, { ...seat.state, fault: seat.fault });
        if (facts !== null) return facts;
        if (seat.connection === "ended") throw (await seat.ended) ?? handleClosed();
        await orAborted(seat.changed(), signal);
      }
    } finally {
      await seat.detach();
    }
  } finally {
    limit.release();
  }
}
