import type { DriverSeat, HostObserver, HostSession, Session, SessionFacts, SessionWatch, ViewerSeat, WatchedSessions, WatchEvent } from "@sessiond/client";
import { expectTypeOf, test } from "vitest";

/** The handle one holds is what one may do: what the compiler lets through. Checked by tsc; nothing here runs. */
test("B5 a viewer's seat has nothing to act with but the way to the wheel, and a driver's has the way back", () => {
  expectTypeOf<ViewerSeat>().not.toHaveProperty("sendPrompt");
  expectTypeOf<ViewerSeat>().not.toHaveProperty("approve");
  expectTypeOf<ViewerSeat>().not.toHaveProperty("configure");
  expectTypeOf<ViewerSeat["takeDriver"]>().returns.resolves.toEqualTypeOf<DriverSeat>();
  expectTypeOf<DriverSeat["yieldDriver"]>().returns.resolves.toEqualTypeOf<ViewerSeat>();
  expectTypeOf<DriverSeat>().toExtend<ViewerSeat>();
});

test("B14 what attach gives follows from what was asked for", () => {
  const attach = (session: Session) => ({
    viewer: () => session.attach({ as: "viewer" }),
    driver: () => session.attach({ as: "driver", force: true }),
    either: () => session.attach({ as: "driver", fallback: "viewer" }),
    // @ts-expect-error  by force there is nothing to fall back from
    both: () => session.attach({ as: "driver", fallback: "viewer", force: true }),
    // @ts-expect-error  a viewer throws nobody out
    forced: () => session.attach({ as: "viewer", force: true }),
  });
  type Given = ReturnType<typeof attach>;
  expectTypeOf<ReturnType<Given["viewer"]>>().resolves.toEqualTypeOf<ViewerSeat>();
  expectTypeOf<ReturnType<Given["driver"]>>().resolves.toEqualTypeOf<DriverSeat>();
  expectTypeOf<ReturnType<Given["either"]>>().resolves.toEqualTypeOf<DriverSeat | ViewerSeat>();
});

test("B5 an observer lists, informs and watches; a session by its id alone takes no seat", () => {
  expectTypeOf<keyof HostObserver>().toEqualTypeOf<"list" | "info" | "watch">();
  expectTypeOf<HostObserver["watch"]>().returns.toEqualTypeOf<SessionWatch>();
  expectTypeOf<SessionWatch["sessions"]>().toEqualTypeOf<WatchedSessions>();
  expectTypeOf<SessionWatch["events"]>().toEqualTypeOf<AsyncIterable<WatchEvent>>();
  expectTypeOf<HostSession>().not.toHaveProperty("attach");
  expectTypeOf<HostSession["waitFor"]>().parameter(0).toEqualTypeOf<"idle" | "approval" | "stopped">();
  expectTypeOf<HostSession["waitFor"]>().returns.resolves.toEqualTypeOf<SessionFacts>();
  expectTypeOf<Session["waitFor"]>().toEqualTypeOf<HostSession["waitFor"]>();
});
