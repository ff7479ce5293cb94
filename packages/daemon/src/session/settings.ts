import { SessiondError, type EventOf, type SessionState, type VerbOutput, type VerbParsed } from "@sessiond/shared";
import type { AgentKind } from "../agents/agent.ts";

/** What `configure_session` changes: all of it is judged before any of it counts, and one frame carries it. */
export type Settings = Omit<VerbParsed<"configure_session">, "session_id">;
type Given = Omit<EventOf<"session_configured">, "type" | "by">;

/**
 * @returns what is given and is otherwise now, so that a repeat begins no question's clock anew; null when that is nothing
 * @throws SessiondError model_unknown
 */
export function judged({ title, starred, model, policy }: Settings, now: SessionState, kind: AgentKind | undefined): Given | null {
  if (model !== undefined && kind?.knowsModel(model) !== true) throw new SessiondError("model_unknown", { model });
  const given: Given = {
    ...(title !== undefined && title !== now.title && { title }),
    ...(starred !== undefined && starred !== now.starred && { starred }),
    ...(model !== undefined && model !== now.model && { model }),
    ...(policy !== undefined && !isSamePolicy(policy, now.policy) && { policy }),
  };
  return Object.keys(given).length === 0 ? null : given;
}

export const isSamePolicy = (one: SessionState["policy"], other: SessionState["policy"]): boolean =>
  one.type === "hold" ? other.type === "hold" : other.type === "reject_after" && one.ms === other.ms;

export const settingsOf = ({ title, starred, model, policy }: SessionState): Omit<VerbOutput<"configure_session">, "seq"> => ({
  title,
  starred,
  model,
  policy,
});
