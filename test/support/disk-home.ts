import type { DriverSeat, Host, Session, ViewerSeat } from "@sessiond/client";
import { expect } from "vitest";
import { briefOf } from "./brief.ts";
import { DaemonHome } from "./daemon-home.ts";
import { SeenFrames } from "./seen-frames.ts";
import { SmallDisk } from "./small-disk.ts";
import { until } from "./wrecked-home.ts";

/** A home whose state directory is a disk of 2 MB of its own, and a session in it with a driver and two viewers. */
const diskBytes = 2_097_152;

export class DiskHome extends DaemonHome {
  readonly disk: SmallDisk;

  /** @param reopenMs  how soon a faulted session tries its journal again by itself */
  constructor(reopenMs: number) {
    super(`[model]\nname = "practice"\n[limits]\nreopen_ms = ${reopenMs}\n`);
    this.disk = new SmallDisk(this.stateDir, diskBytes);
  }

  override async close(): Promise<void> {
    this.disk.unmount();
    await super.close();
  }
}

export interface Seated {
  readonly host: Host;
  readonly session: Session;
  readonly driver: DriverSeat;
  readonly viewers: readonly ViewerSeat[];
  readonly seen: readonly SeenFrames[];
}

/** Each of the three over a connection of its own. */
export async function seated(home: DaemonHome): Promise<Seated> {
  const host = await home.connect({ autoStart: false });
  const session = await host.startSession({ workdir: home.workdir });
  const driver = await session.attach({ as: "driver" });
  const viewers = await Promise.all(
    [1, 2].map(async () => (await (await home.connect({ autoStart: false })).openSession(session.id)).attach({ as: "viewer" })),
  );
  return { host, session, driver, viewers, seen: [driver, ...viewers].map((seat) => new SeenFrames(seat)) };
}

/** Everything that any seat was given is in the journal, word for word; there is no hole in it, and none in what a seat was given. */
export async function expectWhole(home: DaemonHome, { driver, viewers, seen }: Seated): Promise<void> {
  for (const seat of viewers) await until(seat, () => seat.state.seq >= driver.state.seq);
  const lines = new Map(home.journal(driver.sessionId).map(({ seq, text }) => [seq, briefOf(text)]));
  expect([...lines.keys()]).toEqual([...lines.keys()].map((_, index) => index + 1));
  for (const each of seen) {
    each.check();
    for (const [seq, text] of each.texts) expect(briefOf(text)).toBe(lines.get(seq) ?? "(not in the journal)");
  }
}
