import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import type { DriverSeat, Host, Session } from "@sessiond/client";
import { amount, whole } from "../support/amount.ts";
import { eventually } from "../support/eventually.ts";
import { PeersHome } from "../support/peers-home.ts";
import { RawReader } from "../support/raw-reader.ts";
import { SeatsProcess } from "../support/seats-process.ts";
import { SickPeer } from "../support/sick-peer.ts";

/** Peers that take little or nothing from a real daemon: what each costs it, how it ends, and what the peer gets when it is well again. */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each();
});

interface Scene {
  readonly home: PeersHome;
  readonly host: Host;
  readonly session: Session;
  readonly driver: DriverSeat;
  readonly healthy: RawReader;
  /** An attach without the library. */
  readonly raw: (label: string, cursor?: string) => RawReader;
}

async function scene(times: ConstructorParameters<typeof PeersHome>[0]): Promise<Scene> {
  const home = new PeersHome(times);
  undo.push(() => home.close());
  const host = await home.begin();
  const session = await host.sessionForWorkdir(home.directory("a"), { model: "practice" });
  const raw = (label: string, cursor?: string): RawReader => {
    const reader = new RawReader({ socketPath: home.socket, sessionId: session.id, token: session.token, label, ...(cursor !== undefined && { cursor }) });
    undo.push(() => reader.end());
    return reader;
  };
  const healthy = raw("healthy");
  await healthy.until(({ cursor }) => cursor !== "");
  return { home, host, session, driver: await session.attach({ as: "driver" }), healthy, raw };
}

/** More than the kernel and a full socket take of each reader; in the whole, some ten times that in frames of 200 bytes. */
async function flow(driver: DriverSeat): Promise<string> {
  const [large, small] = [amount(16, 20), amount(1_000, 10_000)];
  const pad = "0123456789abcdef".repeat(8_192);
  for (let n = 0; n < large; n++) await driver.prompt(`say ${n}${pad}`);
  await driver.prompt(`stream ${small}`);
  return `${large} turns of 256 KB and ${small} chunks`;
}
/**
 * A full socket, or a snapshot, which is sent whole; the batch and the frame that went over it; the batch that the stream
 * stands at; and what the daemon itself may have taken meanwhile.
 */
const bound = (readers: number): number => readers * (limits.socket_buffer_bytes_max + 2 * limits.batch_bytes_max + 131_072) + 4 * 1_048_576;
const mb = (bytes: number): string => (bytes / 1_048_576).toFixed(1);

test(
  "B33 readers that take nothing or one byte a second cost the daemon a buffer each; past the stall limit each is cut with slow_consumer, resumes and misses nothing",
  { timeout: 280_000 },
  async () => {
    const { home, session, driver, healthy, raw } = await scene(whole ? {} : { stall_ms: 3_000, heartbeat_wait_ms: 20_000 });
    // Once without them: windows are full, and what is kept of a conversation is kept.
    await flow(driver);
    const before = await home.memory();
    const stalled = Array.from({ length: amount(3, 20) }, (_, n) => raw(`stalled${n}`));
    const silent = await Promise.all(Array.from({ length: amount(3, 20) }, () => SickPeer.open(home.socket, { listens: false })));
    undo.push(() => silent.map((peer) => peer.end()));
    silent.forEach((peer, n) => peer.attach({ sessionId: session.id, token: session.token, label: `silent${n}` }));
    const sick = stalled.length + silent.length;
    await Promise.all(stalled.map((reader) => reader.until(({ cursor }) => cursor !== "")));
    await eventually("all are seated", async () => (await session.info()).seats.length === sick + 2);
    for (const reader of stalled) reader.pause();
    // One of them takes a byte a second, and so is never quite still.
    let bytes = 0;
    const sipping = setInterval(() => (bytes += silent[0]?.takeByte() === true ? 1 : 0), 1_000);
    undo.push(() => clearInterval(sipping));

    const flowed = await flow(driver);
    await healthy.until(({ seq }) => seq >= driver.state.seq);
    const held = (await home.memory()) - before;
    const lag = await home.metric("sessiond_reader_lag_max_frames");
    expect(held).toBeLessThanOrEqual(bound(sick));
    await eventually("each is told to be a slow consumer", async () => (await home.metric("sessiond_slow_consumers_total")) === sick, 120_000);
    for (const reader of stalled) reader.resume();
    await Promise.all(stalled.map((reader) => reader.until(({ close }) => close !== null)));
    expect(stalled.map(({ error, close }) => [error, close?.code])).toEqual(stalled.map(() => ["slow_consumer", 4008]));
    if (whole) await eventually("those that take not even that are cut", async () => (await home.metric("sessiond_readers")) === 2, 120_000);
    else for (const peer of silent) peer.end();
    expect([healthy.close, healthy.gap, driver.connection]).toEqual([null, null, "live"]);

    await driver.prompt("stream 100");
    const again = stalled.map((reader, n) => {
      const next = raw(`stalled${n}`, reader.cursor);
      next.seq = reader.seq;
      return next;
    });
    await Promise.all(again.map((reader) => reader.until(({ seq }) => seq >= driver.state.seq)));
    expect([...stalled, ...again].map(({ gap }) => gap)).toEqual([...stalled, ...again].map(() => null));
    expect(again.map(({ types }) => types[0])).toEqual(again.map(() => "resumed"));
    console.log(
      `B33: ${sick} readers that take nothing (one a byte a second: ${bytes}) while ${flowed} flowed: daemon +${mb(held)} MB, ` +
        `bound ${mb(bound(sick))} MB; furthest behind by ${lag} frames; all cut with slow_consumer, ${again.length} resumed without a gap`,
    );
  },
);

test(
  `B15 B33 B34 client processes suspended ${whole ? "for a minute" : "past the stall limit"} with all their seats cost a buffer each, are cut, and take up where they were without a gap`,
  { timeout: 280_000 },
  async () => {
    // In the whole the limits are those that people have.
    const { home, session, driver, healthy } = await scene(whole ? {} : { stall_ms: 1_500, heartbeat_ms: 1_500, heartbeat_wait_ms: 3_000, seat_grace_ms: 500 });
    // Once without them: windows are full, and what is kept of a conversation is kept.
    await flow(driver);
    const before = await home.memory();
    const token = (await session.mintToken({ right: "view", label: "suspended" })).token;
    const processes = await Promise.all(
      Array.from({ length: amount(1, 5) }, (_, n) => {
        const seats = Array.from({ length: amount(4, 10) }, (__, seat) => ({ label: `suspended${n}-${seat}`, as: "viewer" as const }));
        return SeatsProcess.begin(home.env, token, seats);
      }),
    );
    undo.push(() => Promise.all(processes.map((each) => each.end())));
    const seats = processes.length * amount(4, 10);
    for (const each of processes) each.suspend();
    const minute = whole ? new Promise((resolve) => setTimeout(resolve, 60_000)) : undefined;

    const flowed = await flow(driver);
    await healthy.until(({ seq }) => seq >= driver.state.seq);
    const held = (await home.memory()) - before;
    expect(held).toBeLessThanOrEqual(bound(seats));
    await eventually("all of them are cut and their seats free", async () => (await session.info()).seats.length === 2, 120_000);
    // On a slow machine a probe may stay unanswered before a socket is full.
    const slow = await home.metric("sessiond_slow_consumers_total");
    expect(slow).toBeLessThanOrEqual(seats);
    await minute;
    await driver.prompt("stream 100");
    const head = driver.state.seq;
    for (const suspended of processes) suspended.wake();
    const reports = await eventually(
      "all have seen everything",
      async () => {
        const all = (await Promise.all(processes.map((one) => one.report()))).flat();
        return all.every(({ last }) => last >= head) ? all : null;
      },
      60_000,
    );
    expect(reports.map(({ gaps, snapshots, connection }) => ({ gaps, snapshots, connection }))).toEqual(
      reports.map(() => ({ gaps: [], snapshots: 1, connection: "live" })),
    );
    expect(reports.every(({ losses }) => losses > 0)).toBe(true);
    expect([healthy.close, healthy.gap, driver.connection]).toEqual([null, null, "live"]);
    console.log(
      `B34: ${seats} suspended seats while ${flowed} flowed: daemon +${mb(held)} MB, bound ${mb(bound(seats))} MB; all cut (${slow} as slow consumers), all back without a gap`,
    );
  },
);
