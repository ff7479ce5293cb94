import type { Handler } from "./verb.ts";

export const startOrGetForWorkdir: Handler<"start_or_get_for_workdir"> = ({ input, grant, daemon }) => daemon.starts.startOrGet(input, grant.reach);
