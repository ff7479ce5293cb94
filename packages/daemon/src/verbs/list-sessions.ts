import { workdirKey } from "../host/workdir.ts";
import type { Handler } from "./verb.ts";

export const listSessions: Handler<"list_sessions"> = async ({ input, grant, daemon }) => {
  const { workdir, life_state, after, limit = 100 } = input;
  const key = workdir === undefined ? undefined : await workdirKey(workdir);
  const matching = daemon.host
    .list(grant.reach)
    .filter((entry) => (key === undefined || entry.workdir === key) && (life_state === undefined || entry.life_state === life_state));
  const from = after === undefined ? 0 : matching.findIndex((entry) => entry.session_id === after) + 1;
  const sessions = matching.slice(from, from + limit);
  return { sessions, next: from + limit < matching.length ? (sessions.at(-1)?.session_id ?? null) : null };
};
