import { SessiondError } from "@sessiond/shared";
import { workdirKey } from "../host/workdir.ts";
import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

/** In the turn of its directory: a start that has just come is waited for, and ended too. */
export const stopWorkdirSession: Handler<"stop_workdir_session"> = async ({ input, grant, daemon }) => {
  const { host } = daemon;
  const workdir = await workdirKey(input.workdir);
  return host.serial.run(`workdir ${workdir}`, async () => {
    const entry = host.options.registry.stableOf(workdir);
    if (entry === undefined || !grant.reach.sees(entry)) throw new SessiondError("not_found", { what: "session" });
    return { session_id: entry.id, ...(await host.stop(entry.id, actorOf(grant), () => grant.mustStand())) };
  });
};
