import type { AgentSettings } from "../../agent-settings.ts";
import type { AgentKind } from "../agent.ts";
import { acpKind, type AcpOptions } from "./kind.ts";
import { knownAgents } from "./known-agents.ts";

/** All agents of other makers: those of config.toml first, then the ready entries whose names it does not take. */
export function acpKinds(configured: readonly AgentSettings[], options: Omit<AcpOptions, "configured">): AgentKind[] {
  const own = configured.map((entry) => {
    const { install, login } = knownAgents.find(({ name, command }) => name === entry.name && command === entry.command) ?? {};
    return acpKind({ ...entry, install, login }, { ...options, configured: true });
  });
  const ready = knownAgents.filter(({ name }) => !configured.some((entry) => entry.name === name));
  return [...own, ...ready.map((entry) => acpKind(entry, { ...options, configured: false }))];
}
