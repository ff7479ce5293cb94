import { mkdir } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import WebSocket from "ws";
import { limits } from "@sessiond/shared";
import { readConfig } from "../../packages/daemon/src/config.ts";
import { startDaemon } from "../../packages/daemon/src/main.ts";
import { linkInProcess, removeRoot, startTestDaemon, testEnv, testRoot } from "../../packages/daemon/src/testing.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { endRigs, Rig, seatSecret } from "../support/session-rig.ts";

/** What a peer can do to the door without saying anything wrong, and what a dead token still gets. */
afterEach(endRigs);

test("B40 a connection that never says a word does not keep the daemon from going", async () => {
  const daemon = await startTestDaemon();
  const silent = connect(daemon.socketPath);
  const cut = new Promise((resolve) => silent.once("close", resolve));
  await new Promise((resolve) => silent.once("connect", resolve));
  // The daemon has it.
  await new Promise((resolve) =>
    daemon.door.server.getConnections((_error, count) => (count > 0 ? resolve(count) : daemon.door.server.once("connection", resolve))),
  );
  silent.on("error", () => undefined);
  await daemon.stop(0);
  await cut;
  await removeRoot(daemon.root);
});

test("B24 B33 who takes no answers is not listened to: its socket's buffer stays within its limit and one answer", async () => {
  const rig = await Rig.start();
  const seat = await rig.driver();
  await seat.prompt("hello");
  const turn = await rig.kind.turn();
  for (let count = 0; count < 8; count++) await turn.say("x".repeat(65_536));
  let buffered = 0;
  const send = WebSocket.prototype.send;
  const spied = vi.spyOn(WebSocket.prototype, "send").mockImplementation(function (this: WebSocket, ...args: unknown[]) {
    Reflect.apply(send, this, args);
    if (this !== client) buffered = Math.max(buffered, this.bufferedAmount);
  } as typeof send);
  const client = new WebSocket(`ws+unix://${rig.daemon.socketPath}:/`, { perMessageDeflate: false });
  await new Promise((resolve) => client.once("open", resolve));
  client.pause();
  const input = { session_id: rig.sessionId, auth: { token: rig.token } };
  for (let id = 1; id <= 200; id++) {
    client.send(JSON.stringify({ id, method: "query", params: { path: "session_data", input } }));
    // The daemon gets the time to answer.
    for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve));
  }
  spied.mockRestore();
  client.terminate();
  expect(buffered).toBeGreaterThan(0);
  expect(buffered).toBeLessThan(limits.socket_buffer_bytes_max + 10 * limits.page_bytes_max);
});

test("B4 a token that is revoked in the instant of its attach leaves no seat behind, and sees nothing", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const host = { host_key: rig.daemon.hostKey };
  const { token, record } = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "control", label: "doomed" }, host);
  const hold = disk.hold("replace", "session.json");
  const revoking = rig.daemon.call("revoke_token", { session_id: rig.sessionId, token_id: record.token_id }, host);
  await hold.reached;
  // Alive still, so the gate lets it in; its keys are stored behind the revocation.
  const attaching = expect(rig.driver("late", { token })).rejects.toMatchObject({ code: "token_ended", detail: { cause: "revoked" } });
  for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve));
  hold.release();
  await revoking;
  await attaching;
  const next = await rig.driver("next");
  expect(next.state.seats.map((seat) => seat.label)).toEqual(["next"]);
});

test("B4 a revoked token's stream ends at once also on a stopped session", async () => {
  const rig = await Rig.start();
  await rig.stop();
  const host = { host_key: rig.daemon.hostKey };
  const { token, record } = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: "v" }, host);
  let goOn = (): void => undefined;
  const ready = new Promise<void>((resolve) => (goOn = resolve));
  // There is room for the first item, and then none.
  let begun = false;
  const connection = linkInProcess({ ready: () => (begun ? ready : Promise.resolve()) });
  const caller = rig.daemon.router.createCaller({ connection }) as unknown as { attach(input: unknown): Promise<AsyncIterable<[string, { type: string }]>> };
  const auth = { token, seat_secret: seatSecret("v") };
  const items = (await caller.attach({ session_id: rig.sessionId, role: "viewer", label: "v", cursor: "1:0", auth }))[Symbol.asyncIterator]();
  expect((await items.next()).value[1].type).toBe("resumed");
  begun = true;
  await rig.daemon.call("revoke_token", { session_id: rig.sessionId, token_id: record.token_id }, host);
  goOn();
  await expect(items.next()).rejects.toMatchObject({ cause: { code: "token_ended" } });
});

test("B41 the longest socket path that is allowed can be listened on, whatever the pid", async () => {
  const root = await testRoot();
  const run = join(root, "x".repeat(limits.socket_path_bytes_max - root.length - 1 - "/sessiond/sock".length));
  await mkdir(run, { mode: 0o700 });
  const pid = vi.spyOn(process, "pid", "get").mockReturnValue(4_194_303);
  try {
    const log = { info: () => undefined, error: () => undefined };
    const daemon = await startDaemon(readConfig({ ...testEnv(root), XDG_RUNTIME_DIR: run }, []), { log });
    expect(Buffer.byteLength(daemon?.socketPath ?? "")).toBe(limits.socket_path_bytes_max);
    await daemon?.stop(0);
  } finally {
    pid.mockRestore();
    await removeRoot(root);
  }
});
