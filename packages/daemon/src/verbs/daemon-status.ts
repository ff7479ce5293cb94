import type { Handler } from "./verb.ts";

export const daemonStatus: Handler<"daemon_status"> = async ({ daemon }) => daemon.status();
