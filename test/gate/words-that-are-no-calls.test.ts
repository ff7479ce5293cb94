/** What can be said at the door without making a call, or before one is looked at, is bounded too: by count, by length, in time, and in what waits to be taken. */
import { formatToken, limits as defaults } from "@sessiond/shared";
import { afterEach, expect, test, vi } from "vitest";
import WebSocket from "ws";
import { removeRoot, startTestDaemon, type TestDaemon, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { hostAuth, makeWorkdir } from "../support/gate-world.ts";

const openCalls = "open_calls_per_peer_per_minute_max";
const clock = new FakeClock();
let daemon: TestDaemon;
const peers: Peer[] = [];

class Peer {
  readonly socket: WebSocket;
  readonly received: string[] = [];
  readonly closed: Promise<number>;
  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("message", (data) => void this.received.push(String(data)));
    socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => socket.once("close", resolve));
  }
  say(text: string, times = 1): void {
    for (let each = 0; each < times; each++) this.socket.send(text);
  }
  count(part: string): number {
    return this.received.filter((text) => text.includes(part)).length;
  }
  /** Until it is closed, or so many answers have come with that in them. @returns the close code, or undefined */
  async orClosed(part: string, count = 1): Promise<number | undefined> {
    let code: number | undefined;
    void this.closed.then((closed) => (code = closed));
    await vi.waitFor(() => expect(code !== undefined || this.count(part) >= count).toBe(true), 10_000);
    return code;
  }
  /** Its answers come in order: when this one is here, all before it are. */
  async hello(): Promise<void> {
    const before = this.count('"protocol"');
    this.say(hello);
    await vi.waitFor(() => expect(this.count('"protocol"')).toBe(before + 1), 10_000);
  }
}
const hello = JSON.stringify({ id: 1, method: "query", params: { path: "hello", input: { protocol: { min: 1, max: 1 } } } });

async function begin(options: TestOptions = {}): Promise<void> {
  daemon = await startTestDaemon({ clock, ...options });
}
async function open(place = daemon.socketPath): Promise<Peer> {
  const socket = new WebSocket(place.startsWith("ws://") ? place : `ws+unix://${place}:/`, { perMessageDeflate: false });
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  const peer = new Peer(socket);
  peers.push(peer);
  return peer;
}
const door = async (): Promise<string> => `ws://127.0.0.1:${(await daemon.call("daemon_status", {}, hostAuth(daemon))).tcp?.port}/`;

afterEach(async () => {
  for (const { socket } of peers.splice(0)) socket.terminate();
  expect(daemon.bugs).toEqual([]);
  await daemon.stop(0);
  await removeRoot(daemon.root);
});

test.each(["PING", "PONG", "[]", '{"id":7,"method":"subscription.stop"}', '{"id":7,"method":"query","params":{"path":"no_such_verb"}}'])(
  "B7 B34 who says %s and makes no call is cut when the time for a hello is over; who makes one stays",
  async (word) => {
    await begin();
    const [talker, client] = [await open(), await open()];
    await client.hello();
    talker.say(word, 3);
    // Said after them, on the same connection.
    talker.say("PING");
    await vi.waitFor(() => expect(talker.received).toContain("PONG"), 10_000);
    clock.advance(defaults.hello_wait_ms - 1);
    talker.say(word);
    clock.advance(1);
    // Where it is cut at once the close frame may be lost.
    talker.say(hello);
    expect([1_006, 1_008]).toContain(await talker.orClosed('"protocol"'));
    await client.hello();
  },
);

test("B7 the adapter's own words are counted over TCP like any that are no call, until there were too many; on the unix socket nobody counts them", async () => {
  await begin({ listen: "127.0.0.1:0", limits: { [openCalls]: 50 } });
  const [near, far] = [await open(), await open(await door())];
  near.say("PING", 500);
  await near.hello();
  expect(near.count("PONG")).toBe(500);
  far.say("PING", 500);
  far.say(hello);
  expect(await far.orClosed('"protocol"')).toBe(4029);
  // The connection was the first of the 50; who went too far is answered that once.
  expect(far.received).toEqual(Array(50).fill("PONG"));
  expect(daemon.counters.throttled.get(openCalls)).toBe(1);
});

test("B7 until a right credential was shown on a TCP connection its long messages count by their length; then they do not", async () => {
  await begin({ listen: "127.0.0.1:0", limits: { [openCalls]: 50 } });
  const { token, session } = await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon), model: "practice" }, hostAuth(daemon));
  const { session_id } = session;
  const call = (shown: string): string =>
    JSON.stringify({
      id: 2,
      method: "query",
      params: { path: "session_info", input: { session_id, nonsense: "x".repeat(8 * defaults.open_call_bytes_max), auth: { token: shown } } },
    });
  const known = await open(await door());
  // As the first word too: a prompt may have to go out again on a new connection.
  known.say(call(token), 20);
  await vi.waitFor(() => expect(known.count("bad_request")).toBe(20), 10_000);
  const stranger = await open(await door());
  stranger.say(call(formatToken("control", session_id, "w".repeat(32))), 20);
  expect(await stranger.orClosed("unauthenticated", 20)).toBe(4029);
  // Two connections and each first message's eight are 10; of the others five fit into 50, and one goes too far.
  expect(daemon.counters.calls.get("session_info")?.get("unauthenticated")).toBeLessThanOrEqual(6);
  await known.hello();
});

test("B24 B33 who takes no answers has few of them waiting, however short they are; it gets them when it takes them", async () => {
  await begin();
  let [waiting, most] = [0, 0];
  const send = WebSocket.prototype.send;
  const spied = vi.spyOn(WebSocket.prototype, "send").mockImplementation(function (this: WebSocket, ...args: unknown[]) {
    const [data, how, done] = args as [Buffer, object, ((error?: Error) => void) | undefined];
    if (this === peer?.socket || done === undefined) return Reflect.apply(send, this, args) as void;
    most = Math.max(most, (waiting += 1));
    Reflect.apply(send, this, [data, how, (error?: Error) => ((waiting -= 1), done(error))]);
  } as typeof send);
  let peer: Peer | undefined;
  try {
    peer = await open();
    peer.socket.pause();
    // The last ones are calls: none of those goes unanswered, if only by a refusal.
    peer.say("PING", 20_000);
    peer.say(hello, 3_000);
    await vi.waitFor(() => expect(most).toBeGreaterThan(defaults.socket_buffer_messages_max), 10_000);
    for (let turns = 0; turns < 200; turns++) await new Promise((resolve) => setImmediate(resolve));
    expect(most).toBeLessThan(2 * defaults.socket_buffer_messages_max);
    peer.socket.resume();
    await vi.waitFor(() => expect(peer?.count('"id":1')).toBe(3_000), 20_000);
    expect(most).toBeLessThan(3 * defaults.socket_buffer_messages_max);
  } finally {
    spied.mockRestore();
  }
});
