import { limits } from "@sessiond/shared";
import { afterEach, expect, test } from "vitest";
import { endRigs, eventsOf, promptId, Rig, seatSecret, type TestSeat } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

afterEach(endRigs);
const grace = limits.seat_grace_ms;
const patience = limits.driver_request_ms;
const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
/** What is under way in this process gets so far that it waits for the disk, or is over. */
const ticks = async (count = 20): Promise<void> => {
  for (let tick = 0; tick < count; tick++) await soon();
};
const roles = async (rig: Rig): Promise<string[]> => (await rig.info()).seats.map(({ label, role }) => `${label}: ${role}`);
const changes = async (rig: Rig) => eventsOf(await rig.journal(), "driver_changed").map(({ from, to, cause }) => [from, to, cause]);
const otherToken = (rig: Rig, label: string) =>
  rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "control", label }, { host_key: rig.daemon.hostKey });

/** A driver and viewers, in this order. */
async function seated(rig: Rig, ...labels: string[]): Promise<[TestSeat, ...TestSeat[]]> {
  const driver = await rig.driver(labels[0]);
  const viewers: TestSeat[] = [];
  for (const label of labels.slice(1)) viewers.push(await rig.attach(label));
  return [driver, ...viewers];
}

test("B14 by force a newcomer drives, and who drove stays as viewer; both see the same frames in the same order", async () => {
  const rig = await Rig.start();
  const old = await rig.driver("old");
  await old.prompt("work");
  await old.prompt("later");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  const answer = turn.ask("c1");
  const question = await old.question();
  const fresh = await rig.driver("fresh", { force: true });
  expect(fresh.first?.seat).toMatchObject({ role: "driver", label: "fresh" });
  await old.event("driver_changed");
  expect(old.end).toBeUndefined();
  // Nothing else was touched.
  expect(fresh.state.approvals).toEqual([question]);
  expect(fresh.state.queue.map(({ by, held }) => [by.label, held])).toEqual([["old", false]]);
  expect([turn.signal.aborted, fresh.state.turn?.turn_id]).toEqual([false, turn.turnId]);
  await expect(old.prompt("mine")).rejects.toMatchObject({ code: "not_driver", detail: { driver: "fresh" } });
  await fresh.approve(question);
  expect(await answer).toMatchObject({ allowed: true });
  turn.end();
  await Promise.all([old.event("turn_ended"), fresh.event("turn_ended")]);
  expect(old.texts.slice(-fresh.texts.length)).toEqual(fresh.texts);
  expect(await changes(rig)).toEqual([[old.seatId, fresh.seatId, "forced"]]);
  expect(await roles(rig)).toEqual(["old: viewer", "fresh: driver"]);
});

test("B14 nobody is ever shown two drivers, nor none, while one takes over by force", async () => {
  const rig = await Rig.start();
  const [old, viewer] = await seated(rig, "old", "viewer");
  const shown: number[] = [];
  const watching = viewer?.until(({ state }) => (shown.push(state.seats.filter(({ role }) => role === "driver").length), state.seats.length === 3));
  await rig.driver("fresh", { force: true });
  await watching;
  expect(new Set(shown)).toEqual(new Set([1]));
  expect(old.state.seats.find(({ seat_id }) => seat_id === old.seatId)?.role).toBe("viewer");
});

test("B14 force counts for newcomers only: not with a cursor, and not for a seat that lost the wheel", async () => {
  const rig = await Rig.start();
  const secret = seatSecret("old");
  const old = await rig.driver("old", { secret });
  const fresh = await rig.driver("fresh", { force: true });
  const before = (await rig.lines()).length;
  await expect(rig.driver("late", { force: true, cursor: old.cursor })).rejects.toMatchObject({ code: "driver_taken", detail: { driver: "fresh" } });
  expect(await rig.lines()).toHaveLength(before);
  // As its library does when the link is back, once without having got anything.
  const back = await rig.driver("old", { secret, force: true });
  expect(back.first?.seat).toMatchObject({ seat_id: old.seatId, role: "viewer" });
  expect(await rig.lines()).toHaveLength(before);
  await fresh.prompt("mine");
});

test("B14 of two who attach by force at once both are seated, and the later one drives", async () => {
  const rig = await Rig.start();
  const old = await rig.driver("old");
  const [one, two] = await Promise.all([rig.driver("one", { force: true }), rig.driver("two", { force: true })]);
  await old.event("driver_changed", 2);
  expect(await changes(rig)).toEqual([
    [old.seatId, one.seatId, "forced"],
    [one.seatId, two.seatId, "forced"],
  ]);
  expect(await roles(rig)).toEqual(["old: viewer", "one: viewer", "two: driver"]);
});

test("B14 who comes by force and is gone, or has lost its right, before its keys are stored displaces nobody", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const old = await rig.driver("old");
  const { token } = await rig.daemon.call(
    "mint_token",
    { session_id: rig.sessionId, right: "control", label: "short", ttl_ms: 5_000 },
    { host_key: rig.daemon.hostKey },
  );
  const before = await rig.lines();
  const expiring = disk.hold("replace", "session.json");
  const late = rig.driver("late", { force: true, token });
  await expiring.reached;
  rig.clock.advance(5_000);
  expiring.release();
  await expect(late).rejects.toMatchObject({ code: "token_ended" });

  const leaving = disk.hold("replace", "session.json");
  const gone = new AbortController();
  const input = { session_id: rig.sessionId, role: "driver" as const, label: "gone", force: true as const };
  const stream = await rig.daemon.stream("attach", input, { token: rig.token, seat_secret: seatSecret("gone") }, gone.signal);
  const ended = (async () => {
    for await (const _ of stream);
  })().catch(() => undefined);
  await leaving.reached;
  gone.abort();
  leaving.release();
  await ended;
  expect(await rig.lines()).toEqual(before);
  await old.prompt("still mine");
});

test("B14 a faulted session changes its driver for nobody", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const [old, viewer] = await seated(rig, "old", "viewer");
  const storing = disk.hold("replace", "session.json");
  const taking = viewer?.takeDriver("force", old.seatId);
  await storing.reached;
  void disk.fail("write", "/journal");
  await expect(old.prompt("hello")).rejects.toMatchObject({ code: "storage_failed" });
  storing.release();
  await expect(taking).rejects.toMatchObject({ code: "session_faulted" });
  rig.clock.advance(limits.reopen_ms);
  await old.until(() => old.faults.length === 2);
  expect(await roles(rig)).toEqual(["old: driver", "viewer: viewer"]);
  await old.prompt("hello");
});

test("B14 B16 a viewer takes the wheel only if it is free, and is told by whom it is held; repeated, the answer is the same", async () => {
  const rig = await Rig.start();
  const [driver, viewer] = await seated(rig, "driver", "viewer");
  if (viewer === undefined) return;
  const before = await rig.lines();
  await expect(viewer.takeDriver("if_free")).rejects.toMatchObject({ code: "driver_taken", detail: { driver: "driver" } });
  expect(await driver.takeDriver("if_free")).toMatchObject({ became: "driver", driver: { label: "driver" } });
  expect(await rig.lines()).toEqual(before);
  await driver.detach();
  const taken = await viewer.takeDriver("if_free");
  expect(taken).toMatchObject({ became: "driver", driver: { seat_id: viewer.seatId, role: "driver" } });
  expect(await viewer.takeDriver("ask")).toMatchObject({ became: "driver" });
  expect(await changes(rig)).toEqual([[null, viewer.seatId, "taken"]]);
  await viewer.prompt("mine");
});

test("B14 of two who take a free wheel at once one gets it, the other is told by whom", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const [one, two] = [await rig.attach("one"), await rig.attach("two")];
  const storing = disk.hold("replace", "session.json");
  const taking = one.takeDriver("if_free");
  await storing.reached;
  await expect(two.takeDriver("if_free")).rejects.toMatchObject({ code: "driver_taken", detail: { driver: "one" } });
  await expect(rig.driver("three")).rejects.toMatchObject({ code: "driver_taken", detail: { driver: "one" } });
  const same = one.takeDriver("if_free");
  storing.release();
  expect([await taking, await same]).toMatchObject([{ became: "driver" }, { became: "driver" }]);
  expect(await changes(rig)).toEqual([[null, one.seatId, "taken"]]);
});

test("B14 take by force replaces the driver that it names and no other; of two at once the second is told who drives", async () => {
  const rig = await Rig.start();
  const [old, one, two] = await seated(rig, "old", "one", "two");
  if (one === undefined || two === undefined) return;
  await expect(one.takeDriver("force")).rejects.toMatchObject({ code: "bad_request" });
  const [first, second] = await Promise.all([one.takeDriver("force", old.seatId), two.takeDriver("force", old.seatId)]);
  expect(first).toMatchObject({ became: "driver", driver: { label: "one" } });
  expect(second).toMatchObject({ became: "unchanged", driver: { label: "one", seat_id: one.seatId } });
  // A repeat of what has happened already is no second taking.
  expect(await one.takeDriver("force", old.seatId)).toMatchObject({ became: "driver" });
  expect(await changes(rig)).toEqual([[old.seatId, one.seatId, "forced"]]);
  await expect(old.prompt("mine")).rejects.toMatchObject({ code: "not_driver" });
});

test("B14 the wheel does not come to a seat without a connection", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const [driver, viewer] = await seated(rig, "driver", "viewer");
  if (viewer === undefined) return;
  const storing = disk.hold("replace", "session.json");
  const taking = viewer.takeDriver("force", driver.seatId);
  await storing.reached;
  await viewer.drop();
  storing.release();
  await expect(taking).rejects.toMatchObject({ code: "not_attached" });
  await expect(viewer.takeDriver("force", driver.seatId)).rejects.toMatchObject({ code: "not_attached" });
  expect(await changes(rig)).toEqual([]);
  await driver.prompt("mine");
});

test("B14 B15 whatever the instant of a crash in a hand-over, one of the two drives, and resumes by its secret within the grace", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const secrets = { old: seatSecret("old"), fresh: seatSecret("fresh") };
  const old = await rig.driver("old", { secret: secrets.old });
  const roots: string[] = [await rig.copy()];
  const store = disk.hold("replace", "session.json");
  const taking = rig.driver("fresh", { secret: secrets.fresh, force: true });
  await store.reached;
  roots.push(await rig.copy());
  const write = disk.hold("write", "/journal");
  store.release();
  await write.reached;
  roots.push(await rig.copy());
  const sync = disk.hold("sync", "/journal");
  write.release();
  await taking;
  roots.push(await rig.copy());
  sync.release();
  await old.event("driver_changed");
  roots.push(await rig.copy());
  const drivers: string[] = [];
  for (const root of roots) {
    const after = await Rig.restart(root, rig);
    const driver = (await after.info()).seats.filter(({ role }) => role === "driver")[0];
    const name = driver?.label === "fresh" ? "fresh" : "old";
    drivers.push(driver?.label ?? "nobody");
    after.clock.advance(grace - 1);
    await expect(after.driver("thief")).rejects.toMatchObject({ code: "driver_taken", detail: { driver: name } });
    const back = await after.driver(name, { secret: secrets[name] });
    expect(back.first?.seat).toMatchObject({ seat_id: driver?.seat_id, role: "driver" });
    await back.prompt("I may drive");
    const other = name === "old" ? "fresh" : "old";
    await expect(after.driver(other, { secret: secrets[other] })).rejects.toMatchObject({ code: "driver_taken" });
  }
  expect(drivers).toEqual(["old", "old", "old", "fresh", "fresh"]);
});

test("B15 a change of driver that a fault takes back leaves the old driver its grace after a crash, whoever was to come next", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const secret = seatSecret("old");
  const [one, two] = [await rig.attach("one"), await rig.attach("two")];
  const old = await rig.driver("old", { secret });
  // The frame by which `one` drives never gets to the disk; `two` is on its way already.
  const write = disk.hold("write", "/journal");
  const first = one.takeDriver("force", old.seatId);
  await write.reached;
  const taking = Promise.allSettled([first, two.takeDriver("force", one.seatId)]);
  await ticks();
  write.release("EIO");
  expect((await taking).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  rig.clock.advance(limits.reopen_ms);
  await old.until(() => old.faults.length === 2);
  const after = await rig.crash();
  expect((await after.driver("old", { secret })).first?.seat).toMatchObject({ seat_id: old.seatId, role: "driver" });
});

test("B15 of two hand-overs at once the first of two who drove keeps its grace, should the daemon die before the second is shown", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const secret = seatSecret("one");
  await rig.driver("old");
  const second = disk.hold("write", "/journal", 1);
  const one = rig.driver("one", { secret, force: true });
  const two = rig.driver("two", { force: true });
  await second.reached;
  const after = await rig.crash();
  await expect(after.driver("thief")).rejects.toMatchObject({ code: "driver_taken", detail: { driver: "one" } });
  expect((await after.driver("one", { secret })).first?.seat).toMatchObject({ label: "one", role: "driver" });
  second.release();
  await Promise.all([one, two]);
});

test("B16 a viewer asks for the wheel: all see it, a repeat gets the same answer, and unanswered it lapses", async () => {
  const rig = await Rig.start();
  const [driver, viewer] = await seated(rig, "driver", "viewer");
  if (viewer === undefined) return;
  const asked = await viewer.takeDriver("ask");
  expect(asked).toMatchObject({ became: "asked", lapses_at: rig.clock.now() + patience, driver: { label: "driver" } });
  rig.clock.advance(1_000);
  expect(await viewer.takeDriver("ask")).toEqual(asked);
  expect(await driver.event("driver_requested")).toMatchObject({ seat_id: viewer.seatId, lapses_at: asked.lapses_at });
  expect((await rig.attach("late")).state.driver_requests).toMatchObject([{ seat_id: viewer.seatId, label: "viewer", lapses_at: asked.lapses_at }]);
  rig.clock.advance(patience - 1_001);
  expect((await rig.info()).driver_requests).toHaveLength(1);
  rig.clock.advance(1);
  expect(await driver.event("driver_request_lapsed")).toMatchObject({ seat_id: viewer.seatId });
  expect(await changes(rig)).toEqual([]);
  await expect(driver.yieldDriver(viewer.seatId)).rejects.toMatchObject({ code: "not_found" });
  // It may ask again.
  expect(await viewer.takeDriver("ask")).toMatchObject({ became: "asked", lapses_at: rig.clock.now() + patience });
  expect(eventsOf(await rig.journal(), "driver_requested")).toHaveLength(2);
});

test("B16 each of several requests lapses in its own time", async () => {
  const rig = await Rig.start();
  const [driver, one, two] = await seated(rig, "driver", "one", "two");
  await one?.takeDriver("ask");
  rig.clock.advance(10_000);
  await two?.takeDriver("ask");
  rig.clock.advance(patience - 10_000);
  await driver.event("driver_request_lapsed");
  expect((await rig.info()).driver_requests.map(({ label }) => label)).toEqual(["two"]);
  rig.clock.advance(10_000);
  await driver.event("driver_request_lapsed", 2);
  expect((await rig.info()).driver_requests).toEqual([]);
});

test("B16 the driver yields to whoever asked first, to the one it names, or to nobody, and stays as viewer", async () => {
  const rig = await Rig.start();
  const [a, b, c] = await seated(rig, "a", "b", "c");
  if (b === undefined || c === undefined) return;
  await b.takeDriver("ask");
  await c.takeDriver("ask");
  expect(await a.yieldDriver(c.seatId)).toMatchObject({ driver: { seat_id: c.seatId, role: "driver" } });
  await expect(a.prompt("mine")).rejects.toMatchObject({ code: "not_driver", detail: { driver: "c" } });
  await a.takeDriver("ask");
  expect(await c.yieldDriver()).toMatchObject({ driver: { label: "b" } });
  expect((await rig.info()).driver_requests.map(({ label }) => label)).toEqual(["a"]);
  expect(await b.yieldDriver()).toMatchObject({ driver: { label: "a" } });
  expect(await a.yieldDriver()).toMatchObject({ driver: null });
  expect(await roles(rig)).toEqual(["a: viewer", "b: viewer", "c: viewer"]);
  expect(await changes(rig)).toEqual([
    [a.seatId, c.seatId, "yielded"],
    [c.seatId, b.seatId, "yielded"],
    [b.seatId, a.seatId, "yielded"],
    [a.seatId, null, "yielded"],
  ]);
  expect((await rig.driver("next")).first?.seat?.role).toBe("driver");
});

test("B16 the driver cannot give the wheel to one that did not ask, nor to one that is away; nothing has changed", async () => {
  const rig = await Rig.start();
  const [driver, stranger, away] = await seated(rig, "driver", "stranger", "away");
  if (stranger === undefined || away === undefined) return;
  await away.takeDriver("ask");
  await away.drop();
  await driver.event("seat_lost");
  const before = await rig.lines();
  for (const to of [stranger.seatId, away.seatId, driver.seatId, `seat_${"0".repeat(22)}`])
    await expect(driver.yieldDriver(to)).rejects.toMatchObject({ code: "not_found", detail: { what: "seat that asked" } });
  expect(await rig.lines()).toEqual(before);
  await expect(stranger.yieldDriver()).rejects.toMatchObject({ code: "not_driver" });
  await driver.prompt("mine");
});

test("B16 while the driver is away a request waits for the end of its grace, and is granted then", async () => {
  const rig = await Rig.start();
  const [driver, viewer] = await seated(rig, "driver", "viewer");
  if (viewer === undefined) return;
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await driver.drop();
  await viewer.event("seat_lost");
  expect(await viewer.takeDriver("ask")).toMatchObject({ became: "asked", driver: { connected: false } });
  await expect(viewer.takeDriver("if_free")).rejects.toMatchObject({ code: "driver_taken" });
  rig.clock.advance(grace - 1);
  await ticks();
  expect(await changes(rig)).toEqual([]);
  rig.clock.advance(1);
  expect(await viewer.event("driver_changed")).toEqual({ type: "driver_changed", from: null, to: viewer.seatId, cause: "granted" });
  expect(viewer.state.driver_requests).toEqual([]);
  expect(turn.signal.aborted).toBe(false);
  await viewer.prompt("mine now");
  rig.clock.advance(patience);
  expect(eventsOf(await rig.journal(), "driver_request_lapsed")).toEqual([]);
});

test("B16 a request does not lapse while the driver is away: nobody could answer it", async () => {
  const rig = await Rig.start();
  const [driver, viewer] = await seated(rig, "driver", "viewer");
  if (viewer === undefined) return;
  await viewer.takeDriver("ask");
  rig.clock.advance(patience - 1);
  await driver.drop();
  await viewer.event("seat_lost");
  rig.clock.advance(grace);
  expect(await viewer.event("driver_changed")).toMatchObject({ to: viewer.seatId, cause: "granted" });
  expect(eventsOf(await rig.journal(), "driver_request_lapsed")).toEqual([]);
});

test("B15 B16 a driver who is back within its grace drives on, and the request that came meanwhile is its to answer", async () => {
  const rig = await Rig.start();
  const secret = seatSecret("driver");
  const driver = await rig.driver("driver", { secret });
  const viewer = await rig.attach("viewer");
  await driver.drop();
  await viewer.event("seat_lost");
  await viewer.takeDriver("ask");
  rig.clock.advance(grace - 1);
  const back = await rig.driver("driver", { secret, cursor: driver.cursor });
  await viewer.event("seat_resumed");
  rig.clock.advance(grace);
  await back.prompt("mine");
  expect(await changes(rig)).toEqual([]);
  rig.clock.advance(patience - 2 * grace + 1);
  expect(await viewer.event("driver_request_lapsed")).toMatchObject({ seat_id: viewer.seatId });
  await viewer.takeDriver("ask");
  expect(await back.yieldDriver()).toMatchObject({ driver: { label: "viewer" } });
});

test("B16 whichever way the driver's seat falls vacant, who asked first and is there gets the wheel", async () => {
  const rig = await Rig.start();
  const { token, record } = await otherToken(rig, "second");
  const first = await rig.driver("first");
  const second = await rig.attach("second", { token });
  const third = await rig.attach("third");
  await second.takeDriver("ask");
  await third.takeDriver("ask");
  await first.detach();
  expect(await third.event("driver_changed")).toMatchObject({ from: null, to: second.seatId, cause: "granted" });
  await rig.daemon.call("revoke_token", { session_id: rig.sessionId, token_id: record.token_id }, { host_key: rig.daemon.hostKey });
  expect(await third.event("driver_changed", 2)).toMatchObject({ from: null, to: third.seatId, cause: "granted" });
  expect(second.end).toMatchObject({ code: "token_ended" });
  expect(await roles(rig)).toEqual(["third: driver"]);
});

test("B16 the wheel is granted to no ghost: one that lost its connection is passed over, and gets it when it is back in time", async () => {
  const rig = await Rig.start();
  const secret = seatSecret("ghost");
  const driver = await rig.driver("driver");
  const ghost = await rig.attach("ghost", { secret });
  const there = await rig.attach("there");
  await ghost.takeDriver("ask");
  await there.takeDriver("ask");
  await ghost.drop();
  await driver.event("seat_lost");
  await driver.detach();
  expect(await there.event("driver_changed")).toMatchObject({ to: there.seatId, cause: "granted" });
  // Nobody else asked: it is free for whoever comes, and still his if he comes first.
  await there.yieldDriver();
  expect(await roles(rig)).toEqual(["ghost: viewer", "there: viewer"]);
  const back = await rig.attach("ghost", { secret });
  expect(await there.event("driver_changed", 3)).toMatchObject({ from: null, to: ghost.seatId, cause: "granted" });
  await back.until(({ state }) => state.seats.some(({ seat_id, role }) => seat_id === ghost.seatId && role === "driver"));
});

test("B16 who loses connection or token while its keys are being stored is passed over too", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const [driver, one, two, three] = await seated(rig, "driver", "one", "two", "three");
  for (const seat of [one, two, three]) await seat?.takeDriver("ask");
  const storing = disk.hold("replace", "session.json");
  const next = disk.hold("replace", "session.json");
  await driver.detach();
  await storing.reached;
  await expect(rig.driver("newcomer")).rejects.toMatchObject({ code: "driver_taken", detail: { driver: "one" } });
  await one?.drop();
  storing.release();
  await next.reached;
  await two?.detach();
  next.release();
  expect(await three?.event("driver_changed")).toMatchObject({ to: three?.seatId, cause: "granted" });
  expect(await changes(rig)).toHaveLength(1);
});

test("B16 the request of a viewer whose token has ended is gone with its seat", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver("driver");
  const { token, record } = await otherToken(rig, "asker");
  const asker = await rig.attach("asker", { token });
  await asker.takeDriver("ask");
  await rig.daemon.call("revoke_token", { session_id: rig.sessionId, token_id: record.token_id }, { host_key: rig.daemon.hostKey });
  await driver.event("seat_left");
  expect(driver.state.driver_requests).toEqual([]);
  await expect(driver.yieldDriver(asker.seatId)).rejects.toMatchObject({ code: "not_found" });
  await driver.detach();
  await ticks();
  expect((await rig.info()).seats).toEqual([]);
  expect(await changes(rig)).toEqual([]);
});

test("B16 what was asked before a restart went with the viewers; what lapses during a fault is told when it has passed", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const [driver, viewer] = await seated(rig, "driver", "viewer");
  const { lapses_at = 0 } = (await viewer?.takeDriver("ask")) ?? {};
  const after = await rig.crash();
  expect(await after.info()).toMatchObject({ driver_requests: [], seats: [{ label: "driver", connected: false }] });
  after.clock.advance(patience);
  expect(eventsOf(await after.journal(), "driver_request_lapsed")).toEqual([]);

  void disk.fail("write", "/journal");
  void disk.fail("open", "/journal", { times: 1_000 });
  await expect(driver.prompt("hello")).rejects.toMatchObject({ code: "storage_failed" });
  rig.clock.advance(lapses_at - rig.clock.now());
  await ticks();
  expect((await rig.info()).driver_requests).toMatchObject([{ label: "viewer", lapses_at }]);
  disk.mend();
  rig.clock.advance(limits.reopen_ms);
  await driver.until(() => driver.faults.length === 2);
  expect(await driver.event("driver_request_lapsed")).toMatchObject({ seat_id: viewer?.seatId });
});

test("B16 where the disk refuses the keys, the wheel stays free and the grant is tried again", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const [driver, viewer] = await seated(rig, "driver", "viewer");
  await viewer?.takeDriver("ask");
  const failed = disk.fail("replace", "session.json");
  await driver.detach();
  await failed;
  await ticks();
  expect(await roles(rig)).toEqual(["viewer: viewer"]);
  rig.clock.advance(limits.reopen_ms);
  expect(await viewer?.event("driver_changed")).toMatchObject({ to: viewer?.seatId, cause: "granted" });
  expect(rig.daemon.bugs).toEqual([]);
});

test("B14 B16 with a view token a viewer can neither take the wheel nor ask for it", async () => {
  const rig = await Rig.start();
  const { token } = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: "page" }, { host_key: rig.daemon.hostKey });
  const page = await rig.attach("page", { token });
  const before = await rig.lines();
  for (const how of ["if_free", "ask", "force"] as const)
    await expect(page.takeDriver(how, page.seatId)).rejects.toMatchObject({ code: "role_too_small", detail: { needs: "control" } });
  expect(await rig.lines()).toEqual(before);
});

test("B14 B22 the wheel changes hands many times under a running turn, and each prompt keeps who sent it", async () => {
  const rig = await Rig.start();
  const [a, b] = await seated(rig, "a", "b");
  if (b === undefined) return;
  await a.prompt("one");
  const turn = await rig.kind.turn();
  const ids = [promptId(), promptId(), promptId(), promptId()];
  const drivers = [a, b, a, b];
  for (const [index, id] of ids.entries()) {
    const now = drivers[index] as TestSeat;
    const before = drivers[index - 1];
    if (before !== undefined) await now.takeDriver("force", before.seatId);
    await now.prompt(id, { id });
  }
  expect((await rig.info()).queue.map(({ prompt_id, by }) => [prompt_id, by.label])).toEqual([
    [ids[0], "a"],
    [ids[1], "b"],
    [ids[2], "a"],
    [ids[3], "b"],
  ]);
  turn.end();
  for (const id of ids) {
    const next = await rig.kind.turn();
    expect(next.text).toBe(id);
    next.end();
  }
  await b.event("turn_ended", 5);
  expect(eventsOf(await rig.journal(), "turn_ended").map((event) => event.stop_reason)).toEqual(Array.from({ length: 5 }, () => "end_turn"));
});
