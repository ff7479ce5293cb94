import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { installIdOf } from "../../packages/daemon/src/ids.ts";
import { whole } from "../support/amount.ts";
import { eventually } from "../support/eventually.ts";
import { isAlive } from "../support/processes.ts";
import { SeenFrames } from "../support/seen-frames.ts";
import { command, kinds, sessiond, Wreck, wrongs, type Examined } from "../support/wreck.ts";

/** `sessiond doctor` on what real daemons leave behind: each finding, its mend, and that all works afterwards. */
let home: Wreck;
const others: { close(): Promise<void> }[] = [];
const children: ChildProcess[] = [];
beforeEach(() => {
  home = new Wreck();
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const other of others.splice(0)) await other.close();
  await home.close();
});

/** One conversation, and no daemon: ended by `down`, or killed. */
let left: Wreck;
let sessionId: string;
beforeAll(async () => {
  left = new Wreck();
  const host = await left.connect();
  const session = await host.sessionForWorkdir(left.workdir);
  const seat = await session.attach({ as: "driver" });
  await seat.prompt("say something to keep");
  sessionId = session.id;
  await host.close();
  expect((await left.run("down")).code).toBe(0);
}, 240_000);
afterAll(() => left.close());

/** This home has what that daemon left. */
function inherit(): void {
  cpSync(left.stateDir, home.stateDir, { recursive: true });
}
const healthy = { code: 0, healthy: true, findings: [] };
const one = (examined: Pick<Examined, "findings">) => {
  const [finding, ...more] = wrongs(examined.findings);
  expect(more).toEqual([]);
  return finding;
};
/** The conversation of the beginning is there, and goes on. */
async function goesOn(): Promise<void> {
  const host = await home.connect();
  const seat = await (await host.sessionForWorkdir(left.workdir)).attach({ as: "driver", force: true });
  expect(seat.sessionId).toBe(sessionId);
  expect(JSON.stringify(seat.state.messages)).toContain("something to keep");
  expect((await seat.prompt("say still here")).text).toBe("still here");
  await host.close();
}
/** Everything below the state directory but what each start writes. */
const conversation = (): string => readFileSync(home.path("sessions", sessionId, "journal"), "utf8");

test("B42 where nothing is wrong doctor says so: before the first start, beside a daemon, after `down`; it starts none and changes nothing", async () => {
  expect(await home.doctor()).toMatchObject({ ...healthy, facts: { daemon: "none runs" }, daemon: null });
  expect([existsSync(home.stateDir), existsSync(home.runtimeDir)]).toEqual([false, false]);
  inherit();
  const before = readdirSync(home.stateDir, { recursive: true }).map(String).toSorted();
  expect(await home.doctor()).toMatchObject({ ...healthy, facts: { daemon: "none runs", disk: expect.stringMatching(/^1 session, \d+ kB$/) } });
  expect(await home.doctor("--fix")).toMatchObject(healthy);
  expect(readdirSync(home.stateDir, { recursive: true }).map(String).toSorted()).toEqual(before);
  await goesOn();
  const beside = await home.doctor();
  expect(beside).toMatchObject({ ...healthy, daemon: { pid: await home.daemon() } });
  expect(beside.facts["daemon"]).toMatch(/^running, pid \d+, version \d+\.\d+\.\d+, up /);
  expect((await home.run("doctor")).stdout).toMatch(/^daemon +running[\s\S]*\nhealthy\n$/);
}, 240_000);

// Not every system takes such a name.
test.skipIf(process.platform !== "linux")(
  "B42 in a directory whose name is not UTF-8, what is put there under the command's name changes nothing that doctor says",
  () => {
    const inside = (env: Readonly<Record<string, string>>) => {
      const script = `cd "$0" && dir=$(printf 'a\\377') && mkdir -p "$dir" && cd "$dir" && touch sessiond && exec "$@"`;
      const { status, stdout, stderr } = spawnSync("sh", ["-c", script, home.workdir, process.execPath, command, "doctor", "--json"], {
        env: { ...home.env, ...env },
        encoding: "utf8",
      });
      return { code: status, stdout, stderr };
    };
    const first = inside({ PATH: `.:${process.env["PATH"]}` });
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(first.stdout)).toMatchObject({ healthy: true, findings: [] });
    // Named from there it cannot be found, which is no bug.
    expect(inside({ SESSIOND_BIN: "./sessiond" })).toMatchObject({ code: 4, stderr: expect.stringMatching(/\.\/sessiond cannot be found/) });
  },
);

test("B39 B42 after kill -9 doctor tells of the socket and of every process that the tools left; --fix ends them, a second one finds nothing, and the session goes on", async () => {
  const host = await home.connect();
  const seat = await (await host.sessionForWorkdir(home.workdir)).attach({ as: "driver" });
  const seen = new SeenFrames(seat);
  const asked = seen.next((event) => event.type === "approval_requested");
  await seat.sendPrompt("run setsid sleep 300 & setsid sleep 300 & sleep 300");
  await asked;
  const [question] = seat.state.approvals;
  if (question === undefined) throw new Error("no question is open");
  await seat.approve(question, { kind: "allow_once" });
  await eventually("the tool's children run", () => home.tools().length >= 4);
  const pid = await home.daemon();
  void host.close();
  await home.kill(pid);
  // The first one dies with the daemon, where the system does that.
  const orphans = await eventually("what dies with the daemon is gone", () => (home.tools().length <= 3 ? home.tools() : undefined));
  expect(orphans.length).toBeGreaterThanOrEqual(2);
  const found = await home.doctor();
  expect([found.code, kinds(wrongs(found.findings))]).toEqual([1, ["orphans", "socket"]]);
  const told = found.findings.find(({ kind }) => kind === "orphans");
  for (const orphan of orphans) expect(told?.what).toContain(String(orphan));
  expect(told?.fix).toBe("can");
  expect(home.tools()).toEqual(orphans);
  const text = await home.run("doctor", "--fix");
  expect(text).toMatchObject({ code: 0, stderr: "" });
  expect(text.stdout).toContain("2 mended; healthy");
  expect([home.tools(), existsSync(home.socket)]).toEqual([[], false]);
  expect(await home.doctor("--fix")).toMatchObject(healthy);
  const again = await home.connect();
  const back = await (await again.sessionForWorkdir(home.workdir)).attach({ as: "driver", force: true });
  expect((await back.prompt("say still here")).text).toBe("still here");
  expect(home.logged("listening").at(-1)).toMatchObject({ orphans_ended: 0 });
}, 240_000);

test("B39 B42 where no daemon runs a process with this installation's mark is an orphan and nobody is healthy until it has ended; another installation's is left alone", async () => {
  inherit();
  const marked = (state: string): ChildProcess => {
    const child = spawn("sleep", ["300"], { env: { ...home.env, SESSIOND_MARK: `${installIdOf(state)}.boot.call` }, stdio: "ignore" });
    children.push(child);
    return child;
  };
  const [orphan, foreign] = [marked(home.stateDir), marked("/another/state")];
  await eventually("it runs", () => home.tools().length === 1);
  expect(one(await home.look())).toMatchObject({ kind: "orphans", fix: "can", what: expect.stringContaining(String(orphan.pid)) });
  expect(await home.look({ fix: true })).toMatchObject({ code: 0, findings: [{ kind: "orphans", fix: "done" }] });
  await eventually("it has ended", () => !isAlive(orphan.pid ?? 0));
  expect(isAlive(foreign.pid ?? 0)).toBe(true);
  expect(await home.look({ fix: true })).toMatchObject(healthy);
}, 240_000);

test("B39 B42 beside a running daemon --fix ends what earlier ones left, and none of its own children", async () => {
  inherit();
  await goesOn();
  const { daemon } = await home.doctor();
  const marked = (boot: string): ChildProcess => {
    const child = spawn("sleep", ["300"], { env: { ...home.env, SESSIOND_MARK: `${installIdOf(home.stateDir)}.${boot}.call` }, stdio: "ignore" });
    children.push(child);
    return child;
  };
  const [earlier, own] = [marked("earlier"), marked(daemon?.boot_id ?? "")];
  await eventually("both run", () => home.tools().length === 2);
  expect(one(await home.doctor())).toMatchObject({ kind: "orphans", fix: "can", what: expect.stringContaining(String(earlier.pid)) });
  expect(await home.doctor("--fix")).toMatchObject({ code: 0, findings: [{ kind: "orphans", fix: "done" }] });
  expect([isAlive(earlier.pid ?? 0), isAlive(own.pid ?? 0)]).toEqual([false, true]);
  expect(await home.doctor("--fix")).toMatchObject(healthy);
}, 240_000);

test.runIf(whole)(
  "B41 B42 a daemon that is there and answers nobody is named with its pid and how to wake or end it; --fix touches nothing, and a woken one is healthy",
  async () => {
    inherit();
    await goesOn();
    const pid = await home.daemon();
    process.kill(pid, "SIGSTOP");
    try {
      const found = await home.doctor("--fix");
      expect(found.code).toBe(1);
      const finding = one(found);
      expect(finding).toMatchObject({
        kind: "daemon_silent",
        what: expect.stringContaining(`process ${pid} `),
        mend: expect.stringContaining(`kill -CONT ${pid}`),
      });
      expect([isAlive(pid), existsSync(home.socket)]).toEqual([true, true]);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    expect(await home.doctor()).toMatchObject(healthy);
  },
  240_000,
);

test("B41 B42 a socket is stale when nobody answers there and nobody holds the lock, however new it is; a lock that nobody holds is no finding", async () => {
  inherit();
  mkdirSync(home.runtimeDir, { mode: 0o700 });
  writeFileSync(join(home.runtimeDir, "lock"), "", { mode: 0o600 });
  expect(await home.look()).toMatchObject(healthy);
  const dead = createServer();
  await new Promise<void>((settle) => dead.listen(join(home.runtimeDir, "s"), settle));
  // Closing takes the name away: it is another one by then, as after a kill.
  renameSync(join(home.runtimeDir, "s"), home.socket);
  await new Promise((settle) => dead.close(settle));
  expect(one(await home.look())).toMatchObject({ kind: "socket", path: home.socket, fix: "can", next_start: "it is replaced" });
  expect(await home.look({ fix: true })).toMatchObject({ code: 0, findings: [{ kind: "socket", fix: "done" }] });
  expect(await home.look({ fix: true })).toMatchObject(healthy);
  await goesOn();
  // A socket whose daemon lives is nobody's to remove, also when its name was taken away.
  renameSync(home.socket, `${home.socket}.away`);
  const hidden = one(await home.doctor("--fix"));
  expect(hidden).toMatchObject({ kind: "daemon_silent", mend: expect.stringContaining(String(await home.daemon())) });
  renameSync(`${home.socket}.away`, home.socket);
  // The lock's name is what keeps a second daemon out.
  renameSync(join(home.runtimeDir, "lock"), join(home.runtimeDir, "lock-away"));
  expect(one(await home.doctor())).toMatchObject({ kind: "lock", path: join(home.runtimeDir, "lock") });
}, 240_000);

test("B41 B42 a daemon with another runtime directory owns the state: doctor says which, and --fix takes nothing from it", async () => {
  inherit();
  await goesOn();
  const env = { ...home.env, XDG_RUNTIME_DIR: join(home.root, "elsewhere") };
  mkdirSync(env.XDG_RUNTIME_DIR, { mode: 0o700 });
  const stray = home.path("open", ".stray.1-1");
  writeFileSync(stray, "");
  const { code, stdout } = await sessiond(env, home.workdir, "doctor", "--fix", "--json");
  expect(code).toBe(1);
  const found = wrongs((JSON.parse(stdout) as Examined).findings);
  expect(found).toMatchObject([{ kind: "lock", what: expect.stringContaining(home.socket), mend: expect.stringContaining("XDG_RUNTIME_DIR") }]);
  expect(home.daemons()).toHaveLength(1);
}, 240_000);

test("B12 B42 what a crash left lying about is told and removed: temporary files, marks, the folder of a session that never came to be; a conversation never is", async () => {
  inherit();
  const before = conversation();
  // As they are left by kill -9 in the middle of a write, a compaction, a creation.
  const never = `ses_${"0".repeat(21)}1`;
  const leftovers = [
    home.path(".registry.json.4194305-7"),
    home.path("sessions", sessionId, ".session.json.4194305-9"),
    home.path("sessions", sessionId, "journal.compact"),
    home.path("open", never),
    home.path("open", "stray"),
    home.path("unused", `ses_${"0".repeat(21)}2`),
  ];
  for (const path of leftovers) writeFileSync(path, "half");
  const folder = home.path("sessions", never);
  const first = conversation().split("\n").slice(0, 2).join("\n");
  mkdirSync(folder);
  writeFileSync(join(folder, "journal"), `${first}\n`);
  cpSync(home.path("sessions", sessionId, "session.json"), join(folder, "session.json"));
  // A conversation that the registry lost: all of it stays where it is.
  const lost = `ses_${"0".repeat(21)}3`;
  cpSync(home.path("sessions", sessionId), home.path("sessions", lost), { recursive: true });
  for (const name of [".session.json.4194305-9", "journal.compact"]) rmSync(home.path("sessions", lost, name));
  home.edit((text) => text.replaceAll(sessionId, lost), "sessions", lost, "session.json");
  const found = await home.look();
  expect(
    wrongs(found.findings)
      .map(({ path }) => String(path))
      .toSorted(),
  ).toEqual([...leftovers, folder, home.path("sessions", lost)].toSorted());
  expect(found.findings.filter(({ fix }) => fix === "can")).toHaveLength(leftovers.length + 1);
  const fixed = await home.look({ fix: true });
  expect(fixed.code).toBe(1);
  expect(one(fixed)).toMatchObject({ kind: "folder_without_entry", path: home.path("sessions", lost), mend: expect.stringContaining("registry.json") });
  expect([...leftovers, folder].filter((path) => existsSync(path))).toEqual([]);
  expect(readFileSync(home.path("sessions", lost, "journal"), "utf8")).toBe(before);
  expect(conversation()).toBe(before);
  const second = await home.look({ fix: true });
  expect(second.findings.filter(({ fix }) => fix !== undefined)).toEqual([]);
  // Its mend: the registry is made anew from the folders, this one included.
  renameSync(home.path("registry.json"), home.path("..", "registry.json"));
  await goesOn();
  expect(await home.doctor()).toMatchObject(healthy);
  expect(home.journal(lost).length).toBeGreaterThan(0);
  const listed = await (await home.connect()).listSessions({});
  expect(listed.sessions.map(({ session_id }) => session_id).toSorted()).toEqual([sessionId, lost].toSorted());
}, 240_000);

test("B12 B42 beside a running daemon nothing that it may be at work on is called left over, and the rest waits for `down`", async () => {
  inherit();
  await goesOn();
  const pid = await home.daemon();
  const [own, foreign] = [home.path(`.registry.json.${pid}-99`), home.path(".registry.json.4194305-1")];
  const making = `ses_${"0".repeat(21)}4`;
  for (const path of [own, foreign, home.path("open", making)]) writeFileSync(path, "");
  mkdirSync(home.path("sessions", making));
  const abandoned = `ses_${"0".repeat(21)}5`;
  mkdirSync(home.path("sessions", abandoned));
  const found = await home.doctor("--fix");
  expect(found.findings.filter(({ fix }) => fix === "done").map(({ path }) => String(path))).toEqual([foreign]);
  expect(wrongs(found.findings)).toMatchObject([{ path: home.path("sessions", abandoned), fix: "after_down" }]);
  expect([own, foreign, home.path("sessions", making), home.path("sessions", abandoned)].map((path) => existsSync(path))).toEqual([true, false, true, true]);
  expect((await home.run("doctor")).stdout).toContain("`sessiond down` first");
}, 240_000);

test("B12 B42 what was set aside, a registry, a session's file, a lock or a directory that cannot be used: each is told with its mend", async () => {
  inherit();
  const aside = home.path("sessions", sessionId, "journal.damaged-1700000000000");
  writeFileSync(aside, "bytes");
  expect(one(await home.look({ fix: true }))).toMatchObject({ kind: "set_aside", path: aside, mend: expect.stringContaining("move it out") });
  expect(readFileSync(aside, "utf8")).toBe("bytes");
  renameSync(aside, join(home.root, "aside"));
  const files: readonly [kind: string, path: string][] = [
    ["registry", home.path("registry.json")],
    ["session_file", home.path("sessions", sessionId, "session.json")],
  ];
  for (const [kind, path] of files) {
    const good = readFileSync(path);
    writeFileSync(path, "{]");
    expect(one(await home.look({ fix: true }))).toMatchObject({ kind, path, next_start: expect.stringContaining("is kept as") });
    expect(readFileSync(path, "utf8")).toBe("{]");
    writeFileSync(path, good);
  }
  rmSync(home.path("lock"));
  symlinkSync("/dev/null", home.path("lock"));
  expect(one(await home.look({ fix: true }))).toMatchObject({ kind: "lock", path: home.path("lock"), mend: expect.stringContaining("mv ") });
  rmSync(home.path("lock"));
  renameSync(home.path("sessions", sessionId), join(home.root, "gone"));
  expect(one(await home.look({ fix: true }))).toMatchObject({ kind: "entry_without_folder" });
  renameSync(join(home.root, "gone"), home.path("sessions", sessionId));
  expect(await home.look()).toMatchObject(healthy);
  await goesOn();
}, 240_000);

test("B41 B42 a state directory of a newer version is left alone, by doctor, by its --fix and by verify", async () => {
  inherit();
  writeFileSync(home.path("format.json"), '{"format":99,"written_by":"9.9.9"}');
  writeFileSync(home.path(".registry.json.4194305-7"), "half");
  const finding = { kind: "place", path: home.path("format.json"), mend: expect.stringContaining("update") };
  expect(one(await home.look({ fix: true }))).toMatchObject(finding);
  expect(existsSync(home.path(".registry.json.4194305-7"))).toBe(true);
  expect(await home.verify()).toMatchObject({ code: 1, sessions: [], findings: [finding] });
}, 240_000);

test("B2 B42 directories and keys that others may read are closed by --fix; the daemon that refused to start then starts", async () => {
  inherit();
  chmodSync(home.stateDir, 0o755);
  chmodSync(home.path("host-key"), 0o644);
  const config = join(home.root, "config/sessiond");
  writeFileSync(join(config, "openai.key"), "sk-not-to-be-seen-anywhere\n", { mode: 0o644 });
  writeFileSync(join(config, "config.toml"), '[model]\nname = "practice"\napi_key_file = "openai.key"\n');
  const found = await home.look();
  expect(
    wrongs(found.findings)
      .map(({ path }) => String(path))
      .toSorted(),
  ).toEqual([home.stateDir, home.path("host-key"), join(config, "openai.key")].toSorted());
  expect(await home.look({ fix: true })).toMatchObject({ code: 0, healthy: true });
  expect(await home.look({ fix: true })).toMatchObject(healthy);
  await goesOn();
}, 240_000);

test("B42 no model, a configuration that is not understood, no runtime directory, a path that is too long: each is told with its mend", async () => {
  const config = join(home.root, "config/sessiond/config.toml");
  const good = readFileSync(config);
  writeFileSync(config, "");
  expect(one(await home.look())).toMatchObject({ kind: "model", mend: expect.stringContaining("OPENAI_API_KEY") });
  writeFileSync(config, "[model\n");
  expect(one(await home.look())).toMatchObject({ kind: "setup", path: config, what: expect.stringContaining("not TOML") });
  writeFileSync(config, good);
  const { XDG_RUNTIME_DIR: _runtime, ...env } = home.env;
  const without = await home.look({ env });
  expect(without).toMatchObject({ healthy: true, findings: [{ kind: "setup", weight: "note", what: expect.stringContaining("XDG_RUNTIME_DIR is not set") }] });
  const long = join(home.root, "long".repeat(40));
  const far = await home.look({ env: { ...env, XDG_RUNTIME_DIR: long } });
  expect(one(far)).toMatchObject({ kind: "setup", what: expect.stringContaining("bytes, more than 103") });
}, 240_000);

const canMount = spawnSync("unshare", ["-m", "true"]).status === 0;
test.skipIf(!canMount)(
  "B38 B42 a disk that is nearly full, and one that is mounted read only, are told with their mend",
  async () => {
    inherit();
    const mounted = `mount -t tmpfs -o size=2m,mode=700 t ${home.stateDir} && `;
    const doctor = (script: string): Examined => {
      const [node, command, ...args] = [process.execPath, join(import.meta.dirname, "../../packages/cli/dist/sessiond.js"), "doctor", "--json"];
      const { stdout } = spawnSync("unshare", ["-m", "sh", "-c", `${script} exec ${[node, command, ...args].join(" ")}`], { env: home.env, encoding: "utf8" });
      return JSON.parse(stdout) as Examined;
    };
    expect(one(doctor(mounted))).toMatchObject({
      kind: "disk",
      what: expect.stringMatching(/^only \d\.\d MB are free/),
      mend: expect.stringContaining("make room"),
    });
    const readOnly = doctor(`mount --bind ${home.stateDir} ${home.stateDir} && mount -o remount,ro,bind ${home.stateDir} && `);
    expect(one(readOnly)).toMatchObject({ kind: "place", path: home.stateDir, what: expect.stringContaining("EROFS") });
  },
  60_000,
);

test("B2 nothing that doctor or verify says has a host key, a token or a provider's key in it", async () => {
  inherit();
  const provider = "sk-proj-nobody-may-ever-see-this-0123456789";
  home.env["OPENAI_API_KEY"] = provider;
  const token = await (async () => {
    const host = await home.connect();
    const session = await host.sessionForWorkdir(left.workdir);
    const minted = await session.mintToken({ right: "view", label: "for the test" });
    await host.close();
    return minted.token;
  })();
  await home.kill(await home.daemon());
  home.edit((text) => text.replace("{", `{"surprise":${JSON.stringify(token)},`), "sessions", sessionId, "session.json");
  home.edit((text) => `${text}${provider} ${token}\n${text}`, "sessions", sessionId, "journal");
  const said = [];
  for (const args of [["doctor"], ["doctor", "--json"], ["doctor", "--fix"], ["verify"], ["verify", "--json"], ["verify", token]])
    said.push(await home.run(...args));
  const all = said.map(({ stdout, stderr }) => `${stdout}${stderr}`).join("\n");
  expect(all).toContain("OPENAI_API_KEY");
  const secrets = [provider, readFileSync(home.path("host-key"), "utf8").trim(), token.slice(-20)];
  for (const secret of secrets) expect(all).not.toContain(secret);
}, 240_000);
