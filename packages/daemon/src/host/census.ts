import { schemas, type Role, type Status } from "@sessiond/shared";
import type { Host } from "./host.ts";

/** How many there are of what, now; by kinds that are known beforehand, never by name. */
export interface Census {
  readonly lifeStates: Readonly<Record<"live" | "resting" | "stopped", number>>;
  /** Of the live ones. */
  readonly statuses: Readonly<Record<Status, number>>;
  readonly faulted: number;
  readonly seats: Readonly<Record<Role, number>>;
  readonly turnsRunning: number;
  readonly approvalsPending: number;
  readonly promptsQueued: number;
  /** How many frames each stream of a session is behind its newest. */
  readonly lags: readonly number[];
}

/** Cost: one pass over all sessions that are known. */
export function census(host: Host): Census {
  // At the end of a drain those at rest are in memory still.
  const awake = host.awake.filter((session) => !session.atRest).map((session) => session.log);
  const states = awake.map((log) => log.shown.state);
  const listed = host.list();
  const sum = (of: (state: (typeof states)[number]) => number): number => states.reduce((total, state) => total + of(state), 0);
  const seatsOf = (role: Role): number => sum((state) => state.seats.filter((seat) => seat.role === role).length);
  const inLifeState = (lifeState: string): number => listed.filter((session) => session.life_state === lifeState).length;
  return {
    lifeStates: { live: inLifeState("live"), resting: inLifeState("resting"), stopped: inLifeState("stopped") },
    statuses: countOf(schemas.status.options, (status) => states.filter((state) => state.life_state === "live" && state.status === status).length),
    faulted: awake.filter((log) => log.room.fault !== undefined).length,
    seats: { driver: seatsOf("driver"), viewer: seatsOf("viewer") },
    turnsRunning: states.filter((state) => state.turn !== null).length,
    approvalsPending: sum((state) => state.approvals.length),
    promptsQueued: sum((state) => state.queue.length),
    lags: awake.flatMap((log) => log.room.lags),
  };
}

const countOf = <K extends string>(kinds: readonly K[], count: (kind: K) => number): Record<K, number> =>
  Object.fromEntries(kinds.map((kind) => [kind, count(kind)])) as Record<K, number>;
