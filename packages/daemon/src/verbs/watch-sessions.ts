import { SessiondError } from "@sessiond/shared";
import type { WatchFilter } from "../host/host-room.ts";
import { workdirKey } from "../host/workdir.ts";
import type { Call, Handler } from "./verb.ts";

export const watchSessions: Handler<"watch_sessions"> = async function* ({ input, daemon, reader }) {
  const cursor = input.lastEventId ?? input.cursor;
  const filter = await filterOf(input.filter ?? null);
  // Who comes back is not turned away because one of its sessions was deleted meanwhile: it is told so.
  if (cursor === undefined)
    for (const id of filter.sessionIds ?? []) if (daemon.host.entry(id) === undefined) throw new SessiondError("not_found", { what: "session" });
  yield* daemon.host.room.watch(filter, cursor, reader);
};

/** @throws SessiondError bad_request  for a filter that says nothing: it is a mistake, not a wish for everything */
async function filterOf(given: NonNullable<Call<"watch_sessions">["input"]["filter"]> | null): Promise<WatchFilter> {
  if (given === null) return {};
  const { session_ids, workdir } = given;
  if (session_ids === undefined && workdir === undefined)
    throw new SessiondError("bad_request", { reason: "an empty filter is refused: leave it out to watch all sessions" });
  return { ...(session_ids !== undefined && { sessionIds: new Set(session_ids) }), ...(workdir !== undefined && { workdir: await workdirKey(workdir) }) };
}
