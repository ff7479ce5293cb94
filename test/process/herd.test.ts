import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { amount, whole } from "../support/amount.ts";
import { DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { connectionsAt, Herd, startsOf, type Served } from "../support/herd.ts";
import { isAlive } from "../support/processes.ts";
import { SeenFrames } from "../support/seen-frames.ts";

/**
 * Many client processes at once, round after round, against a daemon that is not there, not any more or not for
 * long. Whatever became of it, one daemon serves them all, and each directory has one session.
 */
const clients = amount(8, 64, "SESSIOND_HERD");
const minutes = 60_000;

let herd: Herd;
let home: DaemonHome;
const figures = { rounds: 0, started: 0, listened: 0, refused: 0, slowest: 0 };
beforeAll(async () => {
  herd = await Herd.open(clients);
}, 2 * minutes);
afterAll(async () => {
  await herd.close();
  const { rounds, started, listened, refused, slowest } = figures;
  console.log(
    `B10 B41: ${rounds} rounds of ${clients} clients: ${started} daemons begun, ${listened} of them came to listen; ` +
      `${refused} times a client was told to come again; the slowest was served after ${(slowest / 1_000).toFixed(1)} s`,
  );
});
beforeEach(() => {
  home = new DaemonHome();
});
afterEach(() => home.close());

const listened = (): number => home.logged("listening").length;

/** Directories that no round had before. */
let named = 0;
function fresh(count: number): string[] {
  const paths = Array.from({ length: count }, () => join(home.root, `project-${++named}`));
  for (const path of paths) mkdirSync(path);
  return paths;
}

/** All were served, and each directory has one session, made by one call. `created`: how many were told so, at least and at most. */
function expectServed(served: readonly Served[], dirs: readonly string[], created: readonly [number, number]): void {
  figures.rounds++;
  figures.refused += served.reduce((sum, { refused }) => sum + refused, 0);
  figures.slowest = Math.max(figures.slowest, ...served.map(({ ms }) => ms ?? 0));
  expect(served.filter(({ failed }) => failed !== undefined)).toEqual([]);
  expect(served).toHaveLength(clients);
  for (const dir of dirs) {
    const here = served.filter(({ workdir }) => workdir === dir);
    expect(new Set(here.map(({ session_id }) => session_id)).size).toBe(1);
    const told = here.filter((each) => each.created).length;
    expect(told).toBeGreaterThanOrEqual(created[0]);
    expect(told).toBeLessThanOrEqual(created[1]);
  }
}

/** So many came to listen in this round; the last of them is there, and nobody else. */
async function expectOne(before: number, boots: readonly [number, number] = [1, 1]): Promise<void> {
  expect(await home.daemon()).toBe(Number(home.logged("listening").at(-1)?.["pid"]));
  expect(listened() - before).toBeGreaterThanOrEqual(boots[0]);
  expect(listened() - before).toBeLessThanOrEqual(boots[1]);
  for (const what of ["could not start", "unexpected", "uncaught"]) expect(home.logged(what)).toEqual([]);
}

/** A herd where nobody is, over what is left of the daemon before; in the whole also the same directories again, that one killed too. */
async function cold(dirs: readonly string[]): Promise<void> {
  const before = listened();
  await herd.arm(home, dirs);
  const first = await herd.go();
  expectServed(first, dirs, [1, 1]);
  await expectOne(before);
  if (!whole) return;
  const ids = (served: readonly Served[]) => new Map(served.map(({ workdir, session_id }) => [workdir, session_id]));
  await home.kill(await home.daemon());
  await herd.arm(home, dirs);
  const again = await herd.go();
  expectServed(again, dirs, [0, 0]);
  expect(ids(again)).toEqual(ids(first));
  await expectOne(before, [2, 2]);
}

async function down(): Promise<void> {
  const pid = await home.daemon();
  await (await home.connect({ autoStart: false })).shutDown({ waitMs: 0 });
  await home.gone(pid);
}

const kinds: Record<string, () => Promise<void>> = {
  async "nothing is left"() {
    await home.kill(await home.daemon());
    count();
    for (const dir of ["state", "run"]) rmSync(join(home.root, dir, "sessiond"), { recursive: true });
    await cold(fresh(1));
  },
  async "socket and locks of a killed one"() {
    await home.kill(await home.daemon());
    expect([existsSync(home.socket), existsSync(join(home.runtimeDir, "lock"))]).toEqual([true, true]);
    await cold(fresh(4));
  },
  async "wreckage under all its names"() {
    await home.kill(await home.daemon());
    rmSync(home.socket);
    for (const name of ["sock", ".new", "lock"]) writeFileSync(join(home.runtimeDir, name), "4711 of another boot\n", { mode: 0o600 });
    writeFileSync(join(home.stateDir, "lock"), "/run/nobody/sessiond/sock", { mode: 0o600 });
    await cold(fresh(1));
  },
  "killed as it begins": () => killed(async (begun) => eventually("one is begun", () => startsOf(home)[begun])),
  "killed as it listens": () =>
    killed(async (_, before) => eventually("one listens", () => (listened() > before ? Number(home.logged("listening").at(-1)?.["pid"]) : null))),
  "killed as it serves": () => killed((_, __, first) => first.then(() => Number(home.logged("listening").at(-1)?.["pid"]))),
  /** The old one is there, takes nothing any more, and dies when all wait at its door. */
  async stopped() {
    const pid = await home.daemon();
    const before = listened();
    const dirs = fresh(4);
    await herd.arm(home, dirs);
    const open = connectionsAt(home);
    process.kill(pid, "SIGSTOP");
    const going = herd.go();
    await eventually("all wait at the door", () => connectionsAt(home) >= open + clients);
    await home.kill(pid);
    expectServed(await going, dirs, [1, 1]);
    await expectOne(before);
  },
  /** The old one was told to go and waits for a turn, which ends when it has refused many. */
  async draining() {
    const pid = await home.daemon();
    const before = listened();
    const host = await home.connect({ autoStart: false });
    const [busy = ""] = fresh(1);
    const seat = await (await host.startSession({ workdir: busy })).attach({ as: "driver" });
    const seen = new SeenFrames(seat);
    const asked = seen.next(({ type }) => type === "approval_requested");
    await seat.sendPrompt("run while [ ! -e enough ]; do sleep 0.05; done");
    await asked;
    const [question] = seat.state.approvals;
    if (question !== undefined) await seat.approve(question, { kind: "allow_once" });
    await seen.until(({ status }) => status === "tool_executing");
    await host.shutDown({ waitMs: 2 * minutes });
    const dirs = fresh(1);
    await herd.arm(home, dirs);
    let refused = 0;
    const served = await herd.go((line) => {
      if (line === "refused" && ++refused === clients / 2) writeFileSync(join(busy, "enough"), "");
    });
    expectServed(served, dirs, [1, 1]);
    expect(served.reduce((sum, each) => sum + each.refused, 0)).toBeGreaterThanOrEqual(clients / 2);
    await home.gone(pid);
    await expectOne(before);
    await host.close();
  },
};

/** One of this round is killed at that instant; whom it had not answered finds the next, and who asks again may not hear that it was he who created. */
async function killed(at: (begun: number, before: number, first: Promise<void>) => Promise<number>): Promise<void> {
  await down();
  const [begun, before] = [startsOf(home).length, listened()];
  const dirs = fresh(1);
  await herd.arm(home, dirs);
  let tell = (): void => undefined;
  const first = new Promise<void>((resolve) => (tell = resolve));
  const going = herd.go(() => tell());
  const pid = await at(begun, before, first);
  if (isAlive(pid)) await home.kill(pid);
  expectServed(await going, dirs, [0, 1]);
  await eventually("one is there", () => home.daemons().length === 1);
  await expectOne(before, [1, 2]);
}

const rounds = amount(4, 40, "SESSIOND_ROUNDS");
test(
  `B10 B11 B41 ${clients} processes at once, over all that a daemon can leave or while it ends: one daemon, one session a directory, one \`created\`, and nobody gets an error`,
  { timeout: 10 * minutes },
  async () => {
    await (await home.connect()).close();
    const names = Object.keys(kinds);
    for (let index = 0; figures.rounds < rounds; index++) {
      const name = names[index % names.length] ?? "";
      await kinds[name]?.().catch((cause: unknown) => {
        throw new Error(`in round ${figures.rounds}, ${name}`, { cause });
      });
    }
    await herd.leave();
    await home.daemon();
    figures.started += startsOf(home).length;
    figures.listened += listened();
  },
);

const idleRounds = amount(2, 10);
const idleMs = 300;
/** When the herd is let go, counted from the instant at which the daemon is due to leave. */
const offsets = [-20, -5, 0, 10, 40];
test(
  `B41 ${clients} processes that come in the instant in which a daemon leaves because nobody uses it are served, by it or the next; none is told that it is shutting down`,
  { timeout: 5 * minutes },
  async () => {
    await home.close();
    home = new DaemonHome(`[model]\nname = "practice"\n[limits]\nidle_exit_ms = ${idleMs}\n`);
    const dirs = fresh(1);
    let left = 0;
    for (let round = 0; round < idleRounds; round++) {
      await herd.arm(home, dirs, { close: true });
      if (round % 2 === 1) await eventually("it begins to leave", () => home.logged("draining").length === listened());
      else if (round > 0) await pause(Math.max(0, left + idleMs + (offsets[round % offsets.length] ?? 0) - performance.now()));
      const served = await herd.go();
      left = performance.now();
      expectServed(served, dirs, round === 0 ? [1, 1] : [0, 0]);
      expect(served.filter(({ refused }) => refused > 0)).toEqual([]);
    }
    for (const what of ["could not start", "unexpected", "uncaught"]) expect(home.logged(what)).toEqual([]);
    await eventually("the last one has left", () => home.daemons().length === 0);
    count();
  },
);

function count(): void {
  figures.started += startsOf(home).length;
  figures.listened += listened();
}
