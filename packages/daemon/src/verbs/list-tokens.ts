import { tokensOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const listTokens: Handler<"list_tokens"> = async ({ input, grant, daemon }) => ({
  tokens: (await tokensOf(daemon, grant, input.session_id)).tokens.list(),
});
