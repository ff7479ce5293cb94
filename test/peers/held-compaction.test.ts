import { afterEach, expect, test } from "vitest";
import type { Frame } from "@sessiond/shared";
import { eventually } from "../support/eventually.ts";
import { endLogs, LogRig } from "../support/log-rig.ts";
import { endRigs, Rig } from "../support/session-rig.ts";
import { RawReader } from "../support/raw-reader.ts";

/** A reader that takes now and then stalls no socket. How long compaction waits for it is bounded all the same. */
afterEach(async () => {
  await endLogs();
  await endRigs();
});

const limits = { window_frames_max: 1, batch_bytes_max: 1_000, segments_held_max: 3 };
/** Kept, held, the one that is written to, and the one whose sealing asked anew. */
const rowMax = 2 + 3 + 1 + 1;

test("B33 B47 compaction waits for a reader only while few segments wait with it; then he is told slow_consumer, gets no gap, and disk stays bounded", async () => {
  const rig = await LogRig.open({ limits });
  await rig.begin();
  await rig.turn("first");
  const { room } = rig.log;
  const standing = room.stand(1);
  const batches = room.read(standing, new AbortController().signal);
  const seen: Frame[] = (await batches.next()).value?.frames.parsed() ?? [];
  while ((await rig.segments()).length < rowMax - 1) await rig.turn(`held${seen.length}`);
  expect([standing.givenUp, room.compactedThrough, room.lags.length]).toEqual([false, 0, 1]);
  // As long as he is waited for, what he gets has no gap.
  seen.push(...((await batches.next()).value?.frames.parsed() ?? []));
  for (let n = 0; room.compactedThrough === 0; n++) {
    expect((await rig.segments()).length).toBeLessThanOrEqual(rowMax);
    await rig.turn(`more${n}`);
    if (standing.givenUp) await rig.log.idle();
  }
  expect([standing.givenUp, room.lags]).toEqual([true, []]);
  await expect(batches.next()).rejects.toMatchObject({ code: "slow_consumer", detail: { reason: "fell too far behind" } });
  expect(seen).toEqual(rig.applied.slice(1, 1 + seen.length));
  expect(room.judge(`1:${standing.after}`)).toBe("too_old");
  // Nobody is held up any more: what is old enough is compacted.
  await rig.log.idle();
  expect(room.compactedThrough).toBe(Number((await rig.segments()).at(-3)?.slice(8)));
  room.leave(standing);
});

test("B33 a reader that is read for from disk in the very step in which he is given up gets slow_consumer, and not what compaction left", async () => {
  const rig = await LogRig.open({ limits });
  await rig.begin();
  await rig.turn("first");
  const { room } = rig.log;
  const standing = room.stand(1);
  const batches = room.read(standing, new AbortController().signal);
  const reading = batches.next();
  // The read is begun, and the disk has not answered: that takes a turn of the event loop.
  for (let steps = 0; steps < 10; steps++) await Promise.resolve();
  room.giveUp(room.head);
  await expect(reading).rejects.toMatchObject({ code: "slow_consumer" });
  expect(standing.after).toBe(1);
});

test("B33 who keeps up, and whoever else reads, is not given up with the one that falls behind; nor is the agent's own reading", async () => {
  const rig = await LogRig.open({ limits });
  await rig.begin();
  await rig.turn("first");
  const { room } = rig.log;
  const [slow, quick, agent] = [room.stand(1), room.stand(1), room.stand(1, false)];
  const gone = new AbortController();
  const following = (async () => {
    const frames: Frame[] = [];
    for await (const batch of room.read(quick, gone.signal)) frames.push(...batch.frames.parsed());
    return frames;
  })();
  for (let n = 0; !slow.givenUp; n++) await rig.turn(`t${n}`);
  await rig.turn("last");
  while (quick.after < room.head) await new Promise((resolve) => setImmediate(resolve));
  gone.abort();
  expect(await following).toEqual(rig.applied.slice(1));
  expect([quick.givenUp, agent.givenUp, room.compactedThrough]).toEqual([false, false, 0]);
  for (const standing of [slow, quick, agent]) room.leave(standing);
  await rig.log.idle();
  expect(room.compactedThrough).toBeGreaterThan(0);
});

test(
  "B32 B33 a reader on a socket that fell too far behind is told so, and its cursor gets a reset with a snapshot, never a gap",
  { timeout: 60_000 },
  async () => {
    const rig = await Rig.start({ limits: { segments_held_max: 3, heartbeat_ms: 1_000_000_000 } });
    const options = { socketPath: rig.daemon.socketPath, sessionId: rig.sessionId, token: rig.token, label: "slow" };
    const slow = new RawReader(options);
    await slow.until(({ cursor }) => cursor !== "");
    slow.pause();
    const driver = await rig.driver();
    await driver.prompt("much output");
    await driver.drop();
    const turn = await rig.kind.turn();
    await turn.call("c1");
    await turn.update("c1", "in_progress");
    const text = "0123456789abcdef".repeat(4_096);
    // 40 MB: the row of 4 MB segments is longer than what is kept and held.
    for (let sent = 0; sent < 640; sent++) await turn.yield({ type: "tool_call_chunk", tool_call_id: "c1", content: { type: "text", text } });
    turn.end();
    while ((await rig.info()).turn !== null) await new Promise((resolve) => setImmediate(resolve));
    slow.resume();
    await slow.until(({ error, close }) => error !== null || close !== null);
    expect([slow.error, slow.close, slow.gap]).toEqual(["slow_consumer", null, null]);
    expect(slow.seq).toBeLessThan((await rig.info()).seq);
    slow.end();
    // Good until compaction has come past it; then a snapshot takes its place.
    await eventually("the cursor gets a reset", async () => {
      const again = new RawReader({ ...options, cursor: slow.cursor });
      await again.until(({ types }) => types.length > 0);
      again.end();
      return again.gap === null && again.types[0] === "snapshot";
    });
    expect(rig.daemon.bugs).toEqual([]);
  },
);
