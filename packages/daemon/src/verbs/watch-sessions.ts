import { SessiondError } from "@sessiond/shared";
import type { WatchFilter } from "../host/host-room.ts";
import type { Reach } from "../host/reach.ts";
import { workdirKey } from "../host/workdir.ts";
import type { Call, Handler } from "./verb.ts";

export const watchSessions: Handler<"watch_sessions"> = async function* ({ input, grant, daemon, reader }) {
  const cursor = input.lastEventId ?? input.cursor;
  const filter = await filterOf(input.filter ?? null, grant.reach);
  // Who comes back is not turned away because one of its sessions was deleted meanwhile: it is told so.
  if (cursor === undefined)
    for (const id of filter.sessionIds ?? []) {
      const entry = daemon.host.entry(id);
      if (entry === undefined || !grant.reach.sees(entry)) throw new SessiondError("not_found", { what: "session" });
    }
  yield* daemon.host.room.watch(filter, cursor, reader);
};

/** @throws SessiondError bad_request  for a filter that says nothing: it is a mistake, not a wish for everything */
async function filterOf(given: NonNullable<Call<"watch_sessions">["input"]["filter"]> | null, reach: Reach): Promise<WatchFilter> {
  if (given === null) return { reach };
  const { session_ids, workdir } = given;
  if (session_ids === undefined && workdir === undefined)
    throw new SessiondError("bad_request", { reason: "an empty filter is refused: leave it out to watch all sessions" });
  return {
    reach,
    ...(session_ids !== undefined && { sessionIds: new Set(session_ids) }),
    ...(workdir !== undefined && { workdir: await workdirKey(workdir) }),
  };
}
