import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { Connection, Door, Session } from "@sessiond/client";
import { unixSocket } from "@sessiond/client/node";
import type { SessionEvent } from "@sessiond/shared";
import { readConfig } from "../../packages/daemon/src/config.ts";
import { startDaemon } from "../../packages/daemon/src/main.ts";
import { removeRoot, startTestDaemon, testEnv, testRoot, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { attach, attached, failure } from "../support/attached-seat.ts";
import { endRigs, Rig } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { batchOf, frameOf, sessionId, snapshotAt, token, turnId, WirePeer } from "../support/wire-peer.ts";

/** What happens between two steps that were thought of as one. */
const daemons: TestDaemon[] = [];
const roots: string[] = [];

afterEach(async () => {
  vi.restoreAllMocks();
  await endRigs();
  await Promise.all(daemons.splice(0).map((daemon) => daemon.stop(0)));
  await Promise.all(roots.splice(0).map(removeRoot));
});

async function newRoot(): Promise<string> {
  const root = await testRoot();
  roots.push(root);
  return root;
}

/** Folders to start sessions in. */
const workdirsOf = (rig: Rig, names: readonly string[]): Promise<string[]> =>
  Promise.all(
    names.map(async (name) => {
      const workdir = join(rig.daemon.root, name);
      await mkdir(workdir);
      return workdir;
    }),
  );

const startIn = (rig: Rig, workdir: string) => rig.daemon.call("start_or_get_for_workdir", { workdir }, { host_key: rig.daemon.hostKey });
const full = { code: "limit_reached", detail: { limit: "sessions_live_max", value: 2 } };

test("B7 sessions_live_max also holds for sessions that are started side by side", async () => {
  const rig = await Rig.start({ limits: { sessions_live_max: 2 } });
  const workdirs = await workdirsOf(rig, ["a", "b", "c"]);
  const started = await Promise.allSettled(workdirs.map((workdir) => startIn(rig, workdir)));
  const refused = started.filter(({ status }) => status === "rejected");
  expect(refused).toMatchObject([{ reason: full }, { reason: full }]);
  expect(rig.daemon.host.awake).toHaveLength(2);
});

test.each([
  ["open", "/journal"],
  ["replace", "registry.json"],
] as const)("B7 a start that fails takes up no place of sessions_live_max (%s of %s)", async (step, file) => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk, limits: { sessions_live_max: 2 } });
  const [failing = "", next = "", beyond = ""] = await workdirsOf(rig, ["a", "b", "c"]);
  void disk.fail(step, file);
  await expect(startIn(rig, failing)).rejects.toMatchObject({ code: "storage_failed" });
  expect(await startIn(rig, next)).toMatchObject({ created: true });
  await expect(startIn(rig, beyond)).rejects.toMatchObject(full);
});

test("B31 a turn whose end is on a page before it is in the stream still settles with its text", async () => {
  await using peer = await WirePeer.listen();
  const { seat, request, session } = await attached(peer);
  const promptId = `prm_${"P".repeat(22)}`;
  const prompting = seat.prompt("go", { promptId });
  const call = await (await peer.sockets.next()).requests.next();
  request.peer.drop();
  const again = await attach(peer);
  // The stream lags: its state is older than the transcript.
  await again.item(snapshotAt(10, { reset: "beyond_end" }));
  const reading = await call.peer.requests.next();
  expect(reading.verb).toBe("session_data");
  const happened: SessionEvent[] = [
    {
      type: "prompt_accepted",
      prompt_id: promptId,
      parts: [{ type: "text", text: "go" }],
      digest: "d",
      when_busy: "queue",
      became: "started",
      by: { label: "test" },
    },
    { type: "turn_started", turn_id: turnId, prompt_ids: [promptId] },
    { type: "prompt_delivered", prompt_id: promptId, turn_id: turnId },
    { type: "agent_message_chunk", turn_id: turnId, message_id: "m", content: { type: "text", text: "done" } },
    { type: "turn_ended", turn_id: turnId, stop_reason: "end_turn" },
  ];
  const frames = happened.map((event, index) => frameOf(11 + index, event));
  reading.answer({ frames, more: false, cursor: "1:15", head: 15 });
  // On the same connection, so the page was read when this is answered.
  const asking = session.info();
  (await call.peer.requests.next()).answer({});
  await asking;
  await again.item(batchOf(frames));
  call.answer({ session_id: sessionId, seq: 11, prompt_id: promptId, became: "started" });
  expect(await prompting).toEqual({ promptId, turnId, stopReason: "end_turn", text: "done" });
  void session.close();
});

test("B38 B41 where there is no room for the state lock's text the daemon starts, and is still the only one", async () => {
  const root = await newRoot();
  const probe = await open(join(root, "probe"), "w");
  const handles = Object.getPrototypeOf(probe) as typeof probe;
  await probe.close();
  const write = vi.spyOn(handles, "write").mockRejectedValueOnce(Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" }));
  const daemon = await startTestDaemon({ root });
  daemons.push(daemon);
  expect(write).toHaveBeenCalledWith(daemon.socketPath, 0);
  expect(await daemon.call("list_sessions", {}, { host_key: daemon.hostKey })).toMatchObject({ sessions: [] });
  const elsewhere = readConfig({ ...testEnv(root), XDG_RUNTIME_DIR: join(root, "other") }, []);
  await expect(startDaemon(elsewhere, { log: { info: () => undefined, error: () => undefined } })).rejects.toMatchObject({ code: "conflict" });
});

test("B38 B41 a state lock that cannot be opened is a typed error, and the runtime directory is free again", async () => {
  const root = await newRoot();
  const lock = join(root, "state/sessiond/lock");
  await mkdir(lock, { recursive: true, mode: 0o700 });
  await expect(startTestDaemon({ root })).rejects.toMatchObject({ code: "storage_failed", message: expect.stringContaining(lock) as string });
  await rm(lock, { recursive: true });
  daemons.push(await startTestDaemon({ root }));
});

test.each([{ ownCalls: true }, { ownCalls: false }])("B15 a seat that is given after its handle was closed is left at once (%o)", async ({ ownCalls }) => {
  await using peer = await WirePeer.listen();
  const calls = new Connection(new Door({ dial: unixSocket(peer.socket) }));
  const session = new Session(sessionId, { calls, token, workdir: "/w", clientName: "test", ownCalls });
  const attaching = failure(session.attach({ as: "driver" }));
  const request = await attach(peer);
  const closing = session.close();
  await request.item(snapshotAt(10));
  const goodbye = await (await peer.sockets.next()).requests.next();
  expect([goodbye.verb, goodbye.input.auth]).toEqual(["detach", request.input.auth]);
  goodbye.answer({ seq: 11 });
  expect(await attaching).toMatchObject({ code: "daemon_unreachable", detail: { reason: "this handle is closed" } });
  await closing;
  await request.peer.closed;
  calls.close();
});

test("B15 a handle is closed though the daemon does not answer its attach, which then is given up", async () => {
  await using peer = await WirePeer.listen();
  const calls = new Connection(new Door({ dial: unixSocket(peer.socket) }));
  const session = new Session(sessionId, { calls, token, workdir: "/w", clientName: "test", ownCalls: true });
  const attaching = failure(session.attach({ as: "driver" }));
  const request = await attach(peer);
  const closing = session.close();
  // It may have been taken all the same.
  const goodbye = await (await peer.sockets.next()).requests.next();
  expect([goodbye.verb, goodbye.input.auth]).toEqual(["detach", request.input.auth]);
  goodbye.refuse("not_attached");
  expect(await attaching).toMatchObject({ code: "daemon_unreachable", detail: { reason: "this handle is closed" } });
  await closing;
  await request.peer.closed;
});
