import { negotiate, protocol, rangeText, SessiondError, version } from "@sessiond/shared";
import type { Handler } from "./verb.ts";

export const hello: Handler<"hello"> = async ({ input, daemon }) => {
  const agreed = negotiate(protocol, input.protocol);
  if (agreed === null)
    throw new SessiondError("protocol_mismatch", { client: rangeText(input.protocol), daemon: rangeText(protocol), daemon_version: version });
  return { protocol: agreed, range: protocol, version, boot_id: daemon.bootId, limits: { ...daemon.limits } };
};
