import { SessiondError, type AgentFacts, type EventOf, type SessionState, type VerbOutput, type VerbParsed } from "@sessiond/shared";
import type { AgentKind } from "../agents/agent.ts";

/** What `configure_session` changes: all of it is judged before any of it counts, and one frame carries it. */
export type Settings = Omit<VerbParsed<"configure_session">, "session_id">;
type Given = Omit<EventOf<"session_configured">, "type" | "by">;

/**
 * @returns what is given and is otherwise now, so that a repeat begins no question's clock anew; null when that is nothing
 * @throws SessiondError model_unknown; unsupported for a mode or option that the agent has not
 */
export function judged({ title, starred, model, policy, mode, options }: Settings, now: SessionState, kind: AgentKind | undefined): Given | null {
  if (model !== undefined && kind?.knowsModel(model, optionsTold(now.agent_facts)) !== true) throw new SessiondError("model_unknown", { model });
  mustHave(now.agent_facts, { mode, options });
  const others = Object.entries(options ?? {}).filter(([id, value]) => now.agent_facts.options.find((option) => option.id === id)?.value !== value);
  const given: Given = {
    ...(title !== undefined && title !== now.title && { title }),
    ...(starred !== undefined && starred !== now.starred && { starred }),
    ...(model !== undefined && model !== now.model && { model }),
    ...(policy !== undefined && !isSamePolicy(policy, now.policy) && { policy }),
    ...(mode !== undefined && mode !== now.agent_facts.mode && { mode }),
    ...(others.length > 0 && { options: Object.fromEntries(others) }),
  };
  return Object.keys(given).length === 0 ? null : given;
}

/** What nobody has told of cannot be set: an agent that has not run has told of nothing. */
function mustHave({ modes, options }: AgentFacts, wanted: Pick<Settings, "mode" | "options">): void {
  if (wanted.mode !== undefined && !modes.some((mode) => mode.id === wanted.mode)) throw none("mode", wanted.mode, modes);
  for (const [id, value] of Object.entries(wanted.options ?? {})) {
    const option = options.find((each) => each.id === id);
    if (option === undefined) throw none("option", id, options);
    if (option.type === "boolean" ? typeof value === "boolean" : option.choices.some((choice) => choice.id === value)) continue;
    const choices = option.type === "boolean" ? [{ id: "true" }, { id: "false" }] : option.choices;
    throw none(`value of ${id}`, String(value), choices);
  }
}

function none(what: string, wanted: string, there: readonly { readonly id: string }[]): SessiondError {
  const has = there.length === 0 ? `; it has told of none, and tells when it first runs` : `; there are ${there.map(({ id }) => id).join(", ")}`;
  return new SessiondError("unsupported", { reason: `the agent has no ${what} ${JSON.stringify(wanted)}${has}` });
}

export const isSamePolicy = (one: SessionState["policy"], other: SessionState["policy"]): boolean =>
  one.type === "hold" ? other.type === "hold" : other.type === "reject_after" && one.ms === other.ms;

export const settingsOf = ({ title, starred, model, policy, agent_facts }: SessionState): Omit<VerbOutput<"configure_session">, "seq"> => ({
  title,
  starred,
  model,
  policy,
  mode: agent_facts.mode,
  options: Object.fromEntries(agent_facts.options.map(({ id, value }) => [id, value])),
});

/** Null before the agent has run: then it has told nothing, and nobody knows. */
const optionsTold = ({ conversation, options }: AgentFacts) => (conversation === null ? null : options);
