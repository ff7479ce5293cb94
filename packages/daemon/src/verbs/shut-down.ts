import type { Handler } from "./verb.ts";

export const shutDown: Handler<"shut_down"> = async ({ input, daemon }) => {
  daemon.shutDown(input.wait_ms ?? daemon.limits.drain_wait_ms);
  return { pid: process.pid, draining: true };
};
