import type { Handler } from "./verb.ts";

export const interrupt: Handler<"interrupt"> = async ({ input, grant, daemon }) =>
  (await daemon.host.session(input.session_id)).interrupt(input.turn_id, () => grant.mustStand());
