import type { AttachItem, SessionState } from "@sessiond/shared";
import { expect, test } from "vitest";
import type { Door } from "../../packages/client/src/door.ts";
import { Link, type StreamListener } from "../../packages/client/src/link.ts";
import { OneReader } from "../../packages/client/src/one-reader.ts";
import { SeatStream } from "../../packages/client/src/seat-stream.ts";
import type { Wire, WireListener } from "../../packages/client/src/wire.ts";
import { batchOf, chunks, frameOf, sessionId, snapshotAt, token } from "../support/wire-peer.ts";

/** What the client's side of a stream and of a call costs, counted: states made, waits begun, messages sent. */

/** A seat whose daemon is the test. */
async function seated(): Promise<{ stream: SeatStream; give(item: AttachItem): void }> {
  let listener: StreamListener<"attach"> | undefined;
  const link = { subscribe: (_verb: string, _input: unknown, given: StreamListener<"attach">) => void (listener = given), close: () => undefined };
  const door = { open: () => Promise.resolve(link), heard: () => undefined } as unknown as Door;
  const stream = new SeatStream(door, { sessionId, role: "viewer", label: "reader", auth: { token } });
  stream.start();
  await Promise.resolve();
  await Promise.resolve();
  const give = (item: AttachItem): void => listener?.data(item);
  give(snapshotAt(10));
  return { stream, give };
}

test("B30 a seat makes one state of the chunks of one message that come together, whatever their number; each watcher still gets each frame", async () => {
  const { stream, give } = await seated();
  const states = new Set<SessionState>();
  const seqs: number[] = [];
  stream.watch({
    frame: ({ seq }) => {
      expect(stream.state.seq).toBeGreaterThanOrEqual(seq);
      states.add(stream.state);
      seqs.push(seq);
    },
  });
  give(batchOf(chunks(11, 74)));
  expect(states.size).toBe(1);
  // What is no chunk has a state of its own, and what it says of the seat is not told before its time.
  const by = { label: "editor" };
  give(batchOf([...chunks(75, 80), frameOf(81, { type: "system_message", text: "a note", by }), ...chunks(82, 90)]));
  expect([...states].map(({ seq }) => seq)).toEqual([74, 80, 81, 90]);
  expect(seqs).toEqual(Array.from({ length: 80 }, (_, index) => 11 + index));
  stream.close();
});

/** A reading of numbers that counts who waits; null is its end. */
function numbers() {
  const there: (number | null)[] = [];
  let wake: () => void = () => undefined;
  const counted = { takes: 0 };
  // The end stays the end.
  const next = (): number | null => (there[0] === null ? null : (there.shift() ?? null));
  const reader = new OneReader<number>(() => ({
    ready: next,
    async take() {
      counted.takes += 1;
      while (there.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      return next();
    },
    close: () => undefined,
  }));
  const put = (...more: (number | null)[]): void => {
    there.push(...more);
    wake();
  };
  return { reader, counted, put };
}

test("B30 a reader waits once for what comes together, not once for each event", async () => {
  const { reader, counted, put } = numbers();
  put(...Array.from({ length: 64 }, (_, index) => index), null);
  const got: number[] = [];
  for await (const event of reader) got.push(event);
  expect([got.length, counted.takes]).toEqual([64, 1]);
});

test("B31 what is there already does not overtake a read that waits: each gets its own, in the order of asking", async () => {
  const { reader, put } = numbers();
  const events = reader[Symbol.asyncIterator]();
  const first = events.next();
  const second = events.next();
  put(1, 2, 3);
  // The two that wait have not been woken yet.
  const third = events.next();
  const read = await Promise.all([first, second, third]);
  expect(read.map(({ value }) => value)).toEqual([1, 2, 3]);
  put(4, null);
  expect([await events.next(), await events.next(), await events.next()]).toEqual([
    { done: false, value: 4 },
    { done: true, value: undefined },
    { done: true, value: undefined },
  ]);
});

/** A link whose wire keeps what was said; `hello` is answered. */
async function linked(): Promise<{ link: Link; said: { id: number; params?: { path: string } }[]; answer(id: number, data: unknown): void }> {
  const said: { id: number; params?: { path: string } }[] = [];
  let listener: WireListener | undefined;
  const answer = (id: number, data: unknown): void => listener?.received(JSON.stringify({ id, result: { type: "data", data } }));
  const wire: Wire = {
    send: (text) => {
      const message = JSON.parse(text) as { id: number; params?: { path: string } };
      said.push(message);
      if (message.params?.path === "hello") answer(message.id, { protocol: 1, range: { min: 1, max: 1 }, version: "0", limits: {} });
    },
    close: () => undefined,
    heartbeat: () => undefined,
  };
  const opening = { signal: new AbortController().signal, speaks: { min: 1, max: 1 }, ended: () => undefined };
  const link = await Link.open((given) => {
    listener = given;
    queueMicrotask(() => given.opened());
    return wire;
  }, opening);
  return { link, said, answer };
}

test("a call is one message, sent in the step that makes it; it and the streams beside it have numbers of their own", async () => {
  const { link, said, answer } = await linked();
  const { signal } = new AbortController();
  const items: unknown[] = [];
  const first = link.call("authorize", { session_id: sessionId }, signal);
  link.subscribe("attach", { session_id: sessionId, role: "viewer", label: "x" }, { data: (item) => items.push(item), ended: () => undefined });
  const second = link.call("stop", { session_id: sessionId }, signal);
  expect(said.map(({ params }) => params?.path)).toEqual(["hello", "authorize", "attach", "stop"]);
  const [, one, stream, two] = said.map(({ id }) => id);
  expect(new Set(said.map(({ id }) => id)).size).toBe(4);
  answer(two ?? 0, "of stop");
  answer(stream ?? 0, { id: "1:1", data: "of attach" });
  answer(one ?? 0, "of authorize");
  expect([await first, await second, items]).toEqual(["of authorize", "of stop", ["of attach"]]);
});

test("a call that was given up before it began is not sent, and one that was given up later has no use for its answer", async () => {
  const { link, said, answer } = await linked();
  const over = AbortSignal.abort(new Error("over"));
  await expect(link.call("authorize", { session_id: sessionId }, over)).rejects.toThrow();
  expect(said.map(({ params }) => params?.path)).toEqual(["hello"]);
  const later = new AbortController();
  const call = link.call("authorize", { session_id: sessionId }, later.signal);
  later.abort(new Error("over"));
  await expect(call).rejects.toThrow();
  answer(said[1]?.id ?? 0, "too late");
  expect(said).toHaveLength(2);
});
