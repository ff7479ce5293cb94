import { spawn, type ChildProcess } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { limits } from "@sessiond/shared";
import { runEntry } from "../../packages/client/src/node/start.ts";
import { StartTurn } from "../../packages/client/src/node/start-turn.ts";
import { afterAwake } from "../../packages/daemon/src/clock.ts";
import { realDisk, type Disk } from "../../packages/daemon/src/disk.ts";
import { SessionCredentials } from "../../packages/daemon/src/host/credentials.ts";
import { claimFormat } from "../../packages/daemon/src/host/state-format.ts";
import { everywhere } from "../../packages/daemon/src/host/reach.ts";
import type { RegistryEntry } from "../../packages/daemon/src/host/registry-file.ts";
import { Store } from "../../packages/daemon/src/host/store.ts";
import { Counters } from "../../packages/daemon/src/counters.ts";
import { installIdOf, mintId } from "../../packages/daemon/src/ids.ts";
import { claim } from "../../packages/daemon/src/lifecycle.ts";
import { recover } from "../../packages/daemon/src/recovery/entry.ts";
import { holdersOf } from "../../packages/daemon/src/recovery/lock-holders.ts";
import { eventually } from "../support/eventually.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { isAlive } from "../support/processes.ts";
import { Wreck } from "../support/wreck.ts";

/** What a fresh reader of the whole of it broke: what looks after the files, and what lets go of them. */
const children: ChildProcess[] = [];
const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const end of ends.splice(0).toReversed()) await end();
  vi.restoreAllMocks();
});

function run(env: Readonly<Record<string, string>>, ...words: readonly [string, ...string[]]): ChildProcess {
  const [command, ...args] = words;
  const child = spawn(command, args, { env: { ...env }, stdio: "ignore" });
  children.push(child);
  return child;
}
function directory(): string {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "rvw-")));
  ends.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
function wreck(): Wreck {
  const home = new Wreck();
  ends.push(() => home.close());
  for (const made of ["sessions", "open", "unused"]) mkdirSync(home.path(made), { recursive: true, mode: 0o700 });
  mkdirSync(home.runtimeDir, { recursive: true, mode: 0o700 });
  return home;
}

test("B42 who holds a lock is known also where its directory is reached through a link", async () => {
  const root = directory();
  mkdirSync(join(root, "real"));
  symlinkSync(join(root, "real"), join(root, "link"));
  const holder = run({ PATH: process.env["PATH"] ?? "" }, "/bin/sh", "-c", 'exec 9<>"$0"; exec sleep 300', join(root, "real", "lock"));
  for (const path of ["real", "link"]) await expect.poll(() => holdersOf(join(root, path, "lock"))).toEqual([{ pid: holder.pid, stopped: false }]);
});

test("B39 B42 a daemon that starts while doctor looks keeps its tools: without the locks --fix ends nothing that carries this installation's mark", async () => {
  const home = wreck();
  const tool = run({ ...home.env, SESSIOND_MARK: `${installIdOf(home.stateDir)}.boot.call` }, "sleep", "300");
  await eventually("it runs", () => home.tools().length === 1);
  // Of this process, which doctor takes for itself: there when the locks are to be taken, and not seen before.
  const daemon = await claim(home.socket, home.stateDir);
  ends.push(() => daemon?.release());
  const found = (await home.look({ fix: true })).findings.find(({ kind }) => kind === "orphans");
  expect(found).toMatchObject({ fix: "after_down" });
  expect(isAlive(tool.pid ?? 0)).toBe(true);
});

test("B42 doctor --fix leaves what is no socket where the socket should be", async () => {
  const home = wreck();
  writeFileSync(home.socket, "somebody's");
  const { findings } = await home.look({ fix: true });
  expect(findings.find(({ kind }) => kind === "socket")).toMatchObject({ what: `${home.socket} is no socket` });
  expect(existsSync(home.socket)).toBe(true);
});

test("B42 doctor --fix removes no folder that holds anything but what a creation leaves: a journal under another name is a conversation", async () => {
  const home = wreck();
  writeFileSync(home.path("registry.json"), JSON.stringify({ version: 1, sessions: [] }));
  const [empty, kept] = [home.path("sessions", mintId("ses")), home.path("sessions", mintId("ses"))];
  mkdirSync(empty);
  writeFileSync(join(empty, "journal"), "");
  cpSync(empty, kept, { recursive: true });
  renameSync(join(kept, "journal"), join(kept, "journal.bak"));
  await home.look({ fix: true });
  expect([existsSync(empty), existsSync(kept)]).toEqual([false, true]);
});

test("B42 a configuration that is linked to a file of one's own is closed to others as that file is", async () => {
  const home = wreck();
  const [real, link] = [join(home.root, "dotfiles"), join(home.root, "config", "sessiond")];
  renameSync(link, real);
  symlinkSync(real, link);
  writeFileSync(join(real, "config.toml"), '[model]\nname = "practice"\napi_key = "sk-1"\n', { mode: 0o600 });
  chmodSync(join(real, "config.toml"), 0o600);
  const open = async () => (await home.look()).findings.filter(({ path }) => path?.startsWith(real) === true || path?.startsWith(link) === true);
  expect(await open()).toEqual([]);
  chmodSync(join(real, "config.toml"), 0o644);
  expect(await open()).toMatchObject([{ path: join(real, "config.toml"), fix: "can" }]);
});

test("B12 a state directory of a later form is left alone, also where its file says nothing else that is known", async () => {
  const root = directory();
  writeFileSync(join(root, "format.json"), '{"format":9}');
  const setAside = vi.fn();
  await expect(claimFormat({ root, disk: realDisk(), now: 1, setAside })).rejects.toMatchObject({ code: "conflict" });
  expect(setAside).not.toHaveBeenCalled();
});

test("B42 doctor and verify do not exit before their last line has been taken", async () => {
  const home = wreck();
  let taken = 0;
  let told = 0;
  vi.spyOn(process.stdout, "write").mockImplementation((_text, done: unknown) => {
    told += 1;
    setTimeout(() => {
      taken += 1;
      if (typeof done === "function") done();
    }, 50);
    return false;
  });
  await recover("verify", [], home.env);
  expect([told > 0, taken]).toEqual([true, told]);
});

/** Credentials of one stopped session, with one token, on a disk whose every replacement waits once it is slow. */
async function slowCredentials() {
  const root = directory();
  const disk = realDisk();
  const gates: (() => void)[] = [];
  const held = { slow: false, away: false };
  const slowDisk: Disk = {
    ...disk,
    async replace(path, text) {
      if (held.slow) await new Promise<void>((resolve) => gates.push(resolve));
      await disk.replace(path, text);
    },
  };
  const clock = new FakeClock();
  const store = new Store(root, slowDisk, clock, { counters: new Counters(), limits, report: () => undefined });
  const entry: RegistryEntry = { id: mintId("ses"), workdir: "/w", stable: true, life: 1, stopped: true, created_at: 0 };
  await store.makeSessionDirectory(entry.id);
  const credentials = new SessionCredentials({
    store,
    clock,
    limits: { ...limits, credentials_idle_max: 0 },
    keyEnd: () => null,
    onEnded: () => undefined,
    mayLetGo: () => held.away,
    unattended: (_id, work) => work().then(() => true),
    freed: () => Promise.resolve(),
    report: () => undefined,
  });
  const { tokens } = await credentials.of(entry);
  const { token } = await tokens.mint({ right: "control", label: "start", life: 1, origin: "start", by: everywhere });
  clock.advance(limits.token_use_written_ms + 1);
  held.slow = true;
  return { credentials, entry, tokens, token, gates, held };
}

test("B4 B38 while a disk hangs the calls by a token begin one write of its last use, not one each", async () => {
  const { tokens, token, gates } = await slowCredentials();
  for (let call = 0; call < 50; call++) expect(tokens.verify(token)).not.toBeNull();
  await expect.poll(() => gates.length).toBe(1);
  gates[0]?.();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(tokens.verify(token)).not.toBeNull();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(gates).toHaveLength(1);
});

test("B4 the tokens of a session are let go of only when no write of theirs is on its way: it would undo what the next reader writes", async () => {
  const { credentials, entry, tokens, token, gates, held } = await slowCredentials();
  expect(tokens.verify(token)).not.toBeNull();
  // In the same millisecond: it has nothing to say that the first has not said.
  void tokens.writeUse();
  await expect.poll(() => gates.length).toBe(1);
  gates[0]?.();
  await expect.poll(() => gates.length).toBe(2);
  held.away = true;
  credentials.spare();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(credentials.loaded(entry.id)).toBeDefined();
  gates[1]?.();
  await expect.poll(() => credentials.loaded(entry.id)).toBeUndefined();
});

test("B15 a patience that is shorter than a timer's grain ends all the same", () => {
  class LateClock extends FakeClock {
    override after(ms: number, call: () => void): () => void {
      return super.after(ms + 2, call);
    }
  }
  const clock = new LateClock();
  let over = false;
  afterAwake(clock, 1, () => (over = true));
  clock.advance(100);
  expect(over).toBe(true);
});

test("B42 a command that is told of itself as the daemon's file looks once, and not for ever", async () => {
  const file = join(directory(), "sessiond");
  writeFileSync(file, '#!/bin/sh\necho "$* ${SESSIOND_BIN:-none}"\n', { mode: 0o700 });
  const lines: string[] = [];
  expect(await runEntry({ PATH: process.env["PATH"] ?? "", SESSIOND_BIN: file }, ["doctor"], (line) => lines.push(line))).toBe(0);
  expect(lines).toEqual(["doctor none"]);
});

test("B41 who cannot take back its turn to start a daemon has started one all the same", () => {
  const runtime = directory();
  mkdirSync(join(runtime, "starting"));
  utimesSync(join(runtime, "starting"), 0, 0);
  const turn = new StartTurn(runtime);
  expect(turn.take()).toBe(true);
  expect(() => turn.leave()).not.toThrow();
});
