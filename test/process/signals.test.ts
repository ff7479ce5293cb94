import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { isSessiondError, type DriverSeat, type Host, type SessiondError } from "@sessiond/client";
import { afterEach, expect, test } from "vitest";
import { DaemonHome, daemonFile } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { Halt } from "../support/halt.ts";
import { KilledSession } from "../support/killed-session.ts";
import { SeatedClient, suspended } from "../support/seated-client.ts";
import { SeenFrames } from "../support/seen-frames.ts";

/** Signals to the real daemon and to clients in processes of their own: the end, the hang-up, and standing still for a while. */
const limits = (times: Record<string, number>): string =>
  `[model]\nname = "practice"\n[limits]\n${Object.entries(times)
    .map(([name, value]) => `${name} = ${value}\n`)
    .join("")}`;

let home: DaemonHome | null = null;
const clients: SeatedClient[] = [];
const stopped = new Set<number>();
afterEach(async () => {
  for (const client of clients.splice(0)) client.end();
  for (const pid of stopped) if (home?.isAlive(pid) === true) process.kill(pid, "SIGCONT");
  stopped.clear();
  await home?.close();
  home = null;
});

function house(times: Record<string, number> = {}): DaemonHome {
  home = new DaemonHome(limits(times));
  return home;
}

async function sits(at: DaemonHome, seat: DriverSeat, role: "driver" | "viewer"): Promise<SeatedClient> {
  const client = await SeatedClient.sit(at, seat.sessionId, role);
  clients.push(client);
  return client;
}

const failure = (call: Promise<unknown>): Promise<SessiondError> =>
  call.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error as SessiondError,
  );
const exitOf = (child: ReturnType<typeof spawn>): Promise<number | string | null> =>
  new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
const residentKb = (pid: number): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
const events = (at: DaemonHome, sessionId: string) => at.journal(sessionId).map(({ event }) => event);

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`B36 B40 ${signal} under load, twice, drains like \`down\`: exit code 0, clients are told and start nothing, and the next start takes all of it up`, async () => {
    const at = house();
    const halt = new Halt(at);
    const daemon = await at.startByHand();
    const exited = exitOf(daemon);
    const session = await KilledSession.open(at, halt);
    const chunk = session.seen[0]?.next((event) => event.type === "agent_message_chunk");
    session.prompt("stream 5000 every 2");
    await chunk;
    session.prompt("say queued");
    // Accepted: from here on it must not be lost.
    await eventually("both prompts are acknowledged", () => session.openPrompts.size === 0);
    daemon.kill(signal);
    // Two at once would be one.
    await eventually("it drains", () => at.logged("draining").length > 0);
    daemon.kill(signal);
    expect(await exited).toBe(0);
    expect(at.logged("draining")).toHaveLength(1);
    expect(at.logged("stopped")).toHaveLength(1);
    expect(at.tools()).toEqual([]);
    const told = events(at, session.sessionId);
    expect(told.findLast(({ type }) => type === "turn_ended")).toMatchObject({ stop_reason: "interrupted" });
    expect(told.findLast(({ type }) => type === "queue_held")).toMatchObject({ cause: "restart" });
    // The clients heard it leave, as one that was told to go: none of them brings it back.
    expect(await failure(session.driver.interrupt({ turnId: "trn_0000000000000000000000", timeoutMs: 500 }))).toMatchObject({ code: "daemon_unreachable" });
    expect(session.seen.map(({ seat }) => seat.connection)).toEqual(["reconnecting", "reconnecting", "reconnecting"]);
    expect(at.daemons()).toEqual([]);
    await at.startByHand();
    await session.backAgain();
    await session.check();
    await session.settle();
    await session.goOn();
    await session.check();
  }, 120_000);
}

test("B40 SIGHUP is not the daemon's: the terminal that started it may go, its turns go on", async () => {
  const at = house();
  const daemon = await at.startByHand();
  const { seat, seen } = await driving(await at.connect({ autoStart: false }), at);
  const [chunk, ended] = [seen.next((event) => event.type === "agent_message_chunk"), seen.next((event) => event.type === "turn_ended")];
  await seat.sendPrompt("stream 100 every 2");
  await chunk;
  daemon.kill("SIGHUP");
  expect((await ended).event).toMatchObject({ stop_reason: "end_turn" });
  expect(at.daemons()).toEqual([daemon.pid]);
  expect(at.logged("draining")).toEqual([]);
  seen.check();
});

async function driving(host: Host, at: DaemonHome): Promise<{ seat: DriverSeat; seen: SeenFrames }> {
  const seat = await (await host.sessionForWorkdir(at.workdir)).attach({ as: "driver" });
  return { seat, seen: new SeenFrames(seat) };
}

test("B10 B31 B34 B41 a daemon that stands still is noticed within the heartbeat's bound, is not replaced, and goes on where it was: nobody has lost his seat, nothing is lost or doubled", async () => {
  const at = house({ heartbeat_ms: 400, heartbeat_wait_ms: 400, seat_grace_ms: 3_000 });
  const session = await KilledSession.open(at, new Halt(at));
  const pid = await at.daemon();
  const before = at.journal(session.sessionId).length;
  const chunk = session.seen[0]?.next((event) => event.type === "agent_message_chunk");
  session.prompt("stream 300 every 5");
  await chunk;
  stopped.add(pid);
  await suspended(pid);
  const during = session.prompt("say sent to nobody");
  await eventually("every client has noticed", () => session.seen.every(({ seat }) => seat.connection === "reconnecting"));
  // It has its lock and its socket: who comes meanwhile waits, says so when his time is over, and starts no second one.
  const newcomer = await failure(at.connect({ timeoutMs: 1_500 }));
  expect(["timeout", "daemon_unreachable"]).toContain(newcomer.code);
  const second = spawn(process.execPath, [daemonFile], { env: at.env, stdio: "ignore" });
  expect(await exitOf(second)).toBe(0);
  expect(at.daemons()).toEqual([pid]);
  expect(at.logged("listening")).toHaveLength(1);
  process.kill(pid, "SIGCONT");
  stopped.delete(pid);
  await eventually("every client is back", () => session.seen.every(({ seat }) => seat.connection === "live"));
  await eventually("the prompt of meanwhile is acknowledged", () => !session.openPrompts.has(during));
  await session.goOn();
  await session.check();
  const since = at.journal(session.sessionId).slice(before);
  expect(since.filter(({ event }) => event.type === "seat_left" || event.type === "seat_taken" || event.type === "driver_changed")).toEqual([]);
  expect(since.filter(({ event }) => event.type === "turn_ended" && event["stop_reason"] !== "end_turn")).toEqual([]);
  expect(await at.daemon()).toBe(pid);
  // Standing still and being dead are not the same: nobody wrote another epoch.
  expect(session.journal.epoch).toBe(1);
}, 120_000);

test("B33 B34 a viewer's process that stands still is closed as a slow consumer, costs the daemon and the others nothing, and when it goes on misses nothing", async () => {
  const at = house({ stall_ms: 1_000, heartbeat_ms: 60_000, heartbeat_wait_ms: 500, seat_grace_ms: 60_000 });
  const host = await at.connect();
  const { seat, seen } = await driving(host, at);
  const slow = await sits(at, seat, "viewer");
  const pid = await at.daemon();
  const seatOf = slow.connection.seat ?? "";
  const from = slow.told.length;
  await slow.suspend();
  const kb = residentKb(pid);
  // Far more than its socket takes: the driver and this process's own seat get all of it meanwhile.
  const megabytes = 6;
  for (let done = 0; done < megabytes * 64; done += 64) await Promise.all(Array.from({ length: 64 }, () => seat.addSystemMessage("much ".repeat(3_200))));
  const head = seat.head;
  await seen.until(({ seq }) => seq >= head);
  await eventually("it is closed as a slow consumer", async () => /slow_consumers?_total\S* 1\b/.test(await host.metrics()));
  await eventually("its seat is lost, and held", () => seat.state.seats.some((each) => each.seat_id === seatOf && !each.connected));
  const grown = (residentKb(pid) - kb) / 1_024;
  slow.goOn();
  await slow.has("it is back in its seat", ({ live, seat: id }) => live === true && id === seatOf, from);
  await eventually("it has everything", () => slow.lastSeq >= head);
  expect(slow.wrong).toEqual([]);
  // A window, a snapshot, some buffers; not what was sent, and certainly not a copy a client.
  console.log(`B33: ${megabytes} MB past a client that stood still, the daemon's memory grew by ${grown.toFixed(0)} MB`);
  seen.check();
}, 120_000);

test("B15 a driver's process that stands still loses its link, not its seat: it goes on within the grace as the same driver", async () => {
  const at = house({ heartbeat_ms: 400, heartbeat_wait_ms: 400, seat_grace_ms: 60_000 });
  const { seat, seen } = await driving(await at.connect(), at);
  await seat.yieldDriver();
  const driver = await sits(at, seat, "driver");
  const own = driver.connection.seat;
  const chunk = seen.next((event) => event.type === "agent_message_chunk");
  driver.prompt("stream 200 every 5");
  await chunk;
  const ended = seen.next((event) => event.type === "turn_ended");
  const from = driver.told.length;
  await driver.suspend();
  await seen.until(({ seats }) => seats.some((each) => each.seat_id === own && !each.connected));
  // Its turn goes on without it.
  expect((await ended).event).toMatchObject({ stop_reason: "end_turn" });
  driver.goOn();
  await driver.has("it is back as driver", (told) => told.live === true && told.seat === own && told.role === "driver", from);
  const again = seen.next((event) => event.type === "turn_ended");
  driver.prompt("say back");
  await again;
  await eventually("it has everything", () => driver.lastSeq >= seat.state.seq);
  expect(driver.wrong).toEqual([]);
  expect(events(at, seat.sessionId).filter(({ type }) => type === "seat_left")).toEqual([]);
  seen.check();
}, 60_000);

test("B14 B15 a driver's process that stands still beyond its grace finds the wheel with another: it is told so, and nothing of the other's is touched", async () => {
  const at = house({ heartbeat_ms: 300, heartbeat_wait_ms: 300, seat_grace_ms: 300 });
  const { seat, seen } = await driving(await at.connect(), at);
  const viewing = await seat.yieldDriver();
  const driver = await sits(at, seat, "driver");
  const own = driver.connection.seat;
  const vacant = seen.next((event) => event.type === "seat_left" && event.seat_id === own);
  const from = driver.told.length;
  await driver.suspend();
  expect((await vacant).event).toMatchObject({ role: "driver", cause: "grace" });
  const heir = await viewing.takeDriver();
  driver.goOn();
  expect(await driver.has("it is told", ({ ended }) => ended !== undefined, from)).toEqual({ ended: "driver_taken" });
  expect(heir.role).toBe("driver");
  expect(await heir.prompt("say mine")).toMatchObject({ stopReason: "end_turn" });
  expect(driver.wrong).toEqual([]);
  seen.check();
}, 60_000);

test("B15 B34 a grace that ran while the daemon itself stood still is given again: who was on his way back keeps his seat", async () => {
  const at = house({ heartbeat_ms: 300, heartbeat_wait_ms: 300, seat_grace_ms: 4_000 });
  const { seat, seen } = await driving(await at.connect(), at);
  await seat.yieldDriver();
  const driver = await sits(at, seat, "driver");
  const own = driver.connection.seat;
  const pid = await at.daemon();
  const from = driver.told.length;
  await driver.suspend();
  await seen.until(({ seats }) => seats.some((each) => each.seat_id === own && !each.connected));
  stopped.add(pid);
  await suspended(pid);
  driver.goOn();
  // Longer than the grace, by every clock; what the daemon does about it is counted in frames.
  await pause(4_500);
  process.kill(pid, "SIGCONT");
  stopped.delete(pid);
  await driver.has("it is back as driver", (told) => told.live === true && told.seat === own && told.role === "driver", from);
  await eventually("this process is back too", () => seat.connection === "live" && seat.state.seats.every(({ connected }) => connected));
  expect(events(at, seat.sessionId).filter(({ type }) => type === "seat_left" || type === "driver_changed")).toHaveLength(1);
  expect(driver.wrong).toEqual([]);
  seen.check();
}, 60_000);

test("B41 a client that dials a daemon which stands still is let in when it goes on", async () => {
  const at = house();
  await at.startByHand();
  const pid = await at.daemon();
  stopped.add(pid);
  await suspended(pid);
  let answered = false;
  const waiting = at.connect().then((host) => {
    answered = true;
    return host;
  });
  const given = await failure(at.connect({ timeoutMs: 300, autoStart: false }));
  expect(isSessiondError(given, "timeout") || isSessiondError(given, "daemon_unreachable")).toBe(true);
  expect(answered).toBe(false);
  process.kill(pid, "SIGCONT");
  stopped.delete(pid);
  expect((await (await waiting).status()).pid).toBe(pid);
  expect(at.daemons()).toEqual([pid]);
}, 60_000);
