import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { DriverSeat, Host, Session } from "@sessiond/client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { whole } from "../support/amount.ts";
import { DaemonHome, daemonFile } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { SeenFrames } from "../support/seen-frames.ts";
import { mayMount, readOnly } from "../support/small-disk.ts";
import { failure, runToItsEnd, until } from "../support/wrecked-home.ts";

/** Where a daemon lives, and what becomes of it and its clients when that place is not as it must be, or goes. */
const isRoot = process.getuid?.() === 0;
const nobody = 65_534;
const commandFile = join(dirname(daemonFile), "sessiond.js");
const asNobody = ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"];
/** Whether that account may run the daemon at all: it cannot reach a copy in a private directory. */
const nobodyRuns = isRoot && spawnSync("setpriv", [...asNobody.slice(1), "test", "-r", daemonFile]).status === 0;

let home: DaemonHome;
let undo: (() => void)[];
beforeEach(() => {
  home = new DaemonHome('[model]\nname = "practice"\n[limits]\nreopen_ms = 200\n');
  undo = [];
});
afterEach(async () => {
  for (const each of undo) each();
  await home.close();
});

async function driving(): Promise<{ host: Host; session: Session; seat: DriverSeat; seen: SeenFrames }> {
  const host = await home.connect({ autoStart: false });
  const session = await host.sessionForWorkdir(home.workdir);
  const seat = await session.attach({ as: "driver" });
  return { host, session, seat, seen: new SeenFrames(seat) };
}

/** Somebody may still be writing there, a line of the audit for one: then it is not empty when its turn comes. */
function removeUnder(directory: string): void {
  for (let tries = 1; ; tries++) {
    try {
      return rmSync(directory, { recursive: true });
    } catch (error) {
      if (tries === 50) throw error;
    }
  }
}

describe("a place that is not fit", () => {
  const unfit: [string, RegExp, (path: string) => void][] = [
    ["a file", /EEXIST|is not a directory/, (path) => writeFileSync(path, "a file")],
    ["a symbolic link to nothing", /EEXIST|ENOENT|is not a directory/, (path) => symlinkSync("/nowhere/at/all", path)],
    ["a symbolic link to a directory", /is not a directory/, (path) => symlinkSync(home.workdir, path)],
    ["open to others", /is open to other accounts; run: chmod 700/, (path) => (mkdirSync(path), chmodSync(path, 0o777))],
  ];
  if (isRoot) unfit.push(["of another account", /belongs to another account/, (path) => (mkdirSync(path, { mode: 0o700 }), chownSync(path, nobody, nobody))]);

  for (const which of ["stateDir", "runtimeDir"] as const) {
    for (const [how, words, make] of unfit) {
      test(`B38 B41 a ${which === "stateDir" ? "state" : "runtime"} directory that is ${how} is refused with words that name it, and nothing of it is touched`, async () => {
        const path = home[which];
        mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
        make(path);
        const { code, said } = await runToItsEnd(home);
        expect(code).toBe(1);
        expect(said).toEqual([expect.stringMatching(words)]);
        expect(said[0]).toContain(path);
        if (!how.includes("nothing") && !how.includes("a file")) expect(readdirSync(path)).toEqual([]);
      });
    }
  }

  test.skipIf(!nobodyRuns)(
    "B38 a directory in which this account may not write is refused with words (skipped where no other account can run the daemon)",
    async () => {
      chmodSync(home.root, 0o755);
      for (const each of ["state", "run", "config", "home"]) mkdirSync(join(home.root, each), { recursive: true });
      const own = (path: string): void => chownSync(path, nobody, nobody);
      mkdirSync(home.stateDir, { mode: 0o500 });
      mkdirSync(home.runtimeDir, { mode: 0o700 });
      for (const each of [
        home.stateDir,
        home.runtimeDir,
        join(home.root, "config"),
        join(home.root, "config/sessiond"),
        join(home.root, "state"),
        join(home.root, "run"),
      ])
        own(each);
      const { code, said } = await runToItsEnd(home, asNobody);
      expect(code).toBe(1);
      expect(said).toEqual([expect.stringContaining(`${home.stateDir}: EACCES`)]);
    },
  );
});

/** No line of /etc/passwd has it. To the files it is this one, so that it reaches the command wherever that is. */
const asUnknown = ["unshare", "--user", "--map-user=54321", process.execPath] as const;
const maySeemUnknown = spawnSync(asUnknown[0], [...asUnknown.slice(1), "--version"]).status === 0;

describe.skipIf(!maySeemUnknown)("an account that the system does not know (skipped where this one may not seem another)", () => {
  const command = (env: Record<string, string>) =>
    spawnSync(asUnknown[0], [...asUnknown.slice(1), commandFile, "status"], { env: { PATH: process.env["PATH"] ?? "", ...env }, cwd: "/", encoding: "utf8" });

  test("B38 the command works for it, and says in words which place it may not look at, or that it has no home", () => {
    const shut = join(home.root, "shut");
    mkdirSync(shut, { mode: 0o000 });
    expect(command({ HOME: home.root })).toMatchObject({ status: 4, stderr: expect.stringMatching(/^sessiond: No daemon runs/) as string });
    const [untold, homeless] = [command({ HOME: home.root, XDG_RUNTIME_DIR: shut }), command({})];
    expect(untold.stderr).toContain(`${shut}/sessiond cannot be looked at (EACCES)`);
    expect(homeless.stderr).toContain("set HOME, or XDG_STATE_HOME");
    for (const { status, stderr } of [untold, homeless]) {
      expect(status).toBe(4);
      expect(stderr).not.toMatch(/This is a bug|^ +at /m);
    }
  });
});

describe.skipIf(!mayMount)("a place that becomes read-only (skipped where this account may not mount)", () => {
  test("B38 a state directory that becomes read-only under a running daemon: what needs a new file is refused with words, what has its file open goes on, and so does all of it afterwards", async () => {
    await home.startByHand();
    const { host, session, seat, seen } = await driving();
    const turn = seat.prompt("stream 100 every 5");
    await until(seat, () => seat.state.turn !== null);
    const writable = readOnly(home.stateDir);
    undo.push(writable);
    expect(await turn).toMatchObject({ stopReason: "end_turn" });
    expect(await seat.prompt("say still here")).toMatchObject({ text: "still here" });
    for (const refused of [() => host.startSession({ workdir: home.workdir }), () => session.mintToken({ right: "view", label: "more" })])
      expect(await failure(refused())).toMatchObject({ code: "storage_failed", detail: { reason: expect.stringContaining("EROFS") } });
    const status = await eventually("the status tells of the audit file", async () => {
      const now = await host.status();
      return now.audit.failed > 0 ? now : null;
    });
    expect(status.problems.map(({ what }) => what)).toEqual([expect.stringContaining("of the audit file could not be written (EROFS)")]);
    undo.pop()?.();
    expect(readdirSync(join(home.stateDir, "sessions"))).toEqual([session.id]);
    expect((await host.startSession({ workdir: home.workdir })).created).toBe(true);
    expect(await seat.prompt("say after")).toMatchObject({ text: "after" });
    seen.check();
    expect(home.logged("listening")).toHaveLength(1);
  }, 60_000);

  test.runIf(whole)(
    "B38 a daemon does not start on a read-only directory, says which, and has changed nothing",
    async () => {
      await home.startByHand();
      const { session } = await driving();
      await home.kill(await home.daemon());
      undo.push(readOnly(home.stateDir));
      const { code, said } = await runToItsEnd(home);
      expect(code).toBe(1);
      expect(said).toEqual([expect.stringContaining(`${home.stateDir}: EROFS`)]);
      undo.pop()?.();
      await home.startByHand();
      expect((await (await home.connect({ autoStart: false })).listSessions()).sessions.map(({ session_id }) => session_id)).toEqual([session.id]);
    },
    60_000,
  );
});

describe("a place that goes away under a running daemon", () => {
  test("B38 B36 a state directory that is removed: nothing is acknowledged any more that no file keeps, the status says so, and the daemon can still be told to go", async () => {
    await home.startByHand();
    const { host, session, seat } = await driving();
    await seat.prompt("say before");
    removeUnder(home.stateDir);
    expect(await failure(seat.sendPrompt("say lost"))).toMatchObject({ code: "storage_failed" });
    await until(seat, () => seat.fault !== undefined);
    expect(await failure(host.startSession({ workdir: home.workdir }))).toMatchObject({ code: "storage_failed" });
    const { problems, faults } = await host.status();
    expect(faults).toMatchObject([{ session_id: session.id }]);
    expect(problems.map(({ what }) => what)).toEqual(expect.arrayContaining([`${home.stateDir} cannot be looked at`]));
    const pid = await home.daemon();
    await host.shutDown({ waitMs: 0 });
    await home.gone(pid);
    // Begins anew, from nothing.
    const anew = await home.connect();
    expect((await anew.sessionForWorkdir(home.workdir)).created).toBe(true);
  }, 60_000);

  test.runIf(whole)(
    "B38 B31 a state directory that is moved away and back: nothing is lost, nothing is doubled",
    async () => {
      await home.startByHand();
      const { host, seat, seen } = await driving();
      await seat.prompt("say before");
      renameSync(home.stateDir, `${home.stateDir}-away`);
      // Its file is open, wherever it lies.
      await seat.prompt("say meanwhile");
      expect(await failure(host.startSession({ workdir: home.workdir }))).toMatchObject({
        code: "storage_failed",
        detail: { reason: expect.stringContaining("ENOENT") },
      });
      expect(existsSync(home.stateDir)).toBe(false);
      renameSync(`${home.stateDir}-away`, home.stateDir);
      await seat.prompt("say after");
      expect((await host.startSession({ workdir: home.workdir })).created).toBe(true);
      seen.check();
      const back = seen.back();
      await home.kill(await home.daemon());
      await home.startByHand();
      await back;
      expect(seat.state.turns).toBe(3);
      expect(home.journal(seat.sessionId).map(({ seq }) => seq)).toEqual(home.journal(seat.sessionId).map((_, index) => index + 1));
    },
    60_000,
  );
});

describe("a socket or runtime directory that goes away under a running daemon", () => {
  const gone: [string, () => void][] = [
    ["its socket's name", () => rmSync(home.socket)],
    ["its runtime directory", () => removeUnder(home.runtimeDir)],
  ];
  for (const [what, remove] of gone) {
    test.runIf(whole || what.includes("runtime"))(
      `B10 B41 B42 without ${what} the daemon works on for who is connected and says what is wrong; no second one comes to own its state`,
      async () => {
        await home.startByHand();
        const { host, seat, seen } = await driving();
        remove();
        expect(await seat.prompt("say still here")).toMatchObject({ text: "still here" });
        expect((await host.status()).problems).toContainEqual({
          what: expect.stringContaining(`${home.socket} is gone: nobody new finds this daemon`),
          mend: expect.stringContaining("sessiond up"),
        });
        const others = await Promise.all([runToItsEnd(home), runToItsEnd(home)]);
        for (const { code, said } of others) {
          const words = expect.stringMatching(/another daemon, behind .*sock, owns .*; use the same XDG_RUNTIME_DIR/);
          expect(said).toEqual(code === 0 ? [] : [words]);
        }
        expect(others.map(({ code }) => code)).toEqual(what.includes("socket") ? [0, 0] : expect.arrayContaining([1]));
        expect(home.logged("listening")).toHaveLength(1);
        expect((await host.status()).pid).toBe(await home.daemon());
        // What the mend says: end it, start another, and the session goes on.
        const pid = await home.daemon();
        const back = seen.back();
        process.kill(pid, "SIGTERM");
        await home.gone(pid);
        await home.startByHand();
        await back;
        expect(await seat.prompt("say after")).toMatchObject({ text: "after" });
        seen.check();
      },
      60_000,
    );
  }
});
