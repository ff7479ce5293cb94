import { connect } from "@sessiond/client/node";
import { limitTable, SessiondError as Failure, type ErrorCode } from "@sessiond/shared";
import { afterEach, expect, test } from "vitest";
import { removeRoot, startTestDaemon, testEnv, type TestDaemon, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { hostAuth, idOf, makeWorkdir, seatSecretOf } from "../support/gate-world.ts";
import { RawSocket, type RawReply } from "../support/raw-socket.ts";

/** What one caller may hold or send at once, and what it is told that wants more. */
let daemon: TestDaemon;
const sockets: RawSocket[] = [];
const begin = async (limits: TestOptions["limits"] = {}): Promise<RawSocket> => {
  daemon = await startTestDaemon({ limits });
  return open();
};
const open = async (): Promise<RawSocket> => {
  const socket = await RawSocket.open(daemon.socketPath);
  sockets.push(socket);
  return socket;
};
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  expect(daemon.bugs).toEqual([]);
  await daemon.stop(0);
  await removeRoot(daemon.root);
});

/** The error says which limit, of how much of what; where coming again helps, when. */
function told(error: RawReply["error"], code: ErrorCode, limit: keyof typeof limitTable, value: number): void {
  expect(error?.data).toMatchObject({ code, detail: { limit, value, unit: expect.any(String) as string } });
  expect(limitTable[limit].why).not.toBe("");
  const { message } = new Failure(code, error?.data.detail as Record<string, unknown>);
  expect(error?.message).toBe(message);
  expect(message).toContain(limit);
}

test("B7 calls under way on one connection are bounded: one more is told when to come again, and those under way are answered", async () => {
  const socket = await begin({ calls_per_connection_max: 3 });
  const auth = hostAuth(daemon);
  const replies = await Promise.all(Array.from({ length: 10 }, () => socket.call("query", "list_sessions", JSON.stringify({ auth }))));
  const refused = replies.flatMap(({ error }) => (error === undefined ? [] : [error]));
  expect(refused.length).toBe(7);
  for (const error of refused) {
    told(error, "rate_limited", "calls_per_connection_max", 3);
    expect(error.data.detail).toMatchObject({ retry_after_ms: expect.any(Number) as number });
  }
  // Places are given back, and another connection has its own.
  expect((await socket.call("query", "list_sessions", JSON.stringify({ auth }))).error).toBeUndefined();
  expect((await (await open()).call("query", "list_sessions", JSON.stringify({ auth }))).error).toBeUndefined();
});

test("B7 streams on one connection are bounded, and a place is given back when one ends", async () => {
  const socket = await begin({ subscriptions_per_connection_max: 2 });
  const { token, session } = await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon), model: "practice" }, hostAuth(daemon));
  const { session_id } = session;
  const attach = (letter: string) =>
    socket.call("subscription", "attach", JSON.stringify({ session_id, role: "viewer", label: "v", auth: { token, seat_secret: seatSecretOf(letter) } }));
  expect((await attach("A")).error).toBeUndefined();
  expect((await attach("B")).error).toBeUndefined();
  told((await attach("C")).error, "limit_reached", "subscriptions_per_connection_max", 2);
  expect((await daemon.call("session_info", { session_id }, hostAuth(daemon))).seats).toHaveLength(2);
  await daemon.call("detach", { session_id }, { token, seat_secret: seatSecretOf("A") });
  // The stream's end has been told before the next call is read.
  await expect.poll(async () => (await attach("C")).error?.data.code).toBeUndefined();
});

test("B7 connections are bounded: one more is turned away with the limit and a time, and is let in when another has gone", async () => {
  const socket = await begin({ connections_max: 2 });
  const host = await connect({ env: testEnv(daemon.root), autoStart: false });
  const error: unknown = await connect({ env: testEnv(daemon.root), autoStart: false, timeoutMs: 1_500 }).catch((failed: unknown) => failed);
  expect(error).toMatchObject({
    code: "daemon_unreachable",
    message: expect.stringContaining("limit connections_max reached (2 connections), try again in 1000 ms") as string,
  });
  await expect(open()).rejects.toThrow("503");
  expect(daemon.counters.turnedAway.get("connections_max")).toBeGreaterThan(1);
  socket.close();
  await socket.closed;
  const next = await connect({ env: testEnv(daemon.root), autoStart: false });
  expect((await next.status()).connections).toBe(2);
  await Promise.all([host.close(), next.close()]);
});

test("B7 seats, tokens, prompts and sessions have limits too, each told by name, value and unit, and nothing is done beyond them", async () => {
  const socket = await begin({ seats_max: 1, tokens_live_max: 1, queue_prompts_max: 1, sessions_live_max: 1 });
  const owner = hostAuth(daemon);
  const { token, session } = await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon), model: "practice" }, owner);
  const { session_id } = session;
  const auth = { token, seat_secret: seatSecretOf("D") };
  await socket.call("subscription", "attach", JSON.stringify({ session_id, role: "driver", label: "d", auth }));
  const ask = async (kind: string, verb: string, input: object) => (await socket.call(kind, verb, JSON.stringify(input))).error;
  const prompt = (letter: string, text: string) =>
    ask("mutation", "send_prompt", { session_id, prompt_id: idOf("prm", letter), parts: [{ type: "text", text }], when_busy: "queue", auth });
  const viewer = { session_id, role: "viewer", label: "v", auth: { token, seat_secret: seatSecretOf("V") } };
  told(await ask("subscription", "attach", viewer), "limit_reached", "seats_max", 1);
  told(await ask("mutation", "mint_token", { session_id, right: "view", label: "x", auth: owner }), "limit_reached", "tokens_live_max", 1);
  told(
    await ask("mutation", "start_session", { request_id: idOf("req", "A"), workdir: await makeWorkdir(daemon, "b"), auth: owner }),
    "limit_reached",
    "sessions_live_max",
    1,
  );
  told(await prompt("A", "x".repeat(300_000)), "limit_reached", "prompt_bytes_max", limitTable.prompt_bytes_max.value);
  expect(await prompt("B", "wait 60000")).toBeUndefined();
  expect(await prompt("C", "say later")).toBeUndefined();
  told(await prompt("D", "say too late"), "queue_full", "queue_prompts_max", 1);
  const info = await daemon.call("session_info", { session_id }, owner);
  expect(info.seats).toHaveLength(1);
  expect(info.queue.map(({ prompt_id }) => prompt_id)).toEqual([idOf("prm", "C")]);
  expect((await daemon.call("list_tokens", { session_id }, owner)).tokens).toHaveLength(1);
  expect((await daemon.call("list_sessions", {}, owner)).sessions).toHaveLength(1);
});

test("B7 a message beyond the frame limit closes its connection and nobody else's", async () => {
  const socket = await begin();
  const other = await open();
  void socket.call("query", "hello", JSON.stringify({ junk: "x".repeat(limitTable.request_bytes_max.value) }));
  await socket.closed;
  expect((await other.call("query", "hello", '{"protocol":{"min":1,"max":1}}')).error).toBeUndefined();
});
