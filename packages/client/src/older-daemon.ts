import { emptyState, type SessionState, type VerbName, type VerbOutput } from "@sessiond/shared";

/**
 * What a daemon of before does not tell, of the same protocol: its fields are as where there is nothing to be told. Newer
 * fields are added to answers without another protocol; who reads them finds them always.
 */
export const stateOf = (told: SessionState): SessionState => ({ ...emptyState(told.session_id), ...told });

const whole: { readonly [V in VerbName]?: (told: VerbOutput<V>) => VerbOutput<V> } = {
  session_info(told) {
    const { plan, agent_facts, chosen } = emptyState(told.session_id);
    return { ...{ plan, agent_facts, chosen }, ...told };
  },
  list_agents: ({ agents }) => ({ agents: agents.map((told) => ({ ...{ kind: "built_in" }, ...told })) }),
  configure_session: (told) => ({ ...{ mode: null, options: {} }, ...told }),
};

export const answerOf = <V extends VerbName>(verb: V, told: VerbOutput<V>): VerbOutput<V> => whole[verb]?.(told) ?? told;
