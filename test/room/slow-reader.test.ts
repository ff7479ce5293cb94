import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { WebSocket } from "ws";
import { endRigs, Rig } from "../support/session-rig.ts";
import { RawReader } from "../support/raw-reader.ts";

afterEach(endRigs);
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function memory(): Promise<number> {
  // Twice: what finalizers let go of in the first is gone in the second.
  for (let times = 0; times < 3; times++) {
    collect();
    await soon();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** The most that any socket of the process had buffered after a send. */
function watchBuffers(): { most: number; end: () => void } {
  const original = WebSocket.prototype.send;
  const watch = { most: 0, end: () => void (WebSocket.prototype.send = original) };
  WebSocket.prototype.send = function (this: WebSocket, ...args: unknown[]) {
    Reflect.apply(original, this, args);
    watch.most = Math.max(watch.most, this.bufferedAmount);
  } as typeof original;
  return watch;
}

/** Time jumps in these tests: a peer has no chance to answer a probe in between. */
const unprobed = { limits: { heartbeat_ms: 1_000_000_000 } };
const chunk = "0123456789abcdef".repeat(1_024);
const bytesTotal = 50 * 1_048_576;

/** Output of a tool, chunk by chunk, as fast as the session takes it. */
async function flow(rig: Rig): Promise<number> {
  const driver = await rig.driver();
  await driver.prompt("much output");
  await driver.drop();
  const turn = await rig.kind.turn();
  await turn.call("c1");
  await turn.update("c1", "in_progress");
  for (let sent = 0; sent < bytesTotal; sent += chunk.length)
    await turn.yield({ type: "tool_call_chunk", tool_call_id: "c1", content: { type: "text", text: chunk } });
  turn.end();
  for (;;) {
    const info = await rig.info();
    if (info.turn === null) return info.seq;
    await soon();
  }
}

const attach = (rig: Rig, label: string, cursor?: string): RawReader =>
  new RawReader({ socketPath: rig.daemon.socketPath, sessionId: rig.sessionId, token: rig.token, label, ...(cursor !== undefined && { cursor }) });

/** 50 MB through a real socket to a reader that keeps up, and maybe to one that takes nothing. */
async function run(stalled: boolean): Promise<{ used: number; buffered: number; behind: number }> {
  const before = await memory();
  const rig = await Rig.start();
  const buffers = watchBuffers();
  const healthy = attach(rig, "healthy");
  const stuck = stalled ? attach(rig, "stuck") : null;
  await healthy.until((reader) => reader.cursor !== "");
  await stuck?.until((reader) => reader.cursor !== "");
  stuck?.pause();
  const end = await flow(rig);
  await healthy.until((reader) => reader.seq >= end);
  const used = (await memory()) - before;
  const behind = end - (stuck?.seq ?? end);
  buffers.end();
  if (stuck !== null) {
    expect(behind).toBeGreaterThan(1_000);
    stuck.resume();
    await stuck.until((reader) => reader.seq >= end);
    expect(stuck.gap).toBeNull();
    expect(stuck.close).toBeNull();
  }
  expect(healthy.gap).toBeNull();
  healthy.end();
  stuck?.end();
  expect(rig.daemon.bugs).toEqual([]);
  await endRigs();
  return { used, buffered: buffers.most, behind };
}

test(
  "B33 a viewer that takes nothing while 50 MB flow costs the daemon its socket's buffer and no more; later it misses nothing",
  { timeout: 120_000 },
  async () => {
    // The first run warms up.
    await run(false);
    const without = await run(false);
    const withStalled = await run(true);
    const mb = (bytes: number): string => (bytes / 1_048_576).toFixed(2);
    console.log(
      `50 MB: heapUsed+external ${mb(without.used)} MB without, ${mb(withStalled.used)} MB with a stalled viewer (difference ${mb(withStalled.used - without.used)} MB); ` +
        `most buffered in a socket ${mb(withStalled.buffered)} MB; the stalled viewer was ${withStalled.behind} frames behind`,
    );
    expect(withStalled.used - without.used).toBeLessThan(8 * 1_048_576);
    // Frames of one batch, its envelope, and at most one frame beyond.
    expect(withStalled.buffered).toBeLessThanOrEqual(limits.socket_buffer_bytes_max + limits.batch_bytes_max + 2 * chunk.length);
  },
);

test(
  "B33 past the stall limit a viewer is cut off with slow_consumer; by its cursor it misses nothing, and the others noticed nothing",
  { timeout: 60_000 },
  async () => {
    const rig = await Rig.start(unprobed);
    const healthy = attach(rig, "healthy");
    const stuck = attach(rig, "stuck");
    await stuck.until((reader) => reader.cursor !== "");
    stuck.pause();
    const end = await flow(rig);
    await healthy.until((reader) => reader.seq >= end);
    expect(rig.daemon.door.connections).toBe(2);
    rig.clock.advance(limits.stall_ms);
    await soon();
    // Whoever takes up reading now learns why it ends.
    stuck.resume();
    await stuck.until((reader) => reader.close !== null);
    expect([stuck.error, stuck.close]).toEqual(["slow_consumer", { code: 4008, reason: "slow_consumer" }]);
    expect(stuck.seq).toBeLessThan(end);
    expect(healthy.close).toBeNull();
    const again = attach(rig, "stuck", stuck.cursor);
    again.seq = stuck.seq;
    await again.until((reader) => reader.seq >= end);
    expect([stuck.gap, again.gap, healthy.gap]).toEqual([null, null, null]);
    expect(again.frames).toBeGreaterThanOrEqual(end - stuck.seq);
    for (const reader of [healthy, again]) reader.end();
  },
);

test("B33 a viewer that takes not even the close is cut off after a further bound", async () => {
  const rig = await Rig.start(unprobed);
  const stuck = attach(rig, "stuck");
  await stuck.until((reader) => reader.cursor !== "");
  stuck.pause();
  await flow(rig);
  rig.clock.advance(limits.stall_ms);
  await soon();
  rig.clock.advance(limits.heartbeat_wait_ms - 1);
  expect(rig.daemon.door.connections).toBe(1);
  rig.clock.advance(1);
  while (rig.daemon.door.connections > 0) await soon();
  stuck.end();
});

test("B33 a slow viewer that begins to read again within the limit is told slow_consumer by nobody", async () => {
  const rig = await Rig.start(unprobed);
  const slow = attach(rig, "slow");
  await slow.until((reader) => reader.cursor !== "");
  slow.pause();
  const end = await flow(rig);
  rig.clock.advance(limits.stall_ms - 1);
  slow.resume();
  await slow.until((reader) => reader.seq >= end);
  rig.clock.advance(limits.stall_ms);
  const seat = await rig.attach("witness");
  await slow.until((reader) => reader.seq >= seat.state.seq);
  expect([slow.error, slow.close, slow.gap]).toEqual([null, null, null]);
  slow.end();
});

test("B33 a viewer that takes nothing, and so answers no probe, is judged by the stall limit, not by the heartbeat", async () => {
  const rig = await Rig.start();
  const stuck = attach(rig, "stuck");
  await stuck.until((reader) => reader.cursor !== "");
  stuck.pause();
  await flow(rig);
  rig.clock.advance(limits.heartbeat_ms + limits.heartbeat_wait_ms);
  await soon();
  expect(rig.daemon.door.connections).toBe(1);
  rig.clock.advance(limits.stall_ms - limits.heartbeat_ms - limits.heartbeat_wait_ms);
  await soon();
  stuck.resume();
  await stuck.until((reader) => reader.close !== null);
  expect([stuck.error, stuck.close?.code]).toEqual(["slow_consumer", 4008]);
});

test("B33 each batch carries the newest seq, so that a reader knows how far behind it is", async () => {
  const rig = await Rig.start({ script: { auto: (turn) => turn.end() } });
  const driver = await rig.driver();
  // More frames than one batch takes.
  for (let count = 1; count <= limits.batch_frames_max / 4; count++) {
    await driver.prompt(`prompt ${count}`);
    await driver.event("turn_ended", count);
  }
  const connection = new AbortController();
  const input = { session_id: rig.sessionId, role: "viewer" as const, label: "slow", cursor: "1:0" };
  const stream = await rig.daemon.stream("attach", input, { token: rig.token, seat_secret: "slow".padEnd(24, "_") }, connection.signal);
  const items = (stream as AsyncIterable<[string, { type: string; cursor: string; head: number }]>)[Symbol.asyncIterator]();
  const [, first] = (await items.next()).value;
  const [, batch] = (await items.next()).value;
  expect(first).toMatchObject({ type: "resumed", head: driver.state.seq });
  expect(Number(batch.cursor.split(":")[1])).toBeLessThan(batch.head);
  expect(batch.head).toBeGreaterThanOrEqual(driver.state.seq);
  connection.abort();
  await items.return?.();
});
