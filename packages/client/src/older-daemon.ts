import { emptyState, type AgentInfo, type SessionInfo, type SessionState } from "@sessiond/shared";

/**
 * What a daemon of before does not tell, of the same protocol: its fields are as where there is nothing to be told. Newer
 * fields are added to answers without another protocol; who reads them finds them always.
 */
export const stateOf = (told: SessionState): SessionState => ({ ...emptyState(told.session_id), ...told });

export function infoOf(told: SessionInfo): SessionInfo {
  const { plan, agent_facts, chosen } = emptyState(told.session_id);
  return { ...{ plan, agent_facts, chosen }, ...told };
}

export const agentOf = (told: AgentInfo): AgentInfo => ({ ...{ kind: "built_in" }, ...told });
