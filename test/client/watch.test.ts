import { Connection, Door, type SessionWatch, type WatchEvent, type WatchFilter } from "@sessiond/client";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { SessionWatch as Watch } from "../../packages/client/src/session-watch.ts";
import { unixSocket } from "@sessiond/client/node";
import { failure } from "../support/attached-seat.ts";
import { ClientRig } from "../support/client-rig.ts";
import { endRigs, type RigOptions } from "../support/session-rig.ts";

/** What an observer of the host sees: the list, then what changes, across lost links and restarts. */
let house: ClientRig;
const watches: SessionWatch[] = [];
afterEach(async () => {
  for (const watch of watches.splice(0)) watch.close();
  await house.close();
  await endRigs();
});

const start = async (options: RigOptions = {}): Promise<ClientRig> => (house = await ClientRig.start(options));

async function watch(filter?: WatchFilter): Promise<SessionWatch> {
  const opened = (await house.host()).observe().watch(filter ?? {});
  watches.push(opened);
  await until(opened, () => opened.listed);
  return opened;
}

async function until(opened: SessionWatch, holds: () => boolean): Promise<void> {
  while (!holds()) {
    if (opened.connection === "ended") throw (await opened.ended) ?? new Error("it was closed");
    await opened.changed();
  }
}

const typeOf = (event: WatchEvent | undefined): string => (event?.type === "event" ? event.frame.event.type : (event?.type ?? "end"));

/** What a list asked for now says, as a watch would. */
async function listNow(): Promise<Map<string, object>> {
  const { sessions } = await (await house.host()).observe().list();
  return new Map(sessions.map(({ seats: _seats, ...session }) => [session.session_id, session]));
}

async function untilType(events: AsyncIterator<WatchEvent>, type: string): Promise<WatchEvent[]> {
  const taken: WatchEvent[] = [];
  for (;;) {
    const { done, value } = await events.next();
    if (done === true) throw new Error(`no ${type} came`);
    taken.push(value);
    if (typeOf(value) === type) return taken;
  }
}

test("B31 a watch is the list and then every event, and what they fold to is the list there is then", async () => {
  const { rig } = await start();
  const opened = await watch();
  const events = opened.events[Symbol.asyncIterator]();
  expect(await events.next()).toMatchObject({ value: { type: "list", sessions: [{ session_id: rig.sessionId, life_state: "live", status: "idle" }] } });
  const driver = await rig.driver("anna");
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  void turn.ask("c1");
  await driver.question();
  await until(opened, () => (opened.sessions.get(rig.sessionId)?.approvals?.length ?? 0) > 0);
  const asked = opened.sessions;
  expect(asked).toEqual(await listNow());
  expect(asked.get(rig.sessionId)).toMatchObject({ driver: "anna", status: "awaiting_approval" });
  await driver.approve(await driver.question());
  turn.end();
  const other = await rig.another("other");
  await other.stop();
  const taken = (await untilType(events, "session_stopped")).map(typeOf);
  for (const type of ["driver_changed", "status_changed", "approval_pending", "approval_closed", "session_started"]) expect(taken).toContain(type);
  await until(opened, () => opened.sessions.get(rig.sessionId)?.status === "idle");
  expect(opened.sessions).toEqual(await listNow());
  expect(opened.sessions.get(other.sessionId)).toEqual(expect.objectContaining({ life_state: "stopped" }));
  // What was given before is as it was.
  expect(asked.size).toBe(1);
});

test("B5 an observer has list, info and watch, and nothing that could be used for more", async () => {
  const { rig } = await start();
  const observer = (await house.host()).observe();
  expect(Object.getOwnPropertyNames(Object.getPrototypeOf(observer)).toSorted()).toEqual(["constructor", "info", "list", "watch"]);
  expect(Object.keys(observer)).toEqual([]);
  expect(JSON.stringify(observer)).toBe("{}");
  expect((await observer.info(rig.sessionId)).session_id).toBe(rig.sessionId);
  const opened = observer.watch();
  watches.push(opened);
  expect(JSON.stringify(Object.values(opened))).not.toContain(rig.daemon.hostKey);
});

test("B31 a watch takes no seat, and is told of what it asked for alone", async () => {
  const { rig } = await start();
  const other = await rig.another("other");
  const one = await watch({ sessionIds: [other.sessionId] });
  const here = await watch({ workdir: join(rig.workdir, ".") });
  expect([[...one.sessions.keys()], [...here.sessions.keys()]]).toEqual([[other.sessionId], [rig.sessionId]]);
  await other.stop();
  await until(one, () => one.sessions.get(other.sessionId)?.life_state === "stopped");
  await rig.stop();
  await until(here, () => here.sessions.get(rig.sessionId)?.life_state === "stopped");
  expect([one.sessions.size, here.sessions.size]).toEqual([1, 1]);
  expect((await rig.journal()).some(({ event }) => event.type === "seat_taken")).toBe(false);
});

test("B31 after a restart of the daemon a watch goes on with that daemon's list", async () => {
  await start();
  const opened = await watch();
  const events = opened.events[Symbol.asyncIterator]();
  await events.next();
  await house.end();
  await until(opened, () => opened.connection === "reconnecting");
  // Of the daemon before everything is told, and then a new list comes by itself.
  await house.begin();
  await until(opened, () => opened.connection === "live");
  const taken = (await untilType(events, "list")).map(typeOf);
  expect(taken.filter((type) => type === "list")).toHaveLength(1);
  await house.rig.stop();
  await untilType(events, "session_stopped");
  expect(opened.sessions).toEqual(await listNow());
});

test("B33 a reader that takes nothing gets the list as it is instead of what it left, then events again", async () => {
  const { rig } = await start();
  const door = new Door({ dial: unixSocket(rig.daemon.socketPath) });
  const calls = new Connection(door);
  const opened = new Watch({ calls, auth: { host_key: rig.daemon.hostKey }, queueMax: 3 });
  watches.push(opened);
  await until(opened, () => opened.listed);
  const events = opened.events[Symbol.asyncIterator]();
  expect(typeOf((await events.next()).value)).toBe("list");
  const driver = await rig.driver("anna");
  for (const title of ["a", "b", "c", "d", "e"]) await rig.daemon.call("configure_session", { session_id: rig.sessionId, title }, driver.auth);
  await until(opened, () => opened.sessions.get(rig.sessionId)?.title === "e");
  const { value } = await events.next();
  expect(value).toMatchObject({ type: "list", sessions: [{ session_id: rig.sessionId, title: "e", driver: "anna" }] });
  await rig.stop();
  expect((await untilType(events, "session_stopped")).map(typeOf)).not.toContain("list");
  calls.close();
});

test("B24 a watch has one reader at a time, and ends with its close, its handle, or what makes it hopeless", async () => {
  const { rig } = await start();
  const opened = await watch();
  const events = opened.events[Symbol.asyncIterator]();
  expect(() => opened.events[Symbol.asyncIterator]()).toThrow(expect.objectContaining({ code: "unsupported" }));
  await events.next();
  const last = events.next();
  opened.close();
  expect((await last).done).toBe(true);
  expect([opened.connection, await opened.ended]).toEqual(["ended", null]);
  const host = await house.host();
  const other = host.observe().watch();
  await until(other, () => other.listed);
  await host.close();
  expect([await other.ended, other.connection]).toEqual([null, "ended"]);
  const none = (await house.host()).observe().watch({ sessionIds: [`ses_${"x".repeat(22)}`] });
  expect((await none.ended)?.code).toBe("not_found");
  const read = none.events[Symbol.asyncIterator]().next();
  expect((await failure(read)).code).toBe("not_found");
  expect(rig.kind.turns).toHaveLength(0);
});
