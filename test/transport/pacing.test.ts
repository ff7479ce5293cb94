import { EventEmitter } from "node:events";
import { limits } from "@sessiond/shared";
import { expect, test } from "vitest";
import type { WebSocket } from "ws";
import { Counters } from "../../packages/daemon/src/counters.ts";
import { PacedConnection } from "../../packages/daemon/src/transport/pacing.ts";
import { FakeClock } from "../support/fake-clock.ts";

/** A socket of which nothing has left yet. */
class FullSocket extends EventEmitter {
  readonly OPEN = 1;
  readonly readyState = 1;
  readonly bufferedAmount = limits.socket_buffer_bytes_max + 1;
  closed: number | null = null;
  send(): void {}
  pause(): void {}
  resume(): void {}
  terminate(): void {}
  close(code: number): void {
    this.closed = code;
  }
}

test("B33 while one long message is under way its reader is judged by the bytes that he takes of it, not by the message", async () => {
  const clock = new FakeClock();
  const socket = new FullSocket();
  const counters = new Counters();
  let taken = 0;
  const outflow = { said: () => limits.socket_buffer_bytes_max, taken: () => taken };
  const connection = new PacedConnection(socket as unknown as WebSocket, { door: "tcp", name: "1" }, { clock, limits, counters, outflow });
  let slow: unknown;
  connection.ready().catch((error: unknown) => (slow = error));
  const pass = async (bytes: number): Promise<void> => {
    taken += bytes;
    clock.advance(limits.stall_ms);
    await new Promise((resolve) => setImmediate(resolve));
  };
  for (let times = 0; times < 5; times++) await pass(limits.stall_bytes_min);
  expect([slow, socket.closed, counters.slowConsumers]).toEqual([undefined, null, 0]);
  await pass(limits.stall_bytes_min - 1);
  expect([slow, socket.closed, counters.slowConsumers]).toEqual([expect.objectContaining({ code: "slow_consumer" }), 4008, 1]);
});
