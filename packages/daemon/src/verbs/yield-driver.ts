import type { Handler } from "./verb.ts";

export const yieldDriver: Handler<"yield_driver"> = async ({ input, grant: { session, seat } }) => {
  const seq = await session.seats.wheel.yield(seat.seat_id, input.to);
  const driver = session.seats.driver() ?? null;
  await session.log.durable(seq);
  return { seq, driver };
};
