import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { verbs, type VerbName } from "@sessiond/shared";
import { keySources, readConfig } from "../../packages/daemon/src/config.ts";
import { openLog } from "../../packages/daemon/src/log.ts";
import { startDaemon, type RunningDaemon } from "../../packages/daemon/src/main.ts";
import { removeRoot, testEnv, testRoot } from "../../packages/daemon/src/testing.ts";
import { filesOf, idOf, makeWorkdir, seatSecretOf } from "../support/gate-world.ts";
import { RawSocket, type RawReply } from "../support/raw-socket.ts";

/** A daemon with its real log and a provider key, spoken to over its socket: everything that leaves it is on paper. */
const providerKey = "sk-provider-0123456789abcdefghijklmnopqrstuvwxyz";
let root: string;
let daemon: RunningDaemon;
let socket: RawSocket;
let hostKey: string;
/** Replies that mint a token; the only ones that may show one. */
let minting: string[];

const state = (...path: string[]) => join(root, "state", "sessiond", ...path);

async function start(): Promise<void> {
  const config = readConfig({ ...testEnv(root), OPENAI_API_KEY: providerKey }, ["--listen", "127.0.0.1:0"]);
  const log = openLog(state("log"), 1_000_000);
  const started = await startDaemon(config, { log });
  if (started === null) throw new Error("another daemon runs here");
  daemon = started;
  socket = await RawSocket.open(daemon.socketPath);
  hostKey = readFileSync(state("host-key"), "utf8").trim();
}

beforeEach(async () => {
  root = await testRoot();
  minting = [];
  mkdirSync(state(), { recursive: true, mode: 0o700 });
  await start();
});
afterEach(async () => {
  socket.close();
  await daemon.stop(0);
  await removeRoot(root);
});

const call = async (verb: VerbName, input: object, auth?: object): Promise<RawReply> =>
  socket.call(verbs[verb].kind, verb, JSON.stringify({ ...input, ...(auth && { auth }) }));

/** A call whose reply shows a token, once; it is struck from what is searched. */
async function minted(verb: VerbName, input: object, auth: object): Promise<{ token: string; session: { session_id: string }; record: { token_id: string } }> {
  const { data, error } = await call(verb, input, auth);
  if (error !== undefined) throw new Error(error.message);
  const text = socket.received.pop() ?? "";
  minting.push(text);
  const reply = data as { token: string; session: { session_id: string }; record: { token_id: string } };
  expect(text.split(reply.token)).toHaveLength(2);
  return reply;
}

/** What of a secret is secret: without its prefix, its session and its checksum. */
const core = (secret: string): string => secret.split("_").at(-1)?.slice(0, 32) ?? secret;

function processTexts(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    for (const part of ["cmdline", "environ"]) {
      const path = `/proc/${pid}/${part}`;
      try {
        found[path] = readFileSync(path, "latin1");
      } catch {
        // Gone, or somebody else's.
      }
    }
  }
  return found;
}

const modesUnder = (directory: string): [string, string][] =>
  readdirSync(directory).flatMap((name) => {
    const path = join(directory, name);
    const stat = lstatSync(path);
    const mode: [string, string] = [path, `${stat.isDirectory() ? "directory" : "file"} ${(stat.mode & 0o777).toString(8)}`];
    return stat.isDirectory() ? [mode, ...modesUnder(path)] : stat.isFile() ? [mode] : [];
  });

test.runIf(existsSync("/proc/self/cmdline"))("B2 after a day's work no secret is in any file, reply, event, error, log or process argument", async () => {
  const owner = { host_key: hostKey };
  const workdir = await makeWorkdir({ root });
  const started = await minted("start_or_get_for_workdir", { workdir, model: "practice" }, owner);
  const session_id = started.session.session_id;
  const driver = { token: started.token, seat_secret: "DriverSecretDriverSecretDriver32" };
  const view = await minted("mint_token", { session_id, right: "view", label: "looker" }, driver);
  const control = await minted("mint_token", { session_id, right: "control", label: "helper" }, owner);
  const again = await minted("start_session", { request_id: idOf("req", "R"), workdir, model: "practice" }, owner);
  const viewer = { token: view.token, seat_secret: "ViewerSecretViewerSecretViewer32" };
  const secrets = [hostKey, providerKey, started.token, view.token, control.token, again.token, driver.seat_secret, viewer.seat_secret];

  // Who drives has come by TCP.
  const { tcp } = (await call("daemon_status", {}, owner)).data as { tcp: { port: number } };
  const stream = await RawSocket.open(`ws://127.0.0.1:${tcp.port}/`);
  const watch = await RawSocket.open(daemon.socketPath);
  const open = (on: RawSocket, role: string, auth: object) => on.call("subscription", "attach", JSON.stringify({ session_id, role, label: role, auth }));
  await open(stream, "driver", driver);
  await open(watch, "viewer", viewer);
  const until = async (text: string): Promise<void> => {
    if (stream.received.some((message) => message.includes(text))) return;
    await stream.next();
    return until(text);
  };
  const say = (prompt: string, letter: string) =>
    call("send_prompt", { session_id, prompt_id: idOf("prm", letter), parts: [{ type: "text", text: prompt }], when_busy: "queue" }, driver);
  // A tool that shows all it was given, and is still there when the processes are looked at.
  await say(
    "run tr '\\0' ' ' < /proc/self/environ; cat /proc/self/cmdline; echo sho''wn; read wait < gate then write notes.txt: done then think about it",
    "A",
  );
  execFileSync("mkfifo", [join(workdir, "gate")]);
  const answer = async () => {
    const info = (await call("session_info", { session_id }, driver)).data as { approvals: { approval_id: string; digest: string }[] };
    const open = info.approvals[0];
    if (open === undefined) throw new Error("no question is open");
    expect(
      (await call("approve", { session_id, approval_id: open.approval_id, option_id: "allow_once", digest: open.digest, reason: "fine" }, driver)).error,
    ).toBeUndefined();
  };
  await until("approval_requested");
  await answer();
  await until("shown");
  const processes = processTexts();
  execFileSync("sh", ["-c", "echo > gate"], { cwd: workdir });
  const asked = () => stream.received.join("").split("approval_requested").length - 1;
  while (asked() < 2) await stream.next();
  await answer();
  await until("turn_ended");
  const everyQuery: [VerbName, object, object][] = [
    ["daemon_status", {}, owner],
    ["list_sessions", {}, owner],
    ["list_tokens", { session_id }, owner],
    ["authorize", { session_id }, viewer],
    ["session_info", { session_id }, viewer],
    ["session_data", { session_id }, viewer],
    ["hello", { protocol: { min: 1, max: 1 } }, driver],
    ["list_sessions", {}, driver],
    ["stop", { session_id }, viewer],
    ["withdraw_prompt", { session_id, prompt_id: idOf("prm", "Z") }, driver],
    ["revoke_token", { session_id, token_id: control.record.token_id }, owner],
    ["detach", { session_id }, viewer],
    ["stop", { session_id }, driver],
    ["shut_down", { wait_ms: 0 }, viewer],
  ];
  for (const [verb, input, auth] of everyQuery) await call(verb, input, auth);
  const places: Record<string, string> = {
    ...filesOf(root, () => false),
    ...processes,
    replies: socket.received.join("\n"),
    driver: stream.received.join("\n"),
    viewer: watch.received.join("\n"),
  };
  stream.close();
  watch.close();
  // The scenario did happen: the tool ran, the file is there, the log and the audit are.
  expect(places["driver"]).toContain("shown");
  expect(places[join(workdir, "notes.txt")]).toBe("done");
  for (const path of [state("log"), state("audit.jsonl"), state("registry.json"), state("sessions", session_id, "journal")])
    expect(Object.keys(places)).toContain(path);

  const found = Object.entries(places).flatMap(([place, text]) =>
    secrets.filter((secret) => text.includes(core(secret))).map((secret) => [place, secrets.indexOf(secret)]),
  );
  // The test's own environment aside, the one place is the host key's own file.
  expect(found).toEqual([[state("host-key"), 0]]);
  expect(minting.join()).not.toContain(core(hostKey));
  expect(minting.join()).not.toContain(core(providerKey));
});

test("B2 of a token the disk holds its SHA-256 and nothing else, as of a seat's secret", async () => {
  const workdir = await makeWorkdir({ root });
  const { token, session } = await minted("start_or_get_for_workdir", { workdir, model: "practice" }, { host_key: hostKey });
  const auth = { token, seat_secret: seatSecretOf("D") };
  await call("attach", { session_id: session.session_id, role: "driver", label: "d" }, auth);
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  const file = readFileSync(state("sessions", session.session_id, "session.json"), "utf8");
  const stored = JSON.parse(file) as { tokens: { hash: string }[]; drivers: { secret_hash: string }[] };
  expect(stored.tokens.map(({ hash }) => hash)).toEqual([sha256(token)]);
  expect(stored.drivers.map(({ secret_hash }) => secret_hash)).toEqual([sha256(auth.seat_secret)]);
});

test("B2 the host key is a 0600 file, everything else is as private, and so it stays after a restart", async () => {
  const old = process.umask(0);
  try {
    socket.close();
    await daemon.stop(0);
    await removeRoot(root);
    root = await testRoot();
    mkdirSync(state(), { recursive: true, mode: 0o700 });
    await start();
    await minted("start_or_get_for_workdir", { workdir: await makeWorkdir({ root }), model: "practice" }, { host_key: hostKey });
    await call("shut_down", {}, {});
    await expect.poll(() => existsSync(state("audit.jsonl"))).toBe(true);
    const modes = [...modesUnder(join(root, "state")), ...modesUnder(join(root, "run"))].filter(([path]) => path !== join(root, "state"));
    expect(modes.length).toBeGreaterThan(8);
    expect(modes.filter(([, mode]) => mode !== "file 600" && mode !== "directory 700")).toEqual([]);
  } finally {
    process.umask(old);
  }
});

test("B2 a host key that others could read is shut again at the start; a damaged one stops it, and nothing is made in its place", async () => {
  socket.close();
  await daemon.stop(0);
  chmodSync(state("host-key"), 0o644);
  await start();
  expect(lstatSync(state("host-key")).mode & 0o777).toBe(0o600);
  socket.close();
  await daemon.stop(0);
  writeFileSync(state("host-key"), `${hostKey.slice(0, -1)}\n`);
  await expect(start()).rejects.toMatchObject({ code: "storage_failed" });
  const damaged = readFileSync(state("host-key"), "utf8");
  expect(damaged).toBe(`${hostKey.slice(0, -1)}\n`);
});

test("B2 a secret that was put into a wrong field reaches neither error, audit, log, list nor journal", async () => {
  const workdir = await makeWorkdir({ root });
  const owner = { host_key: hostKey };
  const { token, session } = await minted("start_or_get_for_workdir", { workdir, model: "practice" }, owner);
  const { session_id } = session;
  const driver = { token, seat_secret: "DriverSecretDriverSecretDriver32" };
  const secrets = [hostKey, token, driver.seat_secret];
  const stream = await RawSocket.open(daemon.socketPath);
  await stream.call("subscription", "attach", JSON.stringify({ session_id, role: "driver", label: "d", auth: driver }));
  const parts = [{ type: "text", text: "say hi" }];
  const prompt = { session_id, prompt_id: idOf("prm", "A"), parts, when_busy: "queue" };
  const approval = { session_id, approval_id: idOf("apr", "A"), option_id: "allow_once", digest: "d" };
  const freeTexts = (secret: string): [VerbName, object, object][] => [
    ["mint_token", { session_id, right: "view", label: secret }, driver],
    ["mint_token", { session_id, right: "view", label: `my ${secret}`.slice(0, 64) }, driver],
    ["attach", { session_id, role: "viewer", label: secret }, { token, seat_secret: seatSecretOf("Z") }],
    ["approve", { ...approval, reason: `because ${secret}` }, driver],
    ["start_or_get_for_workdir", { workdir: root, agent: secret }, owner],
    ["start_or_get_for_workdir", { workdir: root, model: secret }, owner],
    ["start_session", { request_id: idOf("req", "A"), workdir, model: secret }, owner],
  ];
  const accepted: string[] = [];
  for (const secret of secrets) {
    const mistakes: [VerbName, object, object][] = [
      ["session_info", { session_id: secret }, driver],
      ["session_info", { session_id: secret }, owner],
      ["stop", { session_id: secret }, owner],
      ["session_info", { session_id, [secret]: 1 }, driver],
      ["session_info", { session_id, token: secret }, driver],
      ["attach", { session_id, role: secret, label: "x" }, driver],
      ["attach", { session_id, role: "viewer", label: "x", cursor: secret }, driver],
      ["attach", { session_id, role: "viewer", label: "x", fallback: secret }, driver],
      ["mint_token", { session_id, right: secret, label: "x" }, driver],
      // Free text takes anything but what looks like one of our secrets.
      ...(secret.startsWith("ssd") ? freeTexts(secret) : []),
      ["revoke_token", { session_id, token_id: secret }, owner],
      ["send_prompt", { ...prompt, prompt_id: secret }, driver],
      ["send_prompt", { ...prompt, when_busy: secret }, driver],
      ["send_prompt", { ...prompt, parts: [{ type: secret, text: "x" }] }, driver],
      ["send_prompt", { ...prompt, parts: [{ type: "text", text: "x", [secret]: 1 }] }, driver],
      ["approve", { ...approval, option_id: secret }, driver],
      ["approve", { ...approval, approval_id: secret }, driver],
      ["interrupt", { session_id, turn_id: secret }, driver],
      ["start_session", { request_id: secret, workdir }, owner],
      ["start_session", { request_id: idOf("req", "A"), session_id: secret }, owner],
      ["start_or_get_for_workdir", { workdir: secret }, owner],
      ["start_or_get_for_workdir", { workdir: `/${secret}` }, owner],
      ["list_sessions", { workdir: secret, after: secret }, owner],
      ["hello", { protocol: { min: secret, max: 1 } }, owner],
    ];
    for (const [verb, input, auth] of mistakes) {
      const { error } = await call(verb, input, auth);
      // Nothing may be made of a secret.
      if (error === undefined) accepted.push(`${verb} ${secrets.indexOf(secret)} ${Object.keys(input).join()}`);
    }
    await socket.call("query", secret, "{}");
    // No method of that name: answered under no id.
    void socket.call(secret, "session_info", JSON.stringify({ session_id, auth: driver }));
  }
  expect(accepted).toEqual([]);
  await call("session_info", { session_id }, driver);
  const places: Record<string, string> = { ...filesOf(root, () => false), replies: socket.received.join("\n"), stream: stream.received.join("\n") };
  const found = Object.entries(places).flatMap(([place, text]) =>
    secrets.filter((secret) => text.includes(core(secret))).map((secret) => [place, secrets.indexOf(secret)]),
  );
  expect(found).toEqual([[state("host-key"), 0]]);
  stream.close();
});

test("B2 B41 an empty model key counts as none, wherever it is empty, and the next place is asked", async () => {
  const file = (name: string, text: string): void => writeFileSync(join(root, "config/sessiond", name), text);
  const keyOf = (env: Record<string, string>) => [
    readConfig({ ...testEnv(root), ...env }, []).model.apiKey,
    keySources({ ...testEnv(root), ...env }, join(root, "config/sessiond")).key,
  ];
  mkdirSync(join(root, "config/sessiond"), { recursive: true });
  expect(keyOf({ OPENAI_API_KEY: "" })).toEqual([undefined, null]);
  file("config.toml", '[model]\napi_key_file = "key"\n');
  file("key", "\n");
  expect(keyOf({ OPENAI_API_KEY: "" })).toEqual([undefined, null]);
  expect(keyOf({ OPENAI_API_KEY: providerKey })).toEqual([providerKey, "OPENAI_API_KEY"]);
  file("key", "of the file\n");
  expect(keyOf({ OPENAI_API_KEY: providerKey })).toEqual(["of the file", join(root, "config/sessiond/key")]);
});
