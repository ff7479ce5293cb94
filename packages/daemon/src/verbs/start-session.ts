import type { Handler } from "./verb.ts";

export const startSession: Handler<"start_session"> = ({ input, daemon }) => daemon.starts.start(input);
