import type { Handler } from "./verb.ts";

export const authorize: Handler<"authorize"> = async ({ grant }) => {
  const { session_id, token_id, right, label, expires_at } = { session_id: grant.entry.id, ...grant.token };
  return { session_id, token_id, right, label, past_life: grant.pastLife, ...(expires_at !== undefined && { expires_at }) };
};
