import { stat } from "node:fs/promises";
import { afterEach, expect, test } from "vitest";
import type { EncodedFrames } from "../../packages/daemon/src/room/encoded-frames.ts";
import type { SessionLog } from "../../packages/daemon/src/session/session-log.ts";
import { whole } from "../support/amount.ts";
import { CountedWork, type Work } from "../support/counted-work.ts";
import { endLogs, LogRig } from "../support/log-rig.ts";
import { turnEvents } from "../support/long-log.ts";
import { RawReader } from "../support/raw-reader.ts";
import { endRigs, Rig } from "../support/session-rig.ts";

/** A frame is validated, encoded and written once, whoever watches; what one turn of the event loop made is one write, and whoever waits shares a sync. */
let counting: CountedWork | undefined;
const readers: RawReader[] = [];
afterEach(async () => {
  counting?.end();
  for (const reader of readers.splice(0)) reader.end();
  await endRigs();
  await endLogs();
});

const logOf = (rig: Rig): SessionLog => {
  const session = rig.daemon.host.inMemory(rig.sessionId);
  if (session === undefined) throw new Error("the session is not in memory");
  return session.log;
};

const viewersOf = whole ? [0, 1, 10, 50, 200] : [0, 1, 10];
const groups = 10;
const shape = { chunks: 26, chunkChars: 1_000 };
const framesEach = shape.chunks + 4;

/** Some turns, each in one turn of the event loop, with so many viewers on the daemon's socket who take all of it. */
async function watched(viewers: number): Promise<{ work: Work; bytes: number }> {
  const rig = await Rig.start();
  const log = logOf(rig);
  const { socketPath } = rig.daemon;
  const own: RawReader[] = [];
  let token = "";
  for (let n = 0; n < viewers; n++) {
    // One token has so many seats and no more.
    if (n % 50 === 0) ({ token } = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: `from ${n}` }, { token: rig.token }));
    own.push(new RawReader({ socketPath, sessionId: rig.sessionId, token, label: `viewer-${n}` }));
  }
  readers.push(...own);
  for (const reader of own) await reader.until(({ types }) => types.length > 0);
  await log.durable(log.decided.state.seq);
  await log.idle();
  for (const reader of own) await reader.until(({ seq, types }) => seq === log.room.head || (types.length === 1 && reader.head === log.room.head));
  const before = (await stat(rig.journalPath)).size;
  const count = new CountedWork(rig.daemon.counters);
  counting = count;
  const work = await count.of(async () => {
    for (let n = 0; n < groups; n++) {
      for (const event of turnEvents(n, shape)) log.apply(event);
      await log.room.shown(log.decided.state.seq);
      for (const reader of own) await reader.until(({ seq }) => seq === log.room.head);
    }
    await log.durable(log.decided.state.seq);
  });
  count.end();
  for (const reader of own) expect(reader).toMatchObject({ gap: null, error: null, frames: reader.frames, seq: log.room.head });
  const bytes = (await stat(rig.journalPath)).size - before;
  await endRigs();
  return { work, bytes };
}

/** A batch's envelope, without its frames: cursors, ids. */
const envelopeChars = 400;

test("B30 a frame is validated, encoded and written once, whatever the number of viewers; each of them gets it once, in the fewest batches", async () => {
  for (const viewers of viewersOf) {
    const { work, bytes } = await watched(viewers);
    const frames = groups * framesEach;
    expect(work, `${viewers} viewers`).toMatchObject({
      framesEncoded: frames,
      eventsValidated: frames,
      framesShown: frames,
      framesDecoded: 0,
      framesSent: frames * viewers,
      batchesSent: groups * viewers,
      journalWrites: groups,
      journalWrittenBytes: bytes,
      journalReadBytes: 0,
      journalSyncs: 1,
      digests: 0,
      filesReplaced: 0,
    });
    // Their text was made once; round it each batch has an envelope of its own. A line or two of the audit may be late.
    expect(work.jsonChars - bytes, `${viewers} viewers`).toBeLessThanOrEqual((work.batchesSent + 5) * envelopeChars);
    // Made into bytes once for the disk, and once for all viewers.
    expect(work.encodedChars - (viewers > 0 ? 2 : 1) * bytes, `${viewers} viewers`).toBeLessThanOrEqual((work.batchesSent + 5) * envelopeChars);
  }
});

test("B33 viewers who fell behind together share what is read for them: the journal is read once, in batches that are the same for all, and none of it is kept", async () => {
  const rig = await LogRig.open({ limits: { window_frames_max: 4, window_bytes_max: 10_000_000, segment_bytes_max: 10_000_000, batch_bytes_max: 20_000 } });
  await rig.begin();
  for (let n = 0; n < 40; n++) await rig.turn(n, { chunks: 50 });
  const { room } = rig.log;
  const read = async (): Promise<EncodedFrames[]> => {
    const [standing, all] = [room.stand(0), [] as EncodedFrames[]];
    for await (const { frames } of room.read(standing, new AbortController().signal)) {
      all.push(frames);
      if (standing.after === room.head) break;
    }
    room.leave(standing);
    return all;
  };
  const before = rig.counters.journalReadBytes;
  const alone = await read();
  const once = rig.counters.journalReadBytes - before;
  const [first = [], ...others] = await Promise.all(Array.from({ length: 20 }, read));
  expect(rig.counters.journalReadBytes - before).toBe(2 * once);
  expect(first.map(({ texts }) => texts)).toEqual(alone.map(({ texts }) => texts));
  expect(first.flatMap(({ texts }) => texts)).toHaveLength(room.head);
  for (const other of others) expect(other.every((frames, place) => frames === first[place])).toBe(true);
  // Who comes when they have left reads anew.
  await read();
  expect(rig.counters.journalReadBytes - before).toBe(3 * once);
});

const gathered = async (rig: LogRig, work: () => Promise<unknown>): Promise<[writes: number, syncs: number, bytes: number]> => {
  const { journalWrites, journalSyncs, journalWrittenBytes } = rig.counters;
  await work();
  await rig.log.idle();
  return [rig.counters.journalWrites - journalWrites, rig.counters.journalSyncs - journalSyncs, rig.counters.journalWrittenBytes - journalWrittenBytes];
};

test("B30 group commit, counted: what is made together is one write and one sync, however many wait for it; what nobody waits for is written and not synced", async () => {
  const rig = await LogRig.open({ limits: { segment_bytes_max: 10_000_000 } });
  await rig.begin();
  const note = (n: number): number => rig.apply({ type: "system_message", text: `note ${n}`, by: { label: "editor" } });
  for (const together of [1, 2, 64, 500]) {
    const size = await rig.bytesOnDisk();
    const done = await gathered(rig, () => Promise.all(Array.from({ length: together }, (_, n) => rig.log.durable(note(n)))));
    expect(done, `${together} at once`).toEqual([1, 1, (await rig.bytesOnDisk()) - size]);
  }
  const alone = await gathered(rig, async () => {
    for (let n = 0; n < 20; n++) await rig.log.durable(note(n));
  });
  expect(alone.slice(0, 2)).toEqual([20, 20]);
  const shown = await gathered(rig, async () => {
    for (let n = 0; n < 20; n++) await rig.log.room.shown(note(n));
  });
  expect(shown.slice(0, 2)).toEqual([20, 0]);
  // One sync covers all of them, and who asks again needs none.
  const asked = await gathered(rig, () => Promise.all([rig.log.durable(1), rig.log.durable(rig.log.decided.state.seq), rig.log.durable(2)]));
  expect(asked).toEqual([0, 1, 0]);
  expect(await gathered(rig, () => rig.log.durable(rig.log.decided.state.seq))).toEqual([0, 0, 0]);
});

test("B24 sessions share nothing of it: each that is written to has its own write and its own sync, and the others have none", async () => {
  const rig = await Rig.start();
  const others = await Promise.all(["one", "two", "three"].map((name) => rig.another(name)));
  const notes = (of: Rig): Promise<void> => {
    const log = logOf(of);
    for (let n = 0; n < 10; n++) log.apply({ type: "system_message", text: `note ${n}`, by: { label: "editor" } });
    return log.durable(log.decided.state.seq);
  };
  const count = new CountedWork(rig.daemon.counters);
  counting = count;
  expect(await count.of(() => notes(rig))).toMatchObject({ journalWrites: 1, journalSyncs: 1, framesEncoded: 10, eventsValidated: 10 });
  expect(await count.of(() => Promise.all([rig, ...others].map(notes)))).toMatchObject({
    journalWrites: 4,
    journalSyncs: 4,
    framesEncoded: 40,
    eventsValidated: 40,
  });
});

test("B30 a call takes the digests that it needs, and no more: of its token, of its seat's secret, of its prompt", async () => {
  const rig = await Rig.start({ script: { auto: (turn) => void turn.say("answer").then(() => turn.end()) } });
  const driver = await rig.driver();
  const count = new CountedWork(rig.daemon.counters);
  counting = count;
  const digestsOf = async (work: () => Promise<unknown>): Promise<number> => (await count.of(work)).digests;
  const session = { session_id: rig.sessionId };
  expect(await digestsOf(() => rig.daemon.call("authorize", session, { token: rig.token }))).toBe(1);
  expect(await digestsOf(() => rig.info())).toBe(1);
  expect(await digestsOf(() => rig.daemon.call("daemon_status", {}, { host_key: rig.daemon.hostKey }))).toBe(1);
  expect(await digestsOf(() => driver.prompt("hello"))).toBe(3);
  await driver.event("turn_ended");
  expect(await digestsOf(() => rig.attach("viewer"))).toBe(2);
});
