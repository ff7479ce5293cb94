import type { Handler } from "./verb.ts";

export const detach: Handler<"detach"> = async ({ grant: { session, seat } }) => {
  const seq = session.seats.detach(seat.seat_id);
  if (seq > 0) await session.log.durable(seq);
  return { seq };
};
