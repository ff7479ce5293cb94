import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, daemonPaths, type ConnectOptions } from "@sessiond/client/node";
import { formatHostKey, limits, type SessiondError } from "@sessiond/shared";
import { afterEach, beforeEach, expect, test } from "vitest";

/** Connect-or-start against a stand-in for the daemon: a file that says hello, and exits when it is not the first. */
const ws = createRequire(import.meta.url).resolve("ws");
const standIn = `
import { createRequire } from "node:module";
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
const { WebSocketServer } = createRequire(import.meta.url)(${JSON.stringify(ws)});
const at = (name) => process.argv[process.argv.indexOf(name) + 1];
const dir = at("--runtime-dir");
appendFileSync(dir + "/starts", process.argv.slice(2).join(" ") + "\\n");
// The lock: a directory is made by one only.
try { mkdirSync(dir + "/lock"); } catch { process.exit(0); }
writeFileSync(dir + "/pid", String(process.pid));
writeFileSync(at("--state-dir") + "/host-key", ${JSON.stringify(formatHostKey("k".repeat(43)))});
const http = createServer();
new WebSocketServer({ server: http }).on("connection", (socket) => socket.on("message", (data) => {
  const { id } = JSON.parse(String(data));
  socket.send(JSON.stringify({ id, result: { type: "data", data: { protocol: 1, range: { min: 1, max: 1 }, version: "0", boot_id: String(process.pid), limits: ${JSON.stringify(limits)} } } }));
}));
http.listen(dir + "/sock");
// Whatever becomes of the test, this ends.
setInterval(() => { if (!existsSync(dir)) process.exit(0); }, 100);
setTimeout(() => process.exit(0), 30_000);
`;

let dir = "";
let options: ConnectOptions = {};
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "sessiond-start-"));
  mkdirSync(join(dir, "dist"));
  writeFileSync(join(dir, "dist", "package.json"), `{ "type": "module" }`);
  options = { runtimeDir: dir, stateDir: dir, bin: join(dir, "dist", "daemon.js") };
});
afterEach(() => {
  const pid = join(dir, "pid");
  if (existsSync(pid)) spawnSync("kill", [readFileSync(pid, "utf8")]);
  try {
    rmSync(dir, { recursive: true, force: true });
  } catch {
    // One that lost the race may still be writing that it was there; the system clears its temporary files.
  }
});

const write = (name: string, text: string): string => {
  const file = join(dir, "dist", name);
  writeFileSync(file, text);
  chmodSync(file, 0o755);
  return file;
};
const starts = (): string[] => readFileSync(join(dir, "starts"), "utf8").trim().split("\n");
const failure = (work: Promise<unknown>): Promise<SessiondError> =>
  work.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error as SessiondError,
  );

test("B41 twenty clients at once, against no daemon, all reach the one that came up", async () => {
  write("daemon.js", standIn);
  const hosts = await Promise.all(Array.from({ length: 20 }, () => connect(options)));
  expect(new Set(hosts.map((host) => host.hello?.boot_id)).size).toBe(1);
  await Promise.all(hosts.map((host) => host.close()));
});

test("B41 over a stale socket the daemon is started too", async () => {
  write("daemon.js", standIn);
  // Left behind by a process that was killed.
  spawnSync(process.execPath, ["-e", `require("net").createServer().listen(${JSON.stringify(join(dir, "sock"))}, () => process.kill(process.pid, "SIGKILL"))`]);
  expect(existsSync(join(dir, "sock"))).toBe(true);
  write("daemon.js", standIn.replace("http.listen(", `(await import("node:fs")).rmSync(dir + "/sock"); http.listen(`));
  const host = await connect(options);
  expect(starts()).toEqual([`--started-by client --state-dir ${dir} --runtime-dir ${dir}`]);
  await host.close();
});

test("the command leads to the daemon beside it, also through a link on PATH", async () => {
  write("daemon.js", standIn);
  const command = write("sessiond.js", "process.exit(7);");
  mkdirSync(join(dir, "bin"));
  symlinkSync(command, join(dir, "bin", "sessiond"));
  const host = await connect({ ...options, bin: join(dir, "bin", "sessiond") });
  expect(host.hello?.boot_id).toBe(readFileSync(join(dir, "pid"), "utf8"));
  await host.close();
});

test("a daemon that cannot run is not waited for, and its exit is told", async () => {
  write("daemon.js", "process.exit(3);");
  const error = await failure(connect(options));
  expect(error.code).toBe("daemon_unreachable");
  expect(error.message).toContain("ended with 3");
});

test("one that loses to a daemon which is just leaving is started once more", async () => {
  // As if the lock were held at the first start.
  write(
    "daemon.js",
    standIn.replace(`try {`, `if ((await import("node:fs")).readFileSync(dir + "/starts", "utf8").split("\\n").length < 3) process.exit(0);\ntry {`),
  );
  const host = await connect(options);
  expect(starts().length).toBe(2);
  await host.close();
});

test("a binary that was named and is not there is named in the error", async () => {
  expect((await failure(connect({ ...options, bin: "/nowhere/daemon.js" }))).message).toContain("/nowhere/daemon.js does not exist");
  expect((await failure(connect({ runtimeDir: dir, stateDir: dir, env: { SESSIOND_BIN: "/nowhere/else" } }))).message).toContain(
    "/nowhere/else does not exist",
  );
});

test("the daemon's places follow the XDG rules", () => {
  expect(daemonPaths({ XDG_RUNTIME_DIR: "/run/u", XDG_STATE_HOME: "/st", HOME: "/h" })).toEqual({
    runtimeDir: "/run/u/sessiond",
    stateDir: "/st/sessiond",
    socket: "/run/u/sessiond/sock",
    hostKeyFile: "/st/sessiond/host-key",
  });
  expect(daemonPaths({ HOME: "/h" })).toMatchObject({ runtimeDir: join(tmpdir(), `sessiond-${process.getuid?.()}`), stateDir: "/h/.local/state/sessiond" });
});
