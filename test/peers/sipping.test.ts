import { afterEach, expect, test } from "vitest";
import { amount } from "../support/amount.ts";
import { PeersHome } from "../support/peers-home.ts";
import { RawReader } from "../support/raw-reader.ts";

/** A reader that is far behind and takes steadily: slow, and alive. */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each();
});

test(
  "B33 B34 a reader that takes little by little, behind a full socket for many heartbeats, is cut by neither limit and gets every frame",
  { timeout: 120_000 },
  async () => {
    const home = new PeersHome({ heartbeat_ms: 300, heartbeat_wait_ms: 700, stall_ms: 1_500 });
    undo.push(() => home.close());
    const host = await home.begin();
    const session = await host.sessionForWorkdir(home.directory("a"), { model: "practice" });
    const driver = await session.attach({ as: "driver" });
    const { cursor } = await session.info();
    const pad = "0123456789abcdef".repeat(8_192);
    const turns = amount(10, 64);
    for (let n = 0; n < turns; n++) await driver.prompt(`say ${n}${pad}`);
    const slow = new RawReader({ socketPath: home.socket, sessionId: session.id, token: session.token, label: "slow", cursor });
    slow.seq = Number(cursor.split(":")[1]);
    undo.push(() => slow.end());
    // One look into the socket every 60 ms: some 64 KB.
    const sips = setInterval(() => {
      slow.resume();
      setImmediate(() => slow.pause());
    }, 60);
    undo.push(() => clearInterval(sips));
    await slow.until(({ probes, close, seq, head }) => probes >= amount(6, 30) || close !== null || (head > 0 && seq >= head));
    clearInterval(sips);
    const behind = driver.state.seq - slow.seq;
    slow.resume();
    await slow.until(({ seq, close }) => seq >= driver.state.seq || close !== null);
    expect([slow.close, slow.error, slow.gap, await home.metric("sessiond_slow_consumers_total")]).toEqual([null, null, null, 0]);
    console.log(`B34: ${turns} turns of 256 KB, ${slow.probes} probes, at last ${behind} frames behind: never cut`);
  },
);
