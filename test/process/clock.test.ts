import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { DriverSeat, Host, Session, ViewerSeat } from "@sessiond/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { whole } from "../support/amount.ts";
import { DaemonHome, daemonFile } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { SeenFrames } from "../support/seen-frames.ts";

/**
 * A machine whose clock is set an hour forward, then two hours back, under a real daemon. Each time that something
 * lasts, and what must not be over yet, is in test/host/clock-jumps.test.ts, where time is the test's.
 */
const hour = 3_600_000;
const fixture = resolve(import.meta.dirname, "../fixtures/set-clock.mjs");
const graceMs = 1_500;
const requestMs = 2_000;

let home: DaemonHome;
let clockFile: string;
beforeEach(() => {
  home = new DaemonHome(`[model]\nname = "practice"\n[limits]\nseat_grace_ms = ${graceMs}\ndriver_request_ms = ${requestMs}\nidle_exit_ms = 2000\n`);
  clockFile = join(home.root, "clock");
});
afterEach(() => home.close());

async function start(startedBy: "client" | "hand"): Promise<Host> {
  const env = { ...home.env, SET_CLOCK_FILE: clockFile };
  spawn(process.execPath, ["--import", fixture, daemonFile, "--started-by", startedBy], { env, stdio: "ignore", cwd: "/" });
  return eventually("the daemon answers", () => home.connect({ autoStart: false }).catch(() => null));
}

async function set(off: number): Promise<void> {
  rmSync(`${clockFile}.taken`, { force: true });
  writeFileSync(clockFile, String(off));
  process.kill(await home.daemon(), "SIGUSR2");
  await eventually("the clock is set", () => existsSync(`${clockFile}.taken`));
}

const until = async (seat: ViewerSeat, holds: () => boolean): Promise<void> => {
  while (!holds()) await seat.changed();
};

interface Here {
  readonly host: Host;
  readonly session: Session;
  readonly driver: DriverSeat;
  readonly viewer: ViewerSeat;
  readonly seen: readonly SeenFrames[];
}

async function seated(): Promise<Here> {
  const host = await start("hand");
  const session = await host.startSession({ workdir: home.workdir });
  const driver = await session.attach({ as: "driver" });
  const viewer = await (await host.openSession(session.id)).attach({ as: "viewer" });
  return { host, session, driver, viewer, seen: [driver, viewer].map((seat) => new SeenFrames(seat)) };
}

test("B38 B4 B15 B16 B28 B31 the clock is set an hour forward, then an hour back of what it was: nobody is thrown out, nothing expires or hangs, and every frame keeps its place", async () => {
  const { host, session, driver, viewer, seen } = await seated();
  await driver.configure({ policy: { type: "reject_after", ms: 3_000 } });
  await driver.sendPrompt("run echo never");
  await until(driver, () => driver.state.approvals.length === 1);
  for (const off of [hour, -hour]) {
    // A request for the wheel is open until its time is up, and no longer.
    const asking = viewer.takeDriver({ how: "ask" }).catch((error: unknown) => error);
    await until(driver, () => driver.state.driver_requests.length === 1);
    await set(off);
    expect(await asking).toMatchObject({ code: "driver_taken", detail: { outcome: "lapsed" } });
    // Token, seat and question are as they were; a frame says the time that the machine says.
    expect((await session.authorize()).right).toBe("control");
    const { seq } = await driver.addSystemMessage(`the clock is off by ${off}`);
    const [frame] = (await session.data({ after: seq - 1, limit: 1 })).frames;
    expect(Math.abs((frame?.at ?? 0) - Date.now() - off)).toBeLessThan(hour / 2);
    expect(driver.state.approvals).toHaveLength(1);
    expect((await host.listSessions()).sessions).toHaveLength(1);
  }
  // Without a driver the question has its three seconds, not an hour more or less.
  const rejected = seen[1]?.next((event) => event.type === "approval_resolved");
  await driver.detach();
  await set(hour);
  expect((await rejected)?.event).toMatchObject({ cause: "deadline" });
  for (const each of seen) each.check();
  const seqs = home.journal(session.id).map(({ seq }) => seq);
  expect(seqs).toEqual(seqs.map((_, index) => index + 1));
  const audit = readFileSync(join(home.stateDir, "audit.jsonl"), "utf8").trimEnd().split("\n");
  for (const line of audit) expect(Math.abs((JSON.parse(line) as { ms?: number }).ms ?? 0)).toBeLessThan(hour / 2);
  // What is stored is read by whatever clock there is then.
  await home.kill(await home.daemon());
  const again = await start("hand");
  expect((await again.listSessions()).sessions.map(({ session_id }) => session_id)).toEqual([session.id]);
}, 60_000);

test.runIf(whole)(
  "B41 B38 a daemon that a client started leaves after its idle time, however its clock is set",
  async () => {
    for (const off of [hour, -hour]) {
      const host = await start("client");
      const pid = await home.daemon();
      await set(off);
      expect((await host.status()).pid).toBe(pid);
      await host.close();
      await home.gone(pid);
      expect(existsSync(home.socket)).toBe(false);
    }
    expect(home.logged("stopped")).toHaveLength(2);
  },
  60_000,
);
