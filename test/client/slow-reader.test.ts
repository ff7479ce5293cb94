import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { connect } from "@sessiond/client/node";
import { limits, type Frame, type SessionEvent } from "@sessiond/shared";
import { removeRoot, startTestDaemon, testEnv } from "../../packages/daemon/src/testing.ts";
import { atSeq, attach, attached, range, seqOf, take } from "../support/attached-seat.ts";
import { batchOf, chunks, frameOf, resumedAt, sessionId, WirePeer, type PeerRequest } from "../support/wire-peer.ts";

/** A reader that takes little or nothing costs its process a bounded queue, and nobody anything else. */
const undo: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each();
});

/** What a seat at 10 gets as 64 frames a batch. */
const batches = (from: number, to: number, size = 0) =>
  Array.from({ length: Math.ceil((to - from + 1) / 64) }, (_, index) => batchOf(chunks(from + index * 64, Math.min(to, from + index * 64 + 63), size)));

/** Answers a page as a daemon whose newest frame is `head`. */
function givePage(request: PeerRequest, head: number, frames: readonly Frame[]): void {
  const after = Number(request.input["after"]);
  expect([request.verb, request.input["session_id"]]).toEqual(["session_data", sessionId]);
  const page = frames.filter(({ seq }) => seq > after && seq <= head).slice(0, limits.page_frames_max);
  request.answer({ frames: page, more: (page.at(-1)?.seq ?? after) < head, cursor: `1:${page.at(-1)?.seq}`, head });
}

test("B24 B33 a reader that takes nothing holds up neither its seat nor a call, keeps a bounded queue, and misses nothing", async () => {
  await using peer = await WirePeer.listen();
  const { seat, request, session } = await attached(peer);
  const events = seat.events[Symbol.asyncIterator]();
  // Far more than the queue and the system's buffers hold: what is not read stays with the peer.
  const head = 10 + 400 * 64;
  const sent = Promise.all(batches(11, head, 1_000).map((batch) => request.item(batch)));
  await atSeq(seat, head);
  await sent;
  expect(request.peer.ws.bufferedAmount).toBe(0);
  const asking = session.info();
  const { peer: calls, ...call } = await nextCall(peer);
  call.request.answer({ seq: head });
  await asking;

  const frames = chunks(11, head, 1_000);
  const pages: number[] = [];
  const serving = (async () => {
    for (let after = 0; after + limits.page_frames_max < head;) {
      const page = await calls.requests.next();
      pages.push((after = Number(page.input["after"])));
      givePage(page, head, frames);
    }
  })();
  const taken = await take(events, 1 + head - 10);
  expect(taken.map(seqOf)).toEqual(range(10, head));
  await serving;
  // The queue held so many and no more; each page begins where the one before it ended.
  expect(pages[0]).toBe(10 + limits.client_events_max - 1);
  expect(pages).toEqual(pages.map((_, index) => (pages[0] ?? 0) + index * limits.page_frames_max));
  // And it follows the stream again.
  await request.item(batchOf(chunks(head + 1, head + 2)));
  expect((await take(events, 2)).map(seqOf)).toEqual([head + 1, head + 2]);
  void session.close();
});

test("B31 a reader that fell behind misses nothing across a lost link, and reads a stopped session to its last frame", async () => {
  await using peer = await WirePeer.listen();
  const { seat, request } = await attached(peer);
  const events = seat.events[Symbol.asyncIterator]();
  const queued = 10 + limits.client_events_max - 1;
  for (const batch of batches(11, queued + 100)) void request.item(batch);
  await atSeq(seat, queued + 100);
  request.peer.drop();
  const again = await attach(peer);
  expect(again.input["cursor"]).toBe(`1:${queued + 100}`);
  await again.item(resumedAt(queued + 100));
  const stopped: SessionEvent = { type: "session_stopped", life: 1, by: { label: "owner" } };
  const head = queued + 201;
  await again.item(batchOf([...chunks(queued + 101, head - 1), frameOf(head, stopped)]));
  again.complete();
  expect((await seat.ended)?.code).toBe("session_stopped");

  const frames = [...chunks(queued + 1, head - 1), frameOf(head, stopped)];
  const reading = take(events, head);
  givePage((await nextCall(peer)).request, head, frames);
  const taken = await reading;
  expect(taken.map(seqOf)).toEqual(range(10, head));
  expect(taken.at(-1)).toMatchObject({ type: "frame", frame: { event: stopped } });
  expect(await events.next()).toEqual({ done: true, value: undefined });
});

test("B24 a prompt awaited inside the loop over its seat's events settles, however long its turn, and the loop then sees all of it", async () => {
  const daemon = await startTestDaemon();
  undo.push(() => removeRoot(daemon.root));
  undo.push(() => daemon.stop(0));
  const workdir = join(daemon.root, "work");
  await mkdir(workdir);
  const host = await connect({ env: testEnv(daemon.root), autoStart: false });
  undo.push(() => host.close());
  const session = await host.sessionForWorkdir(workdir, { model: "practice" });
  const seat = await session.attach({ as: "driver" });
  const seen: Frame[] = [];
  let first = 0;
  let turnId: string | null = null;
  for await (const event of seat.events) {
    if (event.type === "snapshot") {
      expect(turnId).toBeNull();
      first = event.state.seq + 1;
      ({ turnId } = await seat.prompt("stream 10000"));
      expect(seat.state.seq - first).toBeGreaterThan(2 * limits.client_events_max);
    } else {
      seen.push(event.frame);
      if (event.frame.event.type === "turn_ended") break;
    }
  }
  expect(seen.map(({ seq }) => seq)).toEqual(range(first, first + seen.length - 1));
  expect(seen.at(-1)?.event).toMatchObject({ type: "turn_ended", turn_id: turnId, stop_reason: "end_turn" });
  const text = seen.flatMap(({ event }) => (event.type === "agent_message_chunk" ? [event.content.text] : [])).join("");
  expect(text.trim()).toBe(range(1, 10_000).join(" "));
  expect(daemon.bugs).toEqual([]);
});

/** The first call on the connection of the calls. */
async function nextCall(peer: WirePeer): Promise<{ peer: PeerRequest["peer"]; request: PeerRequest }> {
  const calls = await peer.sockets.next();
  return { peer: calls, request: await calls.requests.next() };
}
