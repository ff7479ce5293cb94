import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { connect as dial, createServer } from "node:net";
import { resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { amount } from "../support/amount.ts";
import { DaemonHome, daemonFile } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";

/** Connect-or-start with real processes: who wins, who leaves, and what a dead daemon leaves behind. */
const client = resolve(import.meta.dirname, "../fixtures/client-process.mjs");
const clients = amount(10, 20);

let home: DaemonHome;
beforeEach(() => {
  home = new DaemonHome();
});
afterEach(() => home.close());

interface Told {
  readonly boot_id?: string;
  readonly session_id?: string;
  readonly created?: boolean;
  readonly failed?: string;
  readonly message?: string;
}

interface Runner {
  readonly child: ChildProcess;
  readonly lines: AsyncIterator<string>;
}

async function* linesOf(child: ChildProcess): AsyncGenerator<string> {
  let text = "";
  for await (const piece of child.stdout ?? []) {
    const parts = (text + String(piece)).split("\n");
    text = parts.pop() ?? "";
    yield* parts;
  }
}

/** Processes, all loaded and waiting; then, in one step, all let go. */
async function together(): Promise<Told[]> {
  const runners: Runner[] = Array.from({ length: clients }, () => {
    const child = spawn(process.execPath, [client, home.workdir, daemonFile], { env: home.env, stdio: ["pipe", "pipe", "inherit"] });
    return { child, lines: linesOf(child) };
  });
  try {
    for (const { lines } of runners) expect((await lines.next()).value).toBe("ready");
    for (const { child } of runners) child.stdin?.write("go\n");
    return await Promise.all(runners.map(async ({ lines }) => JSON.parse((await lines.next()).value as string) as Told));
  } finally {
    for (const { child } of runners) child.kill("SIGKILL");
  }
}

function expectOneOfAll(told: readonly Told[]): void {
  expect(told.filter(({ failed }) => failed !== undefined)).toEqual([]);
  expect(told).toHaveLength(clients);
  expect(new Set(told.map(({ boot_id }) => boot_id)).size).toBe(1);
  expect(new Set(told.map(({ session_id }) => session_id)).size).toBe(1);
}

test(`B10 B41 ${clients} processes at once against no daemon: one daemon, one session, one "created"; the daemons that lost the race leave`, async () => {
  const told = await together();
  expectOneOfAll(told);
  expect(told.filter(({ created }) => created === true)).toHaveLength(1);
  await home.daemon();
  // One only ever came as far as listening.
  expect(home.logged("listening")).toHaveLength(1);
  expect(home.logged("could not start")).toEqual([]);
  const host = await home.connect({ autoStart: false });
  expect((await host.listSessions()).sessions).toHaveLength(1);
}, 60_000);

test("B10 B11 B41 the same over what kill -9 left: the socket that nobody answers is replaced, and the session is the one of before", async () => {
  const before = await (await home.connect()).sessionForWorkdir(home.workdir);
  expect(before.created).toBe(true);
  await home.kill(await home.daemon());
  expect(existsSync(home.socket)).toBe(true);
  const told = await together();
  expectOneOfAll(told);
  expect(told[0]?.session_id).toBe(before.id);
  expect(told.filter(({ created }) => created === true)).toEqual([]);
  await home.daemon();
  // The handle of before finds the new daemon too, and starts none of its own.
  expect((await before.info()).session_id).toBe(before.id);
  expect(home.logged("listening")).toHaveLength(2);
}, 60_000);

test("B41 a second daemon started by hand sees the first and leaves it alone", async () => {
  const first = await home.startByHand();
  const inode = statSync(home.socket).ino;
  const second = spawn(process.execPath, [daemonFile], { env: home.env, stdio: "ignore" });
  expect(await new Promise((resolve) => second.once("exit", resolve))).toBe(0);
  expect(statSync(home.socket).ino).toBe(inode);
  expect(await home.daemon()).toBe(first.pid);
});

test("B41 a stale lock and socket are known by dialling: age and leftover files do not matter", async () => {
  await home.startByHand();
  const pid = await home.daemon();
  await home.kill(pid);
  const refusal = await new Promise<NodeJS.ErrnoException>((tell) => dial(home.socket).once("error", tell));
  expect(refusal.code).toBe("ECONNREFUSED");
  expect(existsSync(`${home.runtimeDir}/lock`)).toBe(true);
  const next = await home.startByHand();
  expect(next.pid).not.toBe(pid);
  expect(home.logged("listening")).toHaveLength(2);
});

test("B41 a client that dials while a daemon is dying, and is cut off before a word was said, starts the next one", async () => {
  mkdirSync(home.runtimeDir, { mode: 0o700 });
  let cut = 0;
  const dying = createServer((socket) => {
    socket.destroy();
    if (++cut === 3) dying.close();
  });
  await new Promise<void>((listening) => dying.listen(home.socket, listening));
  const host = await home.connect();
  expect((await host.status()).pid).toBe(await home.daemon());
  expect(cut).toBe(3);
});

test("B41 a client of another protocol is refused with words, and the daemon stays", async () => {
  await home.startByHand();
  const pid = await home.daemon();
  const error = await hello({ min: 7, max: 9 });
  expect(error).toMatchObject({ data: { code: "protocol_mismatch", retry: "never", detail: { client: "7-9", daemon: "1" } } });
  expect((error as { message: string }).message).toMatch(/share no protocol version.*Update the older one/);
  expect(home.daemons()).toEqual([pid]);
  const host = await home.connect({ autoStart: false });
  expect((await host.status()).pid).toBe(pid);
});

/** What a client that speaks other protocols gets as its answer to hello. */
async function hello(range: { min: number; max: number }): Promise<unknown> {
  const { WebSocket } = await import("ws");
  const socket = new WebSocket("ws://localhost/", { createConnection: () => dial(home.socket) });
  await new Promise((opened, failed) => socket.once("open", opened).once("error", failed));
  socket.send(JSON.stringify({ id: 1, method: "query", params: { path: "hello", input: { protocol: range } } }));
  const reply = await new Promise<string>((tell) => socket.once("message", (data) => tell(String(data))));
  socket.terminate();
  return (JSON.parse(reply) as { error?: unknown }).error;
}

test("B41 a daemon started by a client leaves after its idle time, but not while somebody is connected, a turn runs or a question waits", async () => {
  await home.close();
  home = new DaemonHome('[model]\nname = "practice"\n[limits]\nidle_exit_ms = 200\n');
  const host = await home.connect();
  const pid = await home.daemon();
  const seat = await (await host.sessionForWorkdir(home.workdir)).attach({ as: "driver" });
  await seat.sendPrompt(`wait 600 then run touch ${home.root}/ran`);
  await host.close();
  // Connection gone and idle time over several times: first a turn runs, then its question waits.
  const asked = await eventually(
    "the question is asked",
    () => home.logged("draining").length > 0 || home.journalText(seat.sessionId).includes('"approval_requested"'),
  );
  expect(asked).toBe(true);
  expect(home.logged("draining")).toEqual([]);
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(home.daemons()).toEqual([pid]);
  // Answered, the turn ends, and nobody is left.
  const again = await home.connect({ autoStart: false });
  const session = await again.openSession(seat.sessionId);
  const driver = await session.attach({ as: "driver" });
  const [question] = driver.state.approvals;
  expect(question?.tool).toBe("shell");
  if (question !== undefined) await driver.approve(question, { kind: "allow_once" });
  await eventually("the turn has ended", () => driver.state.turn === null);
  expect(existsSync(`${home.root}/ran`)).toBe(true);
  await again.close();
  await home.gone(pid);
  expect(existsSync(home.socket)).toBe(false);
});

test("B41 a daemon started by hand never leaves by itself", async () => {
  await home.close();
  home = new DaemonHome('[model]\nname = "practice"\n[limits]\nidle_exit_ms = 100\n');
  await home.startByHand();
  const pid = await home.daemon();
  // Many times its idle time, and nobody connected.
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(home.daemons()).toEqual([pid]);
});
