import { governed } from "./of-key.ts";
import type { Handler } from "./verb.ts";

export const revokeKey: Handler<"revoke_key"> = async ({ input, grant, daemon }) => ({
  revoked: await daemon.keys.revoke(governed(grant, input.key_id), grant.reach),
});
