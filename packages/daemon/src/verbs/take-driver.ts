import type { Handler } from "./verb.ts";

export const takeDriver: Handler<"take_driver"> = async ({ input, grant: { session, seat } }) => {
  const taken = await session.seats.wheel.take(seat.seat_id, { how: input.how, from: input.driver_seat_id });
  const driver = session.seats.driver() ?? null;
  await session.log.durable(taken.seq);
  return { ...taken, driver };
};
