import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const approve: Handler<"approve"> = async ({ input, grant }) => {
  const { approval_id: approvalId, option_id: optionId, digest, reason } = input;
  const seq = await grant.session.approve({ approvalId, optionId, digest, ...(reason !== undefined && { reason }) }, actorOf(grant));
  return { seq, option_id: optionId };
};
