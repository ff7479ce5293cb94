import { SessiondError, type KeyId } from "@sessiond/shared";
import type { HostGrant } from "../gate.ts";

/** The key that a call names, where the caller may see it: others are for him what there is not. @throws SessiondError not_found */
export function governed({ reach }: HostGrant, keyId: KeyId): KeyId {
  if (!reach.governs(keyId)) throw new SessiondError("not_found", { what: "key" });
  return keyId;
}
