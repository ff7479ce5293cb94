import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const stop: Handler<"stop"> = ({ input, grant, daemon }) => daemon.host.stop(input.session_id, actorOf(grant));
