import { governed } from "./of-key.ts";
import type { Handler } from "./verb.ts";

export const deleteKey: Handler<"delete_key"> = async ({ input, grant, daemon }) => {
  await daemon.keys.delete(governed(grant, input.key_id), grant.reach);
  return { deleted: true };
};
