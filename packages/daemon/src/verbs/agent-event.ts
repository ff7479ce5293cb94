import type { Handler } from "./verb.ts";

export const agentEvent: Handler<"agent_event"> = async ({ input, daemon }) => daemon.served.said(input);
