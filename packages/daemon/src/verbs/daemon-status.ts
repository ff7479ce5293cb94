import type { Handler } from "./verb.ts";

export const daemonStatus: Handler<"daemon_status"> = ({ daemon }) => daemon.status();
