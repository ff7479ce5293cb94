import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { DriverSeat, Session } from "@sessiond/client";
import { limits } from "@sessiond/shared";
import { amount, whole } from "../support/amount.ts";
import { eventually } from "../support/eventually.ts";
import { endure, expectTidy, growthLine } from "../support/growth.ts";
import { MeasuredHome } from "../support/measured-home.ts";
import { RawReader } from "../support/raw-reader.ts";

/** Events by the million: each is written once and comes to every reader once, while compaction goes on; neither memory nor disk grows with them. */
const events = amount(20_000, 1_000_000, "SESSIOND_EVENTS");
const wordsATurn = whole ? 16_000 : 2_500;
const viewers = 2;
/** Its messages, on both sides; and a mark for each 16 KiB of an open segment, until there are as many of those as there may be. */
const objectsATurn = 40 + wordsATurn / 32;
const mebibyte = 1_048_576;
/** Of two sessions that are in memory: windows, the newest messages, a conversation that is kept for its agent. */
const awakeBytesMax = 48 * mebibyte;

let home: MeasuredHome;
beforeEach(() => {
  home = new MeasuredHome();
});
afterEach(() => home.close());

interface Watched {
  readonly session: Session;
  readonly driver: DriverSeat;
  readonly readers: readonly { readonly reader: RawReader; readonly from: number }[];
  readonly from: number;
}

async function watched(session: Session): Promise<Watched> {
  const driver = await session.attach({ as: "driver" });
  const { id: sessionId, token } = session;
  const readers: { reader: RawReader; from: number }[] = [];
  while (readers.length < viewers) {
    const reader = new RawReader({ socketPath: home.socket, sessionId, token, label: `viewer-${readers.length}` });
    await reader.until(({ types }) => types.length > 0);
    readers.push({ reader, from: reader.seq });
  }
  while (driver.state.seats.length <= viewers) await driver.changed();
  return { session, driver, readers, from: driver.state.seq };
}

function bytesOnDisk(id: string): number {
  const directory = join(home.stateDir, "sessions", id);
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}

/** All of it; what the seats of it held is gone when this returns. */
async function pour(sessions: readonly Session[]) {
  const all = await Promise.all(sessions.map(watched));
  const turnsEach = Math.ceil(events / sessions.length / wordsATurn);
  let turns = 0;
  const work = async (from: number, to: number): Promise<void> => {
    turns += to - from;
    await Promise.all(
      all.map(async ({ driver, readers }) => {
        for (let n = from; n < to; n++) expect((await driver.prompt(`stream ${wordsATurn}`)).stopReason).toBe("end_turn");
        for (const { reader } of readers) await reader.until(({ seq, error }) => error !== null || seq >= driver.state.seq);
      }),
    );
  };
  const begun = performance.now();
  const endured = await endure(home, { operations: turnsEach, work, allowed: { daemonObjects: objectsATurn, clientObjects: 40, heapBytes: awakeBytesMax } });
  const seconds = (performance.now() - begun) / 1_000;

  // Numbers are dense, so the last one counts them; each reader took each of them, in order.
  const written = all.reduce((sum, { driver, from }) => sum + driver.state.seq - from, 0);
  expect(written).toBeGreaterThanOrEqual(events);
  let delivered = 0;
  for (const { driver, readers } of all) {
    for (const { reader, from } of readers) {
      const { frames, gap, error, types } = reader;
      expect({ frames, gap, error }).toEqual({ frames: driver.state.seq - from, gap: null, error: null });
      expect(types.filter((type) => type !== "batch")).toEqual(["snapshot"]);
      delivered += frames;
    }
  }

  const saidATurn = Array.from({ length: wordsATurn }, (_, n) => `${n + 1} `).join("").length;
  const bound = 1.3 * saidATurn * turns + limits.session_disk_bytes_fixed;
  for (const { session } of all) await eventually("compaction has caught up", () => bytesOnDisk(session.id) <= bound, 60_000);
  const disk = Math.max(...all.map(({ session }) => bytesOnDisk(session.id)));

  for (const { driver, readers } of all) {
    await driver.detach();
    for (const { reader } of readers) {
      reader.end();
      await reader.until(({ close }) => close !== null);
    }
  }
  return { endured, written, delivered, seconds, bound, disk };
}

test(
  `B30 B33 B47 ${events} events are written once and come to every reader once; memory stays as it was, and the disk within its bound`,
  { timeout: 1_500_000 },
  async () => {
    const host = await home.begin();
    const sessions = await Promise.all([0, 1].map((n) => host.sessionForWorkdir(home.directory(n))));
    for (const session of sessions) {
      const seat = await session.attach({ as: "driver" });
      await seat.prompt(`stream ${limits.window_frames_max}`);
      await seat.detach();
    }
    const atRest = await home.openAtRest(host);
    const before = await home.held();
    const { endured, written, delivered, seconds, bound, disk } = await pour(sessions);
    expect(await home.openAtRest(host)).toEqual(atRest);
    expectTidy(home);
    const after = await home.held();
    for (const who of ["daemon", "clients"] as const) {
      expect(after[who].heap - before[who].heap, `heap of the ${who}, all at rest`).toBeLessThanOrEqual(2 * mebibyte);
      expect(after[who].buffers - before[who].buffers, `buffers of the ${who}, all at rest`).toBeLessThanOrEqual(mebibyte);
    }
    const rest = Math.round((after.daemon.heap - before.daemon.heap) / 1_024);
    console.log(
      `B30 B33 B47 endurance: ${written} events written and ${delivered} delivered to ${viewers * sessions.length} viewers beside ${sessions.length} drivers in ${seconds.toFixed(1)} s; awake ${growthLine(endured)}; at rest daemon ${rest} KiB more than before; disk ${(disk / mebibyte).toFixed(1)} of at most ${(bound / mebibyte).toFixed(1)} MiB a session`,
    );
  },
);
