import { SessiondError, type Limits } from "@sessiond/shared";
import type { StoredToken } from "./session-file.ts";

/**
 * How many tokens of a session live at a time, and whose goes for a new one. The owner's own are those that the
 * host key gave; all others, children of tokens and what keys were given, have a part of the places: so the owner,
 * who ends them, is locked out by none of them. What goes is a start token of the very kind that comes: the owner's
 * for the owner's, a key's for the same key's, and none for a child.
 */
type Whose = Pick<StoredToken, "parent" | "key_id">;

export interface Places {
  readonly limits: Limits;
  /** Nobody is on it: no seat, no stream. */
  isFree(token: StoredToken): boolean;
  lastUse(token: StoredToken): number;
}

const isOthers = ({ parent, key_id }: Whose): boolean => parent !== undefined || key_id !== undefined;
const hint = "revoke what nobody needs (`sessiond token list`, `sessiond token revoke`)";

/**
 * @param living  all that live
 * @returns the one that is displaced; undefined where there is room
 * @throws SessiondError limit_reached
 */
export function displacedBy(comer: Whose, living: readonly StoredToken[], { limits, isFree, lastUse }: Places): StoredToken | undefined {
  const limit =
    isOthers(comer) && living.filter(isOthers).length >= limits.tokens_of_others_max
      ? "tokens_of_others_max"
      : living.length >= limits.tokens_live_max
        ? "tokens_live_max"
        : null;
  if (limit === null) return undefined;
  // One with children is kept: they were minted, and would end with it.
  const parents = new Set(living.map((token) => token.parent));
  const isKin = ({ origin, key_id: keyId }: StoredToken) => origin === "start" && comer.parent === undefined && keyId === comer.key_id;
  const candidates = living.filter((token) => isKin(token) && !parents.has(token.token_id) && isFree(token));
  const oldest = candidates.sort((a, b) => lastUse(a) - lastUse(b))[0];
  if (oldest === undefined) throw new SessiondError("limit_reached", { limit, value: limits[limit], unit: "tokens", hint });
  return oldest;
}
