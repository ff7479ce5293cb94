import { SessiondError, type KeyRecord, type Limits } from "@sessiond/shared";

/**
 * How many API keys are kept, and which is forgotten for a new one. Those that keys made have a part of the places, and
 * push out none but their like: so the owner, who ends them, always has room. One that has ended holds no place against
 * a new one. Just not to count them would let the file grow without end; so the one that ended longest ago goes.
 */
type Kept = Pick<KeyRecord, "key_id" | "parent" | "revoked_at" | "expires_at">;

export interface KeyPlaces<T> {
  readonly limits: Limits;
  isAlive(key: T): boolean;
  /** True when it is that key, or was made by it at whatever remove. */
  descends(key: T, ancestor: T): boolean;
}

const never = Number.POSITIVE_INFINITY;
const endedAt = ({ revoked_at: revokedAt = never, expires_at: expiresAt = never }: Kept): number => Math.min(revokedAt, expiresAt);
const isOfKey = ({ parent }: Kept): boolean => parent !== undefined;
const hint = "revoke what nobody needs (`sessiond key ls`, `sessiond key revoke`)";

/** @param byKey  a key makes it. @returns those that are kept beside it. @throws SessiondError limit_reached */
export function withRoom<T extends Kept>(keys: readonly T[], byKey: boolean, places: KeyPlaces<T>): T[] {
  const { limits, isAlive, descends } = places;
  const limit = byKey && keys.filter(isOfKey).length >= limits.keys_of_keys_max ? "keys_of_keys_max" : keys.length >= limits.keys_max ? "keys_max" : null;
  if (limit === null) return [...keys];
  const ended = keys.filter((key) => !isAlive(key) && (!byKey || isOfKey(key)));
  const oldest = ended.toSorted((a, b) => endedAt(a) - endedAt(b))[0];
  if (oldest === undefined) throw new SessiondError("limit_reached", { limit, value: limits[limit], unit: "keys", hint });
  // What it made has ended with it.
  const left = keys.filter((key) => !descends(key, oldest));
  return withRoom(left, byKey, places);
}
