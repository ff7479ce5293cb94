import { connect } from "@sessiond/client/node";
import { afterEach, expect, test, vi } from "vitest";
import WebSocket from "ws";
import { removeRoot, testEnv } from "../../packages/daemon/src/testing.ts";
import { selfSigned } from "../support/certificate.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { makeWorkdir } from "../support/gate-world.ts";
import { startTcpDaemon, type TcpDaemon } from "../support/tcp-daemon.ts";

/**
 * A reader at the end of a slow line: it takes all the time, and much less than is there for it. Node tells that a message
 * has left only when the whole of it has, and all that waited beside it: here that is tens of megabytes.
 */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each();
});

const answers = 64;
const pad = "0123456789abcdef".repeat(8_192);

/** A conversation of some pages, and a message that asks for the same page again and again. */
async function askedFor(daemon: TcpDaemon): Promise<string> {
  const host = await connect({ env: testEnv(daemon.root), autoStart: false });
  undo.push(() => host.close());
  const session = await host.startSession({ workdir: await makeWorkdir(daemon), model: "practice" });
  const driver = await session.attach({ as: "driver" });
  for (let n = 0; n < 4; n++) await driver.prompt(`say ${n}${pad}`);
  const input = { session_id: session.id, auth: { token: session.token } };
  return JSON.stringify(Array.from({ length: answers }, (_, id) => ({ id, method: "query", params: { path: "session_data", input } })));
}

/** A reader that takes when it is told to, and then as much as it is told at least. */
class SlowReader {
  readonly #socket: WebSocket;
  #line: { readonly bytesRead: number } = { bytesRead: 0 };
  read = 0;
  bytes = 0;
  close: number | null = null;

  constructor({ tcp }: TcpDaemon) {
    this.#socket = new WebSocket(`${tcp.tls ? "wss" : "ws"}://127.0.0.1:${tcp.port}/`, { perMessageDeflate: false, rejectUnauthorized: false });
    undo.push(() => this.#socket.terminate());
    this.#socket.on("upgrade", (response) => (this.#line = response.socket));
    this.#socket.on("message", (text: Buffer) => {
      this.read += 1;
      this.bytes += text.length;
    });
    this.#socket.on("error", () => undefined);
    this.#socket.once("close", (code) => (this.close = code));
  }

  async ask(text: string): Promise<void> {
    await new Promise((resolve) => this.#socket.once("open", resolve));
    this.#socket.send(text);
  }

  async take(bytes: number): Promise<void> {
    const until = this.#line.bytesRead + bytes;
    this.#socket.resume();
    while (this.#line.bytesRead < until && this.read < answers && this.close === null) await new Promise((resolve) => setImmediate(resolve));
    this.#socket.pause();
  }
}

/** More than the system keeps between the two: so much of it has left the daemon meanwhile. */
const stepBytes = 8 * 1_048_576;
const cases = [
  { name: "the stall limit", firstMs: 0, tls: true, limits: { stall_ms: 1_000, heartbeat_ms: 1_000_000 } },
  // Its buffer is never full: the heartbeat judges alone.
  { name: "the heartbeat", firstMs: 1_000, tls: false, limits: { heartbeat_ms: 1_000, heartbeat_wait_ms: 1_000, socket_buffer_bytes_max: 64 * 1_048_576 } },
];

test.each(cases)(
  "B33 B34 over a slow line a reader that takes all the time is not cut by $name, however long one message is under way",
  { timeout: 120_000 },
  async ({ tls, limits, firstMs }) => {
    const clock = new FakeClock();
    const daemon = await startTcpDaemon({ clock, limits, ...(tls && { pair: selfSigned("IP:127.0.0.1") }) });
    undo.push(async () => {
      await daemon.stop(0);
      await removeRoot(daemon.root);
    });
    const asks = await askedFor(daemon);
    const reader = new SlowReader(daemon);
    await reader.ask(asks);
    await reader.take(1_048_576);
    // The probe, where there is one: it comes to stand behind all the answers, which are given one by one.
    if (firstMs > 0) await vi.waitUntil(() => daemon.counters.calls.get("session_data")?.get("ok") === answers, { timeout: 60_000 });
    clock.advance(firstMs);
    for (const _ of [1, 2]) {
      await reader.take(stepBytes);
      clock.advance(1_000);
    }
    expect([reader.read < answers, reader.close]).toEqual([true, null]);
    await reader.take(Infinity);
    expect([reader.read, reader.close, daemon.counters.slowConsumers]).toEqual([answers, null, 0]);
    console.log(`B33: ${(reader.bytes / 1_048_576).toFixed(1)} MB over ${tls ? "TLS" : "TCP"} to a slow reader: not cut`);
  },
);
