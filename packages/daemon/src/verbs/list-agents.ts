import type { Handler } from "./verb.ts";

export const listAgents: Handler<"list_agents"> = async ({ daemon }) => ({
  agents: [...daemon.host.options.kinds.values()].filter((kind) => kind.isOffered?.() !== false).map((kind) => kind.info()),
});
