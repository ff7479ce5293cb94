import { tokensOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const revokeToken: Handler<"revoke_token"> = async ({ input, grant, daemon }) => ({
  revoked: await (await tokensOf(daemon, grant, input.session_id)).tokens.revoke(input.token_id, grant),
});
