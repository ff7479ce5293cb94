import { isDeepStrictEqual } from "node:util";
import type { Action } from "./actions.ts";
import { driven } from "./actions-prompts.ts";
import { callSession, present } from "./calls.ts";
import { holds } from "./violation.ts";

/** Settings and notes, and what is read of a session without a seat. */
export const settingActions: Action[] = [
  {
    name: "configure",
    weight: 3.0,
    act(world) {
      const who = driven(world);
      if (who === undefined) return false;
      const given = {
        ...(world.odds(0.5) && { title: `title ${world.number()}` }),
        ...(world.odds(0.3) && { model: world.pick(["one", "two"]) ?? "one" }),
        ...(world.odds(0.3) && { starred: world.odds(0.5) }),
        ...(world.odds(0.6) && {
          policy: world.odds(0.5) ? ({ type: "hold" } as const) : ({ type: "reject_after", ms: world.pick([1_000, 20_000]) ?? 1_000 } as const),
        }),
      };
      callSession(
        world,
        who.session,
        "configure_session",
        given,
        { seat: who.seat },
        {
          ok: (output) => {
            for (const [name, value] of Object.entries(given))
              holds(isDeepStrictEqual(output[name as keyof typeof given], value), "B44", () => `${name} was set and is ${JSON.stringify(output)}`);
            world.hit("configure");
          },
        },
      );
      return true;
    },
    otherwise: "attach_driver",
  },
  {
    name: "note",
    weight: 2.6,
    act(world) {
      const who = driven(world);
      if (who === undefined) return false;
      callSession(world, who.session, "add_system_message", { text: `note ${world.number()}` }, { seat: who.seat }, { ok: () => world.hit("note") });
      return true;
    },
    otherwise: "attach_driver",
  },
  {
    name: "read_page",
    weight: 1.5,
    act(world) {
      const session = world.pick(present(world).filter(({ view }) => view.last > 0));
      if (session === undefined) return false;
      const { view } = session;
      const at = Math.floor(world.chance.upTo(view.last + 1));
      const where = world.odds(0.5) ? { after: at } : { before: at + 1 };
      callSession(
        world,
        session,
        "session_data",
        { ...where, limit: 20 },
        {},
        {
          ok: ({ frames, compacted_through }) => {
            view.refresh();
            for (const [index, frame] of frames.entries()) {
              const known = view.frame(frame.seq);
              holds(
                known === undefined || frame.seq <= compacted_through || isDeepStrictEqual(frame, known),
                "B30",
                () => `a page has ${JSON.stringify(frame)}, the journal ${JSON.stringify(known)}`,
              );
              const last = frames[index - 1]?.seq ?? ("after" in where ? where.after : frame.seq - 1);
              holds(
                frame.seq === last + 1 || frame.seq <= compacted_through + 1,
                "B31",
                () => `a page has ${frame.seq} behind ${last}; compacted through ${compacted_through}`,
              );
              view.settled = Math.max(view.settled, frame.seq);
            }
            world.hit("read_page");
          },
        },
      );
      return true;
    },
    otherwise: "start_or_get",
  },
  {
    name: "session_info",
    weight: 1.6,
    act(world) {
      const session = world.pick(present(world));
      if (session === undefined) return false;
      callSession(
        world,
        session,
        "session_info",
        {},
        {},
        {
          ok: (info) => {
            session.view.refresh();
            holds(info.seq <= session.view.last, "B30", () => `session_info tells of frame ${info.seq}, the journal has ${session.view.last}`);
            world.hit("session_info");
          },
        },
      );
      return true;
    },
    otherwise: "start_or_get",
  },
];
