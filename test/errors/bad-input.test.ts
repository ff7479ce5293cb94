import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { connect as dial } from "node:net";
import { join } from "node:path";
import { connect, SessiondError, type Host } from "@sessiond/client/node";
import { limits, verbs } from "@sessiond/shared";
import { afterEach, beforeEach, expect, test } from "vitest";
import WebSocket from "ws";
import { removeRoot, startTestDaemon, testEnv, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { DaemonHome, daemonFile } from "../support/daemon-home.ts";
import { RawSocket } from "../support/raw-socket.ts";

/** What no client should send and no machine should offer: each is met with a typed error or a closed socket, and the daemon goes on. */
let daemon: TestDaemon;
let host: Host;
let workdir = "";
beforeEach(async () => {
  daemon = await startTestDaemon();
  host = await connect({ env: testEnv(daemon.root), autoStart: false });
  workdir = join(daemon.root, "project");
  mkdirSync(workdir);
});
afterEach(async () => {
  // Whatever it was given, it answers, and nothing came up that nobody expected.
  const after = await connect({ env: testEnv(daemon.root), autoStart: false });
  expect((await after.status()).draining).toBe(false);
  expect(daemon.bugs).toEqual([]);
  await after.close();
  await host.close();
  await daemon.stop(0);
  chmodSync(daemon.root, 0o700);
  await removeRoot(daemon.root);
});

const failure = (call: Promise<unknown>): Promise<SessiondError> =>
  call.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error as SessiondError,
  );

test("unknown verbs, wrong kinds, wrong types and fields that do not belong are named, never their values", async () => {
  const socket = await RawSocket.open(daemon.socketPath);
  const auth = { host_key: daemon.hostKey };
  const say = async (method: string, verb: string, input: unknown) => (await socket.call(method, verb, JSON.stringify(input))).error;
  expect(await say("mutation", "delete_everything", { auth })).toMatchObject({ data: { code: "unknown_verb" } });
  expect(await say("mutation", "__proto__", { auth })).toMatchObject({ data: { code: "unknown_verb" } });
  expect(await say("query", "shut_down", { auth })).toMatchObject({ data: { code: expect.stringMatching(/^(bad_request|unknown_verb)$/) } });
  for (const [input, word] of [
    [{ auth, workdir: 17 }, "workdir"],
    [{ auth, workdir, colour: "s3cret-value" }, "unknown field"],
    [{ auth }, "workdir"],
    [{ auth, workdir, model: ["s3cret-value"] }, "model"],
  ] as const) {
    const error = await say("mutation", "start_or_get_for_workdir", input);
    expect(error).toMatchObject({ data: { code: "bad_request", retry: "never" } });
    expect(error?.message).toContain(word);
    expect(JSON.stringify(error)).not.toContain("s3cret-value");
  }
  for (const input of [null, 17, "text", [], true]) expect((await say("mutation", "shut_down", input))?.data.code).toMatch(/unauthenticated|bad_request/);
  socket.close();
  expect((await host.listSessions()).sessions).toEqual([]);
});

test("a prompt of a million characters is refused by its limit, a request beyond the frame limit before it is sent; neither closes the connection", async () => {
  const seat = await (await host.startSession({ workdir, model: "practice" })).attach({ as: "driver" });
  const before = seat.state.seq;
  expect(await failure(seat.sendPrompt("x".repeat(1_000_000)))).toMatchObject({
    code: "limit_reached",
    detail: { limit: "prompt_bytes_max", value: limits.prompt_bytes_max, unit: "bytes" },
  });
  expect(await failure(seat.sendPrompt("é".repeat(600_000)))).toMatchObject({ code: "limit_reached", detail: { limit: "request_bytes_max", unit: "bytes" } });
  expect(await failure(seat.sendPrompt(Array.from({ length: 33 }, () => ({ type: "text", text: "x" }) as const)))).toMatchObject({ code: "bad_request" });
  expect(seat.connection).toBe("live");
  expect(seat.state.seq).toBe(before);
  expect(await seat.prompt("say still here")).toMatchObject({ text: "still here" });
});

test("a frame larger than a request may be closes that socket alone", async () => {
  const socket = new WebSocket("ws://localhost/", { createConnection: () => dial(daemon.socketPath), perMessageDeflate: false });
  await new Promise((opened) => socket.once("open", opened));
  socket.on("error", () => undefined);
  const closed = new Promise<number>((tell) => socket.once("close", (code) => tell(code)));
  socket.send("x".repeat(limits.request_bytes_max + 1));
  expect([1006, 1009]).toContain(await closed);
  expect((await host.status()).pid).toBe(process.pid);
});

const deep = (levels: number): string => `${"[".repeat(levels)}${"]".repeat(levels)}`;
const call = (id: number): string => JSON.stringify({ id, method: "query", params: { path: "hello", input: { protocol: { min: 1, max: 1 } } } });

for (const [what, messages] of [
  ["text that is no JSON", ["hello?", "{", "", "\u0000\u0000", "PONG", "undefined"]],
  [
    "JSON that is no request",
    ["null", "17", "{}", "[]", '[null,17,"x"]', '{"id":1}', '{"id":{},"method":"query","params":{}}', '{"id":1,"method":"explode","params":{"path":"hello"}}'],
  ],
  ["bytes", [Buffer.from([0xff, 0xfe, 0x00, 0x80]), Buffer.from(call(1))]],
  ["nesting a hundred thousand levels deep", [deep(100_000), `{"id":1,"method":"query","params":{"path":"hello","input":${deep(100_000)}}}`]],
  ["a batch of more calls than one may hold", [`[${Array.from({ length: 1_000 }, (_, id) => call(id + 1)).join(",")}]`]],
  ["stops of streams that never were", ['{"id":99,"method":"subscription.stop"}', '{"id":null,"method":"subscription.stop"}']],
  ["polluting keys", ['{"id":1,"method":"query","params":{"path":"hello","input":{"__proto__":{"protocol":{"min":1,"max":1}},"constructor":{}}}}']],
] as const) {
  test(`a WebSocket that says ${what} harms nobody else`, async () => {
    const socket = new WebSocket("ws://localhost/", { createConnection: () => dial(daemon.socketPath), perMessageDeflate: false });
    await new Promise((opened) => socket.once("open", opened));
    socket.on("error", () => undefined);
    for (const message of messages) socket.send(message);
    // All of it has been read when the ping that follows is answered, or the socket was closed.
    await new Promise<void>((resolve) => {
      socket.once("pong", () => resolve());
      socket.once("close", () => resolve());
      if (socket.readyState === WebSocket.OPEN) socket.ping();
    });
    socket.terminate();
    expect((await host.status()).sessions.live).toBe(0);
    expect(({} as { protocol?: unknown }).protocol).toBeUndefined();
  });
}

for (const [what, bytes] of [
  ["nothing at all", ""],
  ["no HTTP", "\u0016\u0003\u0001 hello hello\r\n\r\n"],
  ["half a request", "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: webso"],
  ["HTTP for something else", "POST /shut_down HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"],
  ["an upgrade to another protocol", "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"],
  [
    "an upgrade and then half a frame",
    "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\u0081",
  ],
  [
    "an upgrade and then reserved bits",
    "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\u007f\u007f\u007f\u007f",
  ],
  ["headers without end", `GET / HTTP/1.1\r\n${"X-Long: y\r\n".repeat(20_000)}`],
] as const) {
  test(`a socket that says ${what} harms nobody else`, async () => {
    const socket = dial(daemon.socketPath);
    socket.on("error", () => undefined);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    // Cut off by the daemon, it may never be told that all was sent.
    const sent = new Promise<void>((told) => socket.write(Buffer.from(bytes, "latin1"), () => told()));
    await Promise.race([sent, closed]);
    // It stays open, half said, while others are served; then it breaks off.
    expect((await host.status()).pid).toBe(process.pid);
    socket.destroy();
    await closed;
  });
}

test("a working directory that is a file, missing, below a file, relative or a circle is refused with the reason, and no session is made", async () => {
  writeFileSync(join(workdir, "file"), "");
  symlinkSync(join(workdir, "loop"), join(workdir, "loop"));
  for (const [path, reason] of [
    [join(workdir, "file"), "it is a file"],
    [join(workdir, "nowhere"), "it does not exist"],
    [join(workdir, "file", "below"), "part of the path is a file"],
    [join(workdir, "loop"), "circle"],
    ["project", "absolute"],
    [`${workdir}/\u0000`, "not a path"],
    [`/${"x".repeat(4_000)}`, "too long"],
    [join(daemon.root, "state", "sessiond"), "belongs to sessiond"],
  ] as const) {
    const error = await failure(host.sessionForWorkdir(path, { model: "practice" }));
    expect([path, error.code]).toEqual([path, "workdir_invalid"]);
    expect(error.message).toContain(reason);
  }
  expect((await host.listSessions()).sessions).toEqual([]);
});

test("a registry that is lost or cannot be read is rebuilt, and the unreadable one kept and reported", async () => {
  const { id } = await host.sessionForWorkdir(workdir, { model: "practice" });
  const state = join(daemon.root, "state", "sessiond");
  for (const harm of [() => rmSync(join(state, "registry.json")), () => writeFileSync(join(state, "registry.json"), '{"version":1,"sessions":[{')]) {
    await host.close();
    await daemon.stop(0);
    harm();
    daemon = await startTestDaemon({ root: daemon.root });
    host = await connect({ env: testEnv(daemon.root), autoStart: false });
    const again = await host.sessionForWorkdir(workdir);
    expect([again.id, again.created]).toEqual([id, false]);
  }
  expect((await host.status()).set_aside).toMatchObject([
    { path: expect.stringContaining("registry.json.unreadable-"), reason: expect.stringContaining("rebuilt") },
  ]);
});

// --- Where the real daemon cannot start ----------------------------------------------------------------

/** Start the daemon's file in the foreground, as whom and where it cannot run. */
function startsNot(home: DaemonHome, env: Record<string, string> = {}, prefix: readonly string[] = []): string {
  const words = [...prefix, process.execPath, daemonFile];
  const { status, stderr } = spawnSync("env", words, { env: { ...home.env, ...env }, encoding: "utf8", timeout: 20_000 });
  expect(status).toBe(1);
  expect(stderr).not.toMatch(/\n\s+at /);
  return stderr;
}

test("where its directories cannot be used the daemon says which and why, in one line, and exits", async () => {
  const home = new DaemonHome();
  try {
    writeFileSync(join(home.root, "state"), "a file");
    expect(startsNot(home)).toMatch(/^sessiond: .*state.*(ENOTDIR|EEXIST|not a directory).*\n$/);
    rmSync(join(home.root, "state"));
    mkdirSync(home.stateDir, { recursive: true, mode: 0o755 });
    chmodSync(home.stateDir, 0o755);
    expect(startsNot(home)).toMatch(/^sessiond: .*open to other accounts; run: chmod 700 .*\n$/);
    chmodSync(home.stateDir, 0o700);
    const long = join(home.root, "x".repeat(100));
    mkdirSync(long);
    expect(startsNot(home, { XDG_RUNTIME_DIR: long })).toMatch(/^sessiond: .*socket_path_bytes_max.*103 bytes.*Set XDG_RUNTIME_DIR to a shorter.*\n$/);
    const error = await failure(connect({ env: { ...home.env, XDG_RUNTIME_DIR: long }, bin: daemonFile }));
    expect(error).toMatchObject({ code: "daemon_unreachable" });
    expect(error.message).toMatch(/103.*XDG_RUNTIME_DIR to a shorter one/);
    writeFileSync(join(home.root, "config/sessiond/config.toml"), "[limits]\nidle_exit_ms = 'soon'\n");
    expect(startsNot(home)).toMatch(/^sessiond: .*config\.toml: limits\.idle_exit_ms.*\n$/);
    expect(home.daemons()).toEqual([]);
  } finally {
    await home.close();
  }
});

// Only root can become somebody else; for anybody else a directory without the right to write says the same.
test("an account that may not write its state directory is told so; one that may not read a directory gets no session in it", async () => {
  const home = new DaemonHome();
  const asNobody = process.getuid?.() === 0 ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"] : [];
  try {
    chmodSync(home.root, 0o755);
    mkdirSync(join(home.root, "state"));
    chmodSync(join(home.root, "state"), 0o555);
    chmodSync(join(home.root, "config"), 0o755);
    chmodSync(join(home.root, "config/sessiond"), 0o755);
    expect(startsNot(home, {}, asNobody)).toMatch(/^sessiond: .*EACCES: permission denied.*\n$/);
    chmodSync(join(home.root, "state"), 0o755);
  } finally {
    await home.close();
  }
});

test("a session directory that vanished under the daemon is a typed error, and the other sessions go on", async () => {
  const lost = await host.startSession({ workdir, model: "practice" });
  const kept = await host.startSession({ workdir, model: "practice" });
  await lost.stop();
  renameSync(join(daemon.root, "state/sessiond/sessions", lost.id), join(daemon.root, "away"));
  const error = await failure(host.session(lost.id).data());
  expect(error.code).toBe("storage_failed");
  expect((await kept.info()).session_id).toBe(kept.id);
});

test("every verb meets an empty call, one of nothing but junk and one of wrong types without a bug", async () => {
  const socket = await RawSocket.open(daemon.socketPath);
  const auth = { host_key: daemon.hostKey };
  for (const [verb, { kind }] of Object.entries(verbs)) {
    for (const input of [{}, { auth }, { auth, session_id: 17 }, { auth, session_id: `ses_${"0".repeat(22)}`, junk: [[]] }, { auth: "x" }, { auth: null }]) {
      // What ends the daemon, or this connection with its credential, has met them elsewhere.
      if (["shut_down", "rotate_host_key"].includes(verb) && "auth" in input) continue;
      const reply = await socket.call(kind, verb, JSON.stringify(input));
      if (reply.error !== undefined) expect([verb, reply.error.data.code]).not.toEqual([verb, "internal"]);
    }
  }
  socket.close();
});
