import type { Handler } from "./verb.ts";

export const listAgents: Handler<"list_agents"> = async ({ daemon }) => ({ agents: daemon.host.agents() });
