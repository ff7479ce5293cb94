import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

/** A token ends its own life of the session, and no later one. */
export const stop: Handler<"stop"> = ({ input, grant, daemon }) =>
  daemon.host.stop(input.session_id, actorOf(grant), () => grant.mustStand(), grant.kind === "token" ? grant.token.life : undefined);
