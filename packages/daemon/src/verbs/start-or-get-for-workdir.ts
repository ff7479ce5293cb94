import type { Handler } from "./verb.ts";

export const startOrGetForWorkdir: Handler<"start_or_get_for_workdir"> = ({ input, daemon }) => daemon.starts.startOrGet(input);
