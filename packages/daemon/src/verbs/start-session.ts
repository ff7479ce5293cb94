import type { Handler } from "./verb.ts";

export const startSession: Handler<"start_session"> = ({ input, grant, daemon }) => daemon.starts.start(input, grant.reach);
