import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { RawReader } from "../support/raw-reader.ts";
import { endRigs, eventsOf, Rig } from "../support/session-rig.ts";

/** The daemon's side of a link that may be dead; the client's is in test/client/call.test.ts. */
afterEach(endRigs);

const attach = (rig: Rig, label: string, autoPong = true): RawReader =>
  new RawReader({ socketPath: rig.daemon.socketPath, sessionId: rig.sessionId, token: rig.token, label, autoPong });

/** What a peer in this process has sent is read in the turns that follow. */
async function heard(): Promise<void> {
  for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve));
}

test("B34 a peer that answers no probe is gone when its time is up, and not before; its seat gets its grace, and the others see it", async () => {
  const rig = await Rig.start();
  const dead = attach(rig, "dead", false);
  const alive = attach(rig, "alive");
  await Promise.all([dead, alive].map((reader) => reader.until(({ cursor }) => cursor !== "")));
  rig.clock.advance(limits.heartbeat_ms - 1);
  await heard();
  expect([dead.probes, alive.probes]).toEqual([0, 0]);
  rig.clock.advance(1);
  await Promise.all([dead, alive].map((reader) => reader.until(({ probes }) => probes === 1)));
  await heard();
  rig.clock.advance(limits.heartbeat_wait_ms - 1);
  await heard();
  expect(rig.daemon.door.connections).toBe(2);
  const { seq } = alive;
  rig.clock.advance(1);
  await dead.until(({ close }) => close !== null);
  await alive.until((reader) => reader.seq > seq);
  const lost = eventsOf(await rig.journal(), "seat_lost");
  expect(lost).toHaveLength(1);
  expect((await rig.info()).seats).toMatchObject([
    { label: "dead", connected: false },
    { label: "alive", connected: true },
  ]);
  expect([rig.daemon.door.connections, alive.close]).toEqual([1, null]);
  alive.end();
});

test("B34 a peer that says nothing by itself and answers each probe stays, however long it is quiet", async () => {
  const rig = await Rig.start();
  const quiet = attach(rig, "quiet");
  await quiet.until(({ cursor }) => cursor !== "");
  for (let probes = 1; probes <= 20; probes++) {
    rig.clock.advance(limits.heartbeat_ms);
    await quiet.until((reader) => reader.probes === probes);
    await heard();
  }
  rig.clock.advance(limits.heartbeat_ms - 1);
  await heard();
  expect([quiet.close, quiet.probes, rig.daemon.door.connections]).toEqual([null, 20, 1]);
  expect(eventsOf(await rig.journal(), "seat_lost")).toEqual([]);
  quiet.end();
});
