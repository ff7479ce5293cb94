import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isSessiondError, type DriverSeat, type Host, type SessiondError } from "@sessiond/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { SeenFrames } from "../support/seen-frames.ts";

/** How a daemon goes when it is told to, and that no process of a tool stays behind, whoever ended it. */
let home: DaemonHome;
beforeEach(() => {
  home = new DaemonHome();
});
afterEach(() => home.close());

const ran = (): string => (existsSync(join(home.workdir, "ran")) ? readFileSync(join(home.workdir, "ran"), "utf8") : "");
const failure = (call: Promise<unknown>): Promise<SessiondError> =>
  call.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error as SessiondError,
  );

interface Driving {
  readonly host: Host;
  readonly seat: DriverSeat;
  readonly seen: SeenFrames;
}

async function driving(): Promise<Driving> {
  const host = await home.connect({ autoStart: false });
  const seat = await (await host.startSession({ workdir: home.workdir })).attach({ as: "driver" });
  return { host, seat, seen: new SeenFrames(seat) };
}

async function ask({ seat, seen }: Driving, command: string): Promise<void> {
  const asked = seen.next((event) => event.type === "approval_requested");
  await seat.sendPrompt(`run ${command}`);
  await asked;
}

/** A command with a child in a session of its own, both running. */
async function runs(driving: Driving): Promise<number[]> {
  await ask(driving, "setsid sh -c 'trap \"\" TERM HUP; echo hidden >> ran; while :; do sleep 1; done' & echo begun >> ran; wait");
  const [question] = driving.seat.state.approvals;
  if (question !== undefined) await driving.seat.approve(question, { kind: "allow_once" });
  await eventually("the command and its hidden child run", () => ran().includes("begun") && ran().includes("hidden"));
  return home.tools();
}

test("B40 `shut_down` refuses new work with words, tells the clients, lets a turn end within its time, parks a question, and the next start goes on", async () => {
  await home.startByHand();
  const pid = await home.daemon();
  const [ends, asks] = [await driving(), await driving()];
  await ask(asks, "echo asked >> ran");
  const ended = ends.seen.next((event) => event.type === "turn_ended");
  const begun = ends.seen.next((event) => event.type === "agent_message_chunk");
  await ends.seat.sendPrompt("stream 40 every 20");
  await begun;
  await ends.seat.sendPrompt("say queued");
  const gone = home.gone(pid);
  const leaving = [ends.seen.back(), asks.seen.back()];
  expect(await ends.host.shutDown({ waitMs: 20_000 })).toEqual({ pid, draining: true });
  // New work is refused, reading is not.
  const other = await home.connect({ autoStart: false });
  expect(await failure(ends.seat.sendPrompt("say too late"))).toMatchObject({ code: "shutting_down", retry: "backoff" });
  expect(await failure(other.sessionForWorkdir(home.workdir))).toMatchObject({ code: "shutting_down" });
  expect(await failure(other.startSession({ workdir: home.workdir }))).toMatchObject({ code: "shutting_down" });
  expect(await other.status()).toMatchObject({ draining: true });
  expect((await ended).event).toMatchObject({ stop_reason: "end_turn" });
  await gone;
  expect(existsSync(home.socket)).toBe(false);
  expect(ran()).toBe("");
  await home.startByHand();
  // Both seats come back by themselves; nobody was asked anew, and the queue waits for its release.
  await Promise.all(leaving);
  expect(asks.seat.state.approvals).toMatchObject([{ tool: "shell" }]);
  await ends.seen.until(({ queue }) => queue.every(({ held }) => held));
  expect(ends.seat.state).toMatchObject({ turn: null, queue: [{ held: true }] });
  const [question] = asks.seat.state.approvals;
  const answered = asks.seen.next((event) => event.type === "turn_ended");
  if (question !== undefined) await asks.seat.approve(question, { kind: "allow_once" });
  expect((await answered).event).toMatchObject({ stop_reason: "end_turn" });
  expect(ran()).toBe("asked\n");
  const texts = home.journal(ends.seat.sessionId).map(({ text }) => text);
  expect(texts.filter((text) => text.includes("too late"))).toEqual([]);
  expect(home.journal(ends.seat.sessionId).filter(({ event }) => event.type === "session_stopped")).toEqual([]);
  for (const { seen } of [ends, asks]) seen.check();
});

for (const how of ["shut_down", "SIGTERM"] as const) {
  test(`B39 B40 ${how} without a wait ends the running turn as interrupted and leaves no process of it, nor one that hides; its queue is held at the next start`, async () => {
    await home.startByHand();
    const pid = await home.daemon();
    const work = await driving();
    expect((await runs(work)).length).toBeGreaterThanOrEqual(3);
    await work.seat.sendPrompt("say queued");
    const back = work.seen.back();
    if (how === "shut_down") await work.host.shutDown({ waitMs: 0 });
    else process.kill(pid, "SIGTERM");
    await home.gone(pid);
    expect(home.tools()).toEqual([]);
    expect(home.logged("stopped")).toHaveLength(1);
    const events = home.journal(work.seat.sessionId).map(({ event }) => event);
    expect(events.findLast(({ type }) => type === "turn_ended")).toMatchObject({ stop_reason: "interrupted" });
    expect(events.findLast(({ type }) => type === "queue_held")).toMatchObject({ cause: "restart" });
    await home.startByHand();
    await back;
    await work.seen.until(({ queue }) => queue.every(({ held }) => held));
    expect(work.seat.state).toMatchObject({ turn: null, queue: [{ held: true }] });
    const ended = work.seen.next((event) => event.type === "turn_ended");
    await work.seat.releaseQueue();
    expect((await ended).event).toMatchObject({ stop_reason: "end_turn" });
    expect(ran().match(/begun/g)).toHaveLength(1);
    work.seen.check();
  });
}

for (const how of ["interrupt", "stop"] as const) {
  test(`B39 ${how} ends every process of the running tool, also one in a session of its own that ignores TERM`, async () => {
    await home.startByHand();
    const work = await driving();
    const pids = await runs(work);
    expect(pids.length).toBeGreaterThanOrEqual(3);
    if (how === "interrupt") expect(await work.seat.interrupt()).toMatchObject({ interrupted: true });
    else await work.host.session(work.seat.sessionId).stop();
    expect(home.tools()).toEqual([]);
    expect(home.daemons()).toHaveLength(1);
  });
}

test("B40 a client that hears the daemon leave starts no other by itself; asked for a session, it does", async () => {
  const host = await home.connect();
  const session = await host.sessionForWorkdir(home.workdir);
  const seat = await session.attach({ as: "viewer" });
  const pid = await home.daemon();
  await (await home.connect({ autoStart: false })).shutDown({ waitMs: 0 });
  await home.gone(pid);
  const error = await failure(seat.connection === "ended" ? Promise.resolve() : session.info({ timeoutMs: 500 }));
  expect(isSessiondError(error, "daemon_unreachable")).toBe(true);
  expect(home.daemons()).toEqual([]);
  const again = await host.sessionForWorkdir(home.workdir);
  expect([again.id, again.created]).toEqual([session.id, false]);
  expect(home.daemons()).toHaveLength(1);
});
