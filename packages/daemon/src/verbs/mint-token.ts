import { tokensOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const mintToken: Handler<"mint_token"> = async ({ input, grant, daemon }) => {
  const { entry, tokens } = await tokensOf(daemon, grant, input.session_id);
  return tokens.mint(
    {
      right: input.right,
      label: input.label,
      life: daemon.host.life(entry).life,
      origin: grant.kind === "host" ? grant.origin : grant.kind,
      keyId: grant.kind === "host" ? grant.reach.keyId : undefined,
      by: grant,
      ...(input.ttl_ms !== undefined && { ttl_ms: input.ttl_ms }),
      ...(grant.kind === "token" && { parent: grant.token.token_id }),
    },
    (tokenId) => daemon.host.holdsSeat(entry.id, tokenId),
  );
};
