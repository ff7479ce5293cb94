import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const approve: Handler<"approve"> = async ({ input, grant }) => {
  const { approval_id: approvalId, option_id: optionId, digest, reason } = input;
  const given = { approvalId, optionId, digest, ...(reason !== undefined && { reason }) };
  const seq = await grant.session.approve(given, actorOf(grant), () => grant.mustStand());
  return { seq, option_id: optionId };
};
