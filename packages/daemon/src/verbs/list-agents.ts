import type { Handler } from "./verb.ts";

export const listAgents: Handler<"list_agents"> = async ({ daemon }) => {
  await daemon.host.look();
  return { agents: daemon.host.agents() };
};
