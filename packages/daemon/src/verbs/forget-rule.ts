import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const forgetRule: Handler<"forget_rule"> = async ({ input, grant, daemon }) => {
  const session = await daemon.host.session(input.session_id);
  // It may have had to be woken.
  grant.mustStand();
  return { seq: await session.forgetRule(input.rule_id, actorOf(grant)) };
};
