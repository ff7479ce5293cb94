import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect as dial } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "@sessiond/client/node";
import { formatHostKey, limits } from "@sessiond/shared";
import { afterEach, beforeEach, expect, test } from "vitest";
import { removeRoot, startTestDaemon, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { DaemonHome, daemonFile } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { makeWorkdir, hostAuth } from "../support/gate-world.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** The instants between two daemons that a herd meets by chance, each brought about on purpose. */
let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "ssd-instants-"));
});
afterEach(() => {
  if (existsSync(join(dir, "pid"))) spawnSync("kill", [readFileSync(join(dir, "pid"), "utf8")]);
  rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
});

/** Says hello, as a daemon does. The first one takes its socket away before it has said so. */
const standIn = `
import { createRequire } from "node:module";
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
const { WebSocketServer } = createRequire(import.meta.url)(${JSON.stringify(createRequire(import.meta.url).resolve("ws"))});
const dir = process.argv[process.argv.indexOf("--runtime-dir") + 1];
appendFileSync(dir + "/starts", "x");
const passing = DIES && readFileSync(dir + "/starts", "utf8").length === 1;
writeFileSync(dir + "/pid", String(process.pid));
writeFileSync(dir + "/host-key", ${JSON.stringify(formatHostKey("k".repeat(43)))});
const http = createServer();
new WebSocketServer({ server: http }).on("connection", (socket) => socket.on("message", (data) => {
  const { id } = JSON.parse(String(data));
  const hello = { protocol: 1, range: { min: 1, max: 1 }, version: "0", boot_id: String(process.pid), limits: ${JSON.stringify(limits)} };
  if (passing) rmSync(dir + "/sock", { force: true });
  socket.send(JSON.stringify({ id, result: { type: "data", data: hello } }), () => passing && process.exit(0));
}));
http.listen(dir + "/sock");
setInterval(() => { if (!existsSync(dir)) process.exit(0); }, 100);
setTimeout(() => process.exit(0), 60_000);
`;

function installed({ dies }: { dies: boolean }) {
  writeFileSync(join(dir, "package.json"), '{ "type": "module" }');
  writeFileSync(join(dir, "daemon.js"), standIn.replace("DIES", String(dies)));
  return { runtimeDir: dir, stateDir: dir, bin: join(dir, "daemon.js") };
}
const starts = (): number => readFileSync(join(dir, "starts"), "utf8").length;

test("B41 a daemon that was started, answered and died before it was spoken to again is no error: the next one is started", async () => {
  const host = await connect(installed({ dies: true }));
  expect(starts()).toBe(2);
  expect(host.hello?.boot_id).toBe(readFileSync(join(dir, "pid"), "utf8"));
  await host.close();
});

test("B41 of twenty clients that find no daemon one starts it, and the others wait for it", async () => {
  const options = installed({ dies: false });
  const hosts = await Promise.all(Array.from({ length: 20 }, () => connect(options)));
  expect(starts()).toBe(1);
  expect(new Set(hosts.map((host) => host.hello?.boot_id)).size).toBe(1);
  expect(existsSync(join(dir, "starting"))).toBe(false);
  await Promise.all(hosts.map((host) => host.close()));
});

test("B41 of six daemons that are started in one step, without any client, one stays and the others leave it alone", async () => {
  const home = new DaemonHome();
  try {
    const codes: (number | null)[] = [];
    for (let index = 0; index < 6; index++) spawn(process.execPath, [daemonFile], { env: home.env, stdio: "ignore" }).once("exit", (code) => codes.push(code));
    await eventually("all have come to something", () => codes.length + home.logged("listening").length >= 6);
    expect(home.logged("listening")).toHaveLength(1);
    expect(codes).toEqual([0, 0, 0, 0, 0]);
    expect(home.daemons()).toEqual([home.logged("listening")[0]?.["pid"]]);
  } finally {
    await home.close();
  }
});

test("B41 a client that was about to start a daemon and died holds up nobody for long", async () => {
  const options = installed({ dies: false });
  writeFileSync(join(dir, "starting"), "");
  const host = await connect(options);
  expect(starts()).toBe(1);
  expect(existsSync(join(dir, "starting"))).toBe(false);
  await host.close();
});

test("B41 a daemon that leaves because nobody uses it closes its door first: who comes while it puts its sessions to rest, or had only knocked, is not told that it is shutting down", async () => {
  const disk = new TrappedDisk();
  const clock = new FakeClock();
  const daemon: TestDaemon = await startTestDaemon({ disk, clock, startedBy: "client" });
  try {
    const { token, session } = await daemon.call(
      "start_or_get_for_workdir",
      { workdir: await makeWorkdir(daemon, "one"), model: "practice" },
      hostAuth(daemon),
    );
    await daemon.call("session_info", { session_id: session.session_id }, { token });
    const resting = disk.hold("replace", "session.json");
    // Well before it is due, and within the time that a newcomer has.
    clock.advance(limits.idle_exit_ms - 1_000);
    const knocked = dial(daemon.socketPath);
    // Both ends know of each other.
    await Promise.all([new Promise((open) => knocked.once("connect", open)), new Promise((open) => daemon.door.server.once("connection", open))]);
    let answer = "";
    const ended = new Promise<void>((end) => {
      knocked.on("data", (text) => ((answer += String(text)), end()));
      knocked.on("error", () => undefined).on("close", () => end());
    });
    clock.advance(1_000);
    expect(daemon.door.server.listening).toBe(false);
    knocked.write(
      "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    await ended;
    expect(answer).toBe("");
    await resting.reached;
    const refusal = await new Promise<NodeJS.ErrnoException | null>((tell) => {
      const late = dial(daemon.socketPath, () => (late.destroy(), tell(null))).once("error", tell);
    });
    expect(refusal?.code).toBe("ECONNREFUSED");
    resting.release();
    await daemon.stopped;
    expect(daemon.bugs).toEqual([]);
  } finally {
    await daemon.stop(0);
    await removeRoot(daemon.root);
  }
});
