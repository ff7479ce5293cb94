import { connectTo } from "@sessiond/client";
import { formatApiKey, formatHostKey } from "@sessiond/shared";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { failure } from "../support/attached-seat.ts";
import { FalseDaemon } from "../support/false-daemon.ts";

/** The library as a page has it: nothing of Node, and the page's own WebSocket, for which that of `ws` stands in. */
const apiKey = formatApiKey(`key_${"K".repeat(22)}`, "k".repeat(32));
beforeEach(() => void vi.stubGlobal("WebSocket", WebSocket));
afterEach(() => void vi.unstubAllGlobals());

test("B2 a page's handle goes to its address alone and shows the API key in its calls alone", async () => {
  await using peer = await FalseDaemon.listen();
  expect((await failure(connectTo({ url: peer.url, apiKey: formatHostKey("h".repeat(43)) }))).code).toBe("unauthenticated");
  expect(peer.connections).toBe(0);
  await using host = await connectTo({ url: peer.url, apiKey });
  expect(await host.listSessions()).toEqual({ sessions: [], next: null });
  expect(peer.doorstep).not.toContain("ssdk_");
  expect(peer.text.match(/"auth":\{[^}]*\}/g)).toEqual([`"auth":{"api_key":"${apiKey}"}`]);
});

test("a page without a WebSocket, or to whose address nobody answers, is told so", async () => {
  const { code, message } = await failure(connectTo({ url: "ws://127.0.0.1:1", apiKey }));
  // Nobody can start a daemon from a page.
  expect([code, message]).toEqual(["daemon_unreachable", expect.stringMatching(/reached\. See on its machine whether it runs and listens there/) as string]);
  vi.stubGlobal("WebSocket", undefined);
  expect((await failure(connectTo({ url: "ws://127.0.0.1:1", apiKey }))).message).toContain("@sessiond/client/node");
});

test("B34 a page asks a quiet daemon whether it is there, and gives up one that does not answer; it dials again", async () => {
  const limits = { heartbeat_ms: 20, heartbeat_wait_ms: 20 };
  await using well = await FalseDaemon.listen({ limits });
  await using host = await connectTo({ url: well.url, apiKey });
  await host.listSessions();
  const pings = (): number => well.heard.filter((each) => each === "PING").length;
  await vi.waitFor(() => expect(pings()).toBeGreaterThan(8), { timeout: 10_000 });
  await using dead = await FalseDaemon.listen({ limits, mute: true });
  await using other = await connectTo({ url: dead.url, apiKey });
  const watch = other.observe().watch();
  await vi.waitFor(() => expect(dead.connections).toBeGreaterThan(3), { timeout: 10_000 });
  watch.close();
});
