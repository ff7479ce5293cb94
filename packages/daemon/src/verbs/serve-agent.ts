import type { Handler } from "./verb.ts";

export const serveAgent: Handler<"serve_agent"> = ({ input, daemon, reader }) => daemon.served.serve(input, reader);
