import type { Handler } from "./verb.ts";

export const listKeys: Handler<"list_keys"> = async ({ grant, daemon }) => ({ keys: daemon.keys.list().filter(({ key_id }) => grant.reach.governs(key_id)) });
