import { spawn, type ChildProcess } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { DriverSeat, Host, Session } from "@sessiond/client";
import { limits } from "@sessiond/shared";
import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import { amount, whole } from "../support/amount.ts";
import { canBeWithout, DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { endWorkers, hard, hardNames, isUp, nobodyWorksIn, prepare, workersIn, type HardName } from "../support/hard-children.ts";
import { isAlive } from "../support/processes.ts";

/** Tools that do not want to end under the real daemon: every kind at once, each in a session of its own, and then the end. */
const names: readonly HardName[] = whole ? hardNames : ["ignores TERM", "forks for ever in groups of their own", "clears its environment"];

/** Nineteen tools at once take long on a machine that has other work. */
const hangGuardMs = 240_000;

interface Running {
  readonly name: HardName;
  readonly workdir: string;
  readonly host: Host;
  readonly session: Session;
  readonly seat: DriverSeat;
  /** The command's first process. */
  readonly first: number;
}

let home: DaemonHome;
let workdirs: string[] = [];
let strangers: ChildProcess[] = [];
beforeEach(() => {
  home = new DaemonHome();
  workdirs = [];
  strangers = [];
});
afterEach(async () => {
  for (const { pid } of strangers) if (pid !== undefined && isAlive(pid)) process.kill(-pid, "SIGKILL");
  await endWorkers(...workdirs);
  await home.close();
});

const figures: string[] = [];
afterAll(() => console.log(`B39: ${names.length} kinds of tools under the real daemon: ${figures.join("; ")}`));

/** Start a daemon and all kinds of tools in it; resolves when every one is up. */
async function allRun(): Promise<{ host: Host; running: Running[] }> {
  await home.startByHand();
  const host = await home.connect({ autoStart: false });
  const running = await Promise.all(names.map((name, index) => run(host, name, hard(name).command, `w${index}`)));
  await Promise.all(running.map(({ name, workdir }) => eventually(`what ${name} is up`, () => isUp(workdir))));
  return { host, running };
}

async function run(host: Host, name: HardName, command: string, directory: string): Promise<Running> {
  const workdir = join(home.root, directory);
  prepare(workdir);
  workdirs.push(workdir);
  const session = await host.sessionForWorkdir(workdir);
  const seat = await session.attach({ as: "driver" });
  await seat.sendPrompt(`run echo $$ > first; ${command}`);
  while (seat.state.approvals.length === 0) await seat.changed();
  const [question] = seat.state.approvals;
  if (question !== undefined) await seat.approve(question, { kind: "allow_once" });
  const first = await eventually("the first process has told its pid", () => Number(textOf(join(workdir, "first"))) || null);
  return { name, workdir, host, session, seat, first };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

async function stillThere(running: readonly Running[]): Promise<HardName[]> {
  const left = await Promise.all(running.map(async ({ name, workdir }) => ((await nobodyWorksIn(workdir)) ? [] : [name])));
  return left.flat();
}

const noTurn = async ({ seat }: Running): Promise<void> => {
  while (seat.state.turn !== null) await seat.changed();
};

// --- The ways that leave the daemon time -----------------------------------------------------------------

/** What is true of the processes is looked at in the instant in which the call is answered, or the daemon is gone. */
const ways: Record<string, (all: { host: Host; running: Running[] }) => Promise<unknown>> = {
  interrupt: ({ running }) => Promise.all(running.map(({ session }) => session.interrupt())),
  "a prompt that interrupts": ({ running }) =>
    Promise.all(
      running.map(async (one) => {
        const before = one.seat.state.turn?.turn_id;
        await one.seat.sendPrompt("say next", { whenBusy: "interrupt" });
        while (one.seat.state.turn?.turn_id === before) await one.seat.changed();
        await noTurn(one);
        expect(one.seat.state.last_turn).toMatchObject({ stop_reason: "end_turn" });
      }),
    ),
  stop: ({ running }) => Promise.all(running.map(({ session }) => session.stop())),
  "shut_down without waiting": async ({ host }) => home.gone((await host.shutDown({ waitMs: 0 })).pid),
  "SIGTERM of the daemon": async () => {
    const pid = await home.daemon();
    process.kill(pid, "SIGTERM");
    await home.gone(pid);
  },
};

for (const [way, end] of Object.entries(ways))
  test.skipIf(!whole && way !== "interrupt")(
    `B39 ${way} leaves no process of any tool`,
    async () => {
      const all = await allRun();
      await end(all);
      expect(await stillThere(all.running)).toEqual([]);
      expect(home.tools()).toEqual([]);
      expect(home.logged("unexpected").concat(home.logged("uncaught"))).toEqual([]);
      figures.push(way);
    },
    hangGuardMs,
  );

// --- kill -9 ------------------------------------------------------------------------------------------------

/** Nothing tells the next start whose these are: docs/trust.md says so. */
const unmarked = names.filter((name) => hard(name).unmarked === true);

test(
  "B39 when the daemon is killed the first process of every tool dies with it, and the next start ends the rest: all that has its mark, and no other process",
  async () => {
    const { host, running } = await allRun();
    const others = strangersOf(home);
    // So that no client looks for a daemon, and none reaps, before the first processes were looked at.
    await host.close();
    await home.kill(await home.daemon());
    for (const { first } of running) await home.gone(first);
    await home.startByHand();
    // The daemon listens when it has looked for orphans.
    expect(await stillThere(running)).toEqual(unmarked);
    expect(others.map(({ pid }) => isAlive(pid ?? 0))).toEqual(others.map(() => true));
    await expectTold();
  },
  hangGuardMs,
);

test.skipIf(!whole || !canBeWithout())(
  "B39 B42 where setpriv is missing the first processes live until the next start, which ends them all",
  async () => {
    home.without = ["setpriv"];
    const { running } = await allRun();
    await home.kill(await home.daemon());
    expect(running.filter(({ first }) => isAlive(first)).length).toBeGreaterThan(0);
    await home.startByHand();
    expect(await stillThere(running)).toEqual(unmarked);
    expect(running.filter(({ first }) => isAlive(first))).toEqual([]);
    await expectTold();
  },
  hangGuardMs,
);

async function expectTold(): Promise<void> {
  const { orphans_ended } = await (await home.connect({ autoStart: false })).status();
  expect(orphans_ended).toBeGreaterThan(0);
  expect(home.logged("listening").at(-1)).toMatchObject({ orphans_ended });
  figures.push(`kill -9, ${orphans_ended} orphans ended, left ${unmarked.length} that hid their mark`);
}

/** Of another installation, and one that only speaks of the mark of a tool that runs now. */
function strangersOf({ tools }: DaemonHome): ChildProcess[] {
  const mark = /SESSIOND_MARK=([^\0]*)/.exec(textOf(`/proc/${tools.call(home)[0]}/environ`))?.[1] ?? "";
  expect(mark).not.toBe("");
  const start = (command: string, env: Record<string, string>) =>
    spawn("/bin/sh", ["-c", command], { env: { ...home.env, ...env }, stdio: "ignore", detached: true });
  strangers = [
    start("exec sleep 300", { SESSIOND_MARK: `x${mark}` }),
    start(`: SESSIOND_MARK=${mark}; sleep 300 & wait`, {}),
    start("exec sleep 300", { MENTION: `SESSIOND_MARK=${mark}` }),
  ];
  return strangers;
}

// --- A flood ------------------------------------------------------------------------------------------------

const flood = amount(200_000_000, 1_000_000_000);

test(
  `B39 a command that prints ${flood} bytes ends, with head, tail and the number of what was left out; the daemon's memory and disk stay bounded`,
  async () => {
    await home.startByHand();
    const host = await home.connect({ autoStart: false });
    const pid = await home.daemon();
    const resident = (): number => Number(/VmHWM:\s+(\d+)/.exec(textOf(`/proc/${pid}/status`))?.[1]) * 1024;
    const before = resident();
    const one = await run(host, "floods", `echo head; head -c ${flood} /dev/zero | tr '\\0' x; echo; echo tail`, "flood");
    await noTurn(one);
    const [result] = home
      .journal(one.session.id)
      .flatMap(({ event }) => (event.type === "tool_call_update" && "result" in event ? [String(event["result"])] : []));
    expect(result).toMatch(/^head\nx+\n… \d+ bytes left out …\nx+\ntail\n\[exit code 0\]$/);
    const leftOut = Number(/… (\d+) bytes/.exec(result ?? "")?.[1]);
    expect(leftOut).toBeGreaterThan(flood - limits.tool_output_bytes_max);
    const grown = resident() - before;
    const disk = statSync(home.journalPath(one.session.id)).size;
    figures.push(`${flood} bytes printed, the daemon's peak grew by ${Math.round(grown / 1_048_576)} MiB, its journal to ${Math.round(disk / 1_024)} KiB`);
    // As shown while it came, and as the result; a tenth of what came would be far beyond.
    expect(disk).toBeLessThan(4 * limits.tool_output_bytes_max);
    expect(grown).toBeLessThan(Math.min(flood / 2, 192 * 1_048_576));
    expect(workersIn(one.workdir)).toEqual([]);
  },
  hangGuardMs,
);
