import { resolveRoot } from "../host/workdir.ts";
import type { Handler } from "./verb.ts";

export const createKey: Handler<"create_key"> = async ({ input, grant, daemon }) => {
  const { name, scopes, ttl_ms: ttlMs } = input;
  const roots = await Promise.all(input.roots.map((root) => resolveRoot(root, grant.reach)));
  return daemon.keys.create({ name, scopes, roots, ttlMs }, grant.reach);
};
