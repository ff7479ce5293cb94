import { governed } from "./of-key.ts";
import type { Handler } from "./verb.ts";

export const rotateKey: Handler<"rotate_key"> = async ({ input, grant, daemon }) =>
  daemon.keys.rotate(governed(grant, input.key_id), input.overlap_ms ?? 0, grant.reach);
