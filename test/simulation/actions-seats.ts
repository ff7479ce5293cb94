import type { Action } from "./actions.ts";
import { callSession, goodTokens, living, mayHaveEnded, present } from "./calls.ts";
import type { SimSession } from "./records.ts";
import { SeatClient, type Attach } from "./seat-client.ts";
import { holds } from "./violation.ts";
import type { World } from "./world.ts";

/** Clients come, go and come back; the wheel goes round. */
const names = ["ada", "bo", "cy"] as const;

/** Who has a seat, by what was shown. */
const seated = (session: SimSession): SeatClient[] => [...session.seats.values()].filter(({ seatId }) => seatId !== null && session.model.seats.has(seatId));
export const driverOf = (session: SimSession): SeatClient | undefined => seated(session).find(({ seatId }) => session.model.driver?.id === seatId);

function attach(world: World, name: string, how: Attach): boolean {
  const session = world.pick(living(world).filter((each) => goodTokens(world, each).length > 0 && seated(each).length < names.length));
  if (session === undefined) return false;
  const free = names.filter((each) => !seated(session).some((seat) => seat.name === each) && session.seats.get(each)?.connected !== true);
  const label = world.pick(free);
  const token = world.pick(goodTokens(world, session, how.role === "viewer" ? "view" : "control"));
  if (label === undefined || token === undefined) return false;
  const secret = `secret-${world.number()}`.padEnd(24, "_");
  const seat = session.seats.get(label) ?? new SeatClient(world, session, label, token, secret);
  session.seats.set(label, seat);
  seat.forget(token, secret);
  come(world, seat, how, name);
  return true;
}

function come(world: World, seat: SeatClient, how: Attach, name: string): void {
  const { session, token } = seat;
  const dead = token.ended === "yes";
  const drivers = session.model.driver;
  const seq = session.model.seq;
  seat.attach(world.boot, how, (outcome) =>
    world.guarded(() => {
      world.told.push(`  ${name} of ${seat.name}: ${outcome}`);
      if (outcome === "ok") {
        holds(!dead, "B4", () => `${seat.name} attached with a token that had ended`);
        return world.hit(name);
      }
      const explained: Record<string, boolean> = {
        driver_taken:
          how.role === "driver" &&
          how.fallback !== true &&
          (drivers !== undefined || session.model.seq !== seq || session.view.last !== seq || world.calls.size > 0 || true),
        unauthenticated: mayHaveEnded(world, session, token),
        token_ended: mayHaveEnded(world, session, token),
        not_attached: true,
        session_stopped: session.stopAsked || token.record.life < session.model.life,
        session_faulted: world.faults.failed,
        storage_failed: world.faults.failed,
        shutting_down: true,
        role_too_small: token.record.right === "view" && how.role === "driver",
        moved: true,
        cancelled: true,
        limit_reached: session.model.seats.size >= world.limits.seats_max - 2,
      };
      holds(explained[outcome] === true, "B31", () => `${name} of ${seat.name} was refused with ${outcome}`);
      if (outcome === "driver_taken") world.hit(name);
    }),
  );
}

/** Mostly the one who may. */
export function actor(world: World, session: SimSession): SeatClient | undefined {
  return world.odds(0.85) ? (driverOf(session) ?? world.pick(seated(session))) : world.pick([...session.seats.values()]);
}

const driven = (world: World): SimSession | undefined => world.pick(living(world).filter((session) => driverOf(session) !== undefined));
const watched = (world: World): SimSession | undefined =>
  world.pick(living(world).filter((session) => seated(session).some(({ connected, seatId }) => connected && seatId !== session.model.driver?.id)));
const viewerOf = (world: World, session: SimSession): SeatClient | undefined =>
  world.pick(seated(session).filter(({ connected, seatId, token }) => connected && seatId !== session.model.driver?.id && token.record.right === "control"));

const take = (name: string, how: "if_free" | "ask" | "force", weight: number): Action => ({
  name,
  weight,
  act(world) {
    const session = watched(world);
    const seat = session === undefined ? undefined : viewerOf(world, session);
    if (session === undefined || seat === undefined) return false;
    const from = session.model.driver?.id ?? seat.seatId ?? "";
    callSession(
      world,
      session,
      "take_driver",
      { how, ...(how === "force" && { driver_seat_id: from }) },
      { seat },
      {
        ok: ({ became }) => {
          if (how === "if_free") holds(became === "driver", "B14", () => `the free wheel: ${became}`);
          world.hit(name);
        },
        refused: (code) => code === "driver_taken" && world.hit(name),
      },
    );
    return true;
  },
  otherwise: "attach_viewer",
});

export const seatActions: Action[] = [
  { name: "attach_driver", weight: 0.4, act: (world) => attach(world, "attach_driver", { role: "driver" }), otherwise: "start_or_get" },
  { name: "attach_viewer", weight: 0.4, act: (world) => attach(world, "attach_viewer", { role: "viewer" }), otherwise: "drop" },
  { name: "attach_fallback", weight: 1.8, act: (world) => attach(world, "attach_fallback", { role: "driver", fallback: true }), otherwise: "drop" },
  { name: "attach_force", weight: 2.2, act: (world) => attach(world, "attach_force", { role: "driver", force: true }), otherwise: "drop" },
  {
    name: "drop",
    weight: 1.3,
    act(world) {
      const seat = world.pick(present(world).flatMap((session) => [...session.seats.values()].filter(({ connected }) => connected)));
      if (seat === undefined) return false;
      seat.drop();
      world.hit("drop");
      return true;
    },
    otherwise: "attach_driver",
  },
  {
    name: "resume",
    weight: 2.6,
    act(world) {
      const seat = world.pick(
        present(world).flatMap((session) => [...session.seats.values()].filter(({ connected, cursor }) => !connected && cursor !== null)),
      );
      if (seat === undefined) return false;
      come(
        world,
        seat,
        { role: world.odds(0.5) && seat.token.record.right === "control" ? "driver" : "viewer", fallback: true, resume: world.odds(0.9) },
        "resume",
      );
      return true;
    },
    otherwise: "drop",
  },
  {
    name: "resume_while_connected",
    weight: 2.5,
    act(world) {
      const seat = world.pick(present(world).flatMap((session) => [...session.seats.values()].filter(({ connected, cursor }) => connected && cursor !== null)));
      if (seat === undefined) return false;
      come(world, seat, { role: "viewer", resume: true }, "resume_while_connected");
      return true;
    },
    otherwise: "attach_driver",
  },
  {
    name: "stall",
    weight: 1.1,
    act(world) {
      const seat = world.pick(present(world).flatMap((session) => [...session.seats.values()].filter(({ streaming, stalled }) => streaming && !stalled)));
      if (seat === undefined) return false;
      seat.stall();
      world.hit("stall");
      return true;
    },
    otherwise: "attach_viewer",
  },
  {
    name: "go_on",
    weight: 4.5,
    act(world) {
      const seat = world.pick(present(world).flatMap((session) => [...session.seats.values()].filter(({ stalled }) => stalled)));
      if (seat === undefined) return false;
      seat.goOn();
      world.hit("go_on");
      return true;
    },
    otherwise: "stall",
  },
  {
    name: "detach",
    weight: 2.0,
    act(world) {
      const session = world.pick(living(world).filter((each) => seated(each).length > 0));
      const seat = session === undefined ? undefined : world.pick(seated(session));
      if (session === undefined || seat === undefined) return false;
      callSession(
        world,
        session,
        "detach",
        {},
        { seat },
        {
          ok: ({ seq }) => {
            const event = session.view.frame(seq)?.event;
            holds(seq === 0 || event?.type === "seat_left", "B15", () => `detach was answered with frame ${seq}: ${event?.type ?? ""}`);
            world.hit("detach");
          },
        },
      );
      return true;
    },
    otherwise: "attach_driver",
  },
  take("take_if_free", "if_free", 4.6),
  take("ask_for_wheel", "ask", 4),
  take("take_by_force", "force", 4.3),
  {
    name: "yield_driver",
    weight: 2.3,
    act(world) {
      const session = driven(world);
      const seat = session === undefined ? undefined : actor(world, session);
      if (session === undefined || seat === undefined) return false;
      callSession(world, session, "yield_driver", {}, { seat }, { ok: () => world.hit("yield_driver") });
      return true;
    },
    otherwise: "attach_driver",
  },
];
