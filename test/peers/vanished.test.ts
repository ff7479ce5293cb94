import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { sessionFromToken } from "@sessiond/client/node";
import type { Host, Session } from "@sessiond/client";
import { eventually } from "../support/eventually.ts";
import { canLeave, FarPlace } from "../support/far-place.ts";
import { PeersHome } from "../support/peers-home.ts";
import { SeenFrames } from "../support/seen-frames.ts";

/** Peers whose link is cut: no byte, no end, no error comes from them any more, and none gets to them. */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each();
});

const possible = canLeave();
if (!possible) console.log("B34: no network namespace can be made here, so no link is cut");

interface Ends {
  readonly home: PeersHome;
  readonly host: Host;
  readonly session: Session;
  readonly far: FarPlace;
  /** The session as it is held behind the link. */
  readonly there: Session;
}

async function ends(n: number): Promise<Ends> {
  const home = new PeersHome({ heartbeat_ms: 800, heartbeat_wait_ms: 1_200, seat_grace_ms: 700, stall_ms: 2_000 });
  undo.push(() => home.close());
  const host = await home.begin();
  const session = await host.sessionForWorkdir(home.directory("a"), { model: "practice" });
  const far = await FarPlace.begin(n, { socket: home.socket, directory: join(home.root, "far") });
  undo.push(() => far.end());
  const { token } = await session.mintToken({ right: "control", label: "far" });
  const there = await sessionFromToken(token, { env: home.env, runtimeDir: far.runtimeDir, autoStart: false });
  undo.push(() => there.close());
  return { home, host, session, far, there };
}

test.skipIf(!possible)(
  "B15 B34 a driver and viewers whose link is cut are noticed on both sides; the turn goes on, the seats are free after their grace, and the viewers are back without a gap when the link is",
  { timeout: 120_000 },
  async () => {
    const { home, session, far, there } = await ends(0);
    const driver = await there.attach({ as: "driver", label: "far driver" });
    const viewers = await Promise.all([1, 2, 3].map((n) => there.attach({ as: "viewer", label: `far viewer ${n}` })));
    const seen = viewers.map((viewer) => new SeenFrames(viewer));
    const witness = await session.attach({ as: "viewer", label: "witness" });
    const observed = new SeenFrames(witness);
    const vacated = observed.next((event) => event.type === "seat_left" && event.role === "driver" && event.cause === "grace");
    const ended = observed.next((event) => event.type === "turn_ended");
    await driver.sendPrompt("stream 200 every 10");
    const connections = await home.metric("sessiond_connections");
    await observed.until(({ messages }) => messages.length > 1);
    far.cut();

    // On the far side nobody is told either: the silence is.
    const noticed = (async () => {
      while (driver.connection === "live") await driver.changed();
    })();
    await vacated;
    expect((await ended).event).toMatchObject({ stop_reason: "end_turn" });
    await noticed;
    await eventually("all their seats are free", async () => (await session.info()).seats.length === 1);
    await eventually("their connections are gone", async () => (await home.metric("sessiond_connections")) <= connections - 4);
    expect(witness.connection).toBe("live");
    // The seat is free for who asks.
    const next = await session.attach({ as: "driver", label: "next" });
    await next.prompt("stream 50");

    far.mend();
    await Promise.all(
      seen.map(({ seat }) => eventually("the viewer has seen everything", () => seat.connection === "live" && seat.state.seq >= next.state.seq, 60_000)),
    );
    for (const each of [...seen, observed]) each.check();
    // The wheel is another's by now, and nobody is thrown out.
    expect(await driver.ended).toMatchObject({ code: "driver_taken" });
    expect([next.role, next.connection]).toEqual(["driver", "live"]);
  },
);

test.skipIf(!possible)(
  "B15 B34 a driver whose link is cut for longer than the heartbeat and is back finds its seat by its secret, and drives on",
  { timeout: 120_000 },
  async () => {
    const { session, far, there } = await ends(1);
    const driver = await there.attach({ as: "driver", label: "far driver" });
    const seen = new SeenFrames(driver);
    const witness = await session.attach({ as: "viewer", label: "witness" });
    const observed = new SeenFrames(witness);
    await driver.sendPrompt("stream 100 every 10");
    const back = seen.back();
    far.cut();
    await observed.until(({ seats }) => seats.some(({ role, connected }) => role === "driver" && !connected) || !seats.some(({ role }) => role === "driver"));
    far.mend();
    await back;
    expect(driver.role).toBe("driver");
    await driver.prompt("say I am back");
    for (const each of [seen, observed]) each.check();
  },
);
