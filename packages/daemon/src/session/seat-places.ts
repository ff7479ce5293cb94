import { SessiondError, type LimitName, type Limits, type TokenRecord } from "@sessiond/shared";

/**
 * How many seats a session has, and whose. One token takes so many and no more. Tokens that may only look have a part
 * of the places. The last ones are for the owner, who ends the others: each of his tokens gets one of them, where it has no
 * seat yet; children of tokens and what keys were given get none. So there is always room for who may drive, and no token
 * takes the owner's with its children. A seat in its grace has its place as before.
 */
export type Sitter = Pick<TokenRecord, "token_id" | "right" | "parent" | "key_id">;

export interface Place {
  readonly token_id: string;
  readonly share: "view" | "others" | "own";
}

type SeatLimit = Extract<LimitName, "seats_per_token_max" | "seats_of_views_max" | "seats_of_others_max" | "seats_max">;

const ofOneToken = (one: Place, other: Place): boolean => one.token_id === other.token_id;
const any = (): boolean => true;

/** For which comer, beside those who sit, and which seats count. */
const bounds: readonly (readonly [SeatLimit, (comer: Place, taken: readonly Place[]) => boolean, (seat: Place, comer: Place) => boolean])[] = [
  ["seats_per_token_max", any, ofOneToken],
  ["seats_of_views_max", ({ share }) => share === "view", ({ share }) => share === "view"],
  ["seats_of_others_max", (comer, taken) => comer.share !== "own" || taken.some((seat) => ofOneToken(seat, comer)), any],
  ["seats_max", any, any],
];
const hint = "revoke the token whose seats nobody needs (`sessiond token list`, `sessiond token revoke`)";

export function placeOf({ token_id, right, parent, key_id: keyId }: Sitter): Place {
  return { token_id, share: right === "view" ? "view" : parent !== undefined || keyId !== undefined ? "others" : "own" };
}

/** @param taken  all seats, those in their grace too. @throws SessiondError limit_reached */
export function mustFit(comer: Place, taken: readonly Place[], limits: Limits): void {
  const reached = bounds.find(([limit, holds, counts]) => holds(comer, taken) && taken.filter((seat) => counts(seat, comer)).length >= limits[limit]);
  if (reached === undefined) return;
  const [limit] = reached;
  throw new SessiondError("limit_reached", { limit, value: limits[limit], unit: "seats", hint });
}
