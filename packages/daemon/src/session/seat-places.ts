import { SessiondError, type LimitName, type Limits, type TokenRecord } from "@sessiond/shared";

/**
 * How many seats a session has, and whose. One token takes so many and no more. Tokens that may only look have a part
 * of the places, and they together with all that are not the owner's own (children of tokens, what keys were given) a
 * larger part: so there is always room for who may drive, and for the owner, who ends the others. A seat in its grace
 * has its place as before.
 */
export type Sitter = Pick<TokenRecord, "token_id" | "right" | "parent" | "key_id">;

export interface Place {
  readonly token_id: string;
  readonly share: "view" | "others" | "own";
}

type SeatLimit = Extract<LimitName, "seats_per_token_max" | "seats_of_views_max" | "seats_of_others_max" | "seats_max">;

/** Which seats count, beside which comer. */
const bounds: readonly (readonly [SeatLimit, (seat: Place, comer: Place) => boolean])[] = [
  ["seats_per_token_max", (seat, comer) => seat.token_id === comer.token_id],
  ["seats_of_views_max", ({ share }) => share === "view"],
  ["seats_of_others_max", ({ share }) => share !== "own"],
  ["seats_max", () => true],
];
const hint = "revoke the token whose seats nobody needs (`sessiond token list`, `sessiond token revoke`)";

export function placeOf({ token_id, right, parent, key_id: keyId }: Sitter): Place {
  return { token_id, share: right === "view" ? "view" : parent !== undefined || keyId !== undefined ? "others" : "own" };
}

/** @param taken  all seats, those in their grace too. @throws SessiondError limit_reached */
export function mustFit(comer: Place, taken: readonly Place[], limits: Limits): void {
  const reached = bounds.find(([limit, counts]) => counts(comer, comer) && taken.filter((seat) => counts(seat, comer)).length >= limits[limit]);
  if (reached === undefined) return;
  const [limit] = reached;
  throw new SessiondError("limit_reached", { limit, value: limits[limit], unit: "seats", hint });
}
