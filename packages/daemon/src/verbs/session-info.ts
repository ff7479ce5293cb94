import { infoOf } from "../session/session-log.ts";
import { withLog } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const sessionInfo: Handler<"session_info"> = ({ input, daemon }) => withLog(daemon, input.session_id, async (log, facts) => infoOf(log, facts));
