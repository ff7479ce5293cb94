import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const forgetRule: Handler<"forget_rule"> = async ({ input, grant, daemon }) => ({
  seq: await (await daemon.host.session(input.session_id)).forgetRule(input.rule_id, actorOf(grant)),
});
