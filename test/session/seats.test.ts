import { limits } from "@sessiond/shared";
import { afterEach, expect, test } from "vitest";
import { endRigs, eventsOf, Rig, seatSecret, type TestSeat } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

afterEach(endRigs);
const grace = 15_000;

test("B14 a second driver is refused, and told who holds the seat; nothing has changed", async () => {
  const rig = await Rig.start();
  const first = await rig.driver("editor");
  const before = await rig.lines();
  await expect(rig.driver("other")).rejects.toMatchObject({ code: "driver_taken", detail: { driver: "editor" } });
  expect(await rig.lines()).toEqual(before);
  expect(first.end).toBeUndefined();
  expect((await rig.info()).seats.map(({ label, role }) => ({ label, role }))).toEqual([{ label: "editor", role: "driver" }]);
});

test("B14 a second driver that asked for a fallback gets a viewer's seat, and may not drive", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver("editor");
  const second = await rig.driver("other", { fallback: "viewer" });
  expect(second.first?.seat).toMatchObject({ role: "viewer", label: "other" });
  await expect(second.prompt("mine")).rejects.toMatchObject({ code: "not_driver", detail: { driver: "editor" } });
  expect(rig.kind.turns).toEqual([]);
  expect(driver.end).toBeUndefined();
});

test("B14 of two drivers that arrive together one gets the seat, while its keys are still being stored", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const storing = disk.hold("replace", "session.json");
  const one = rig.driver("one");
  await storing.reached;
  await expect(rig.driver("two")).rejects.toMatchObject({ code: "driver_taken", detail: { driver: "one" } });
  storing.release();
  expect((await one).first?.seat).toMatchObject({ role: "driver", label: "one" });
  expect(eventsOf(await rig.journal(), "seat_taken")).toHaveLength(1);
});

test("B14 a client that reconnects while its keys are still being stored is not locked out by itself", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const secret = seatSecret("editor");
  const storing = disk.hold("replace", "session.json");
  const lost = rig.driver("editor", { secret });
  await storing.reached;
  const again = rig.driver("editor", { secret });
  storing.release();
  const [, seat] = await Promise.allSettled([lost, again]);
  expect(seat).toMatchObject({ status: "fulfilled", value: { first: { seat: { role: "driver" } } } });
  expect(eventsOf(await rig.journal(), "seat_taken")).toHaveLength(1);
});

test("B15 when the driver's connection drops the turn goes on, and the same secret resumes the seat within the grace", async () => {
  const rig = await Rig.start();
  const secret = seatSecret("editor");
  const driver = await rig.driver("editor", { secret });
  const viewer = await rig.attach("watcher");
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await driver.drop();
  expect(await viewer.event("seat_lost")).toMatchObject({ seat_id: driver.seatId, grace_ms: grace });
  await turn.say("still here");
  rig.clock.advance(grace - 1);
  await expect(rig.driver("thief")).rejects.toMatchObject({ code: "driver_taken", detail: { driver: "editor" } });
  const back = await rig.driver("editor", { secret, cursor: driver.cursor });
  expect(back.first).toMatchObject({ type: "resumed", seat: { seat_id: driver.seatId, role: "driver", connected: true } });
  await back.event("seat_resumed");
  rig.clock.advance(grace);
  turn.end();
  await back.event("turn_ended");
  expect(eventsOf(back.frames, "agent_message_chunk").map((event) => event.content.text)).toEqual(["still here"]);
  expect(eventsOf(await rig.journal(), "seat_left")).toEqual([]);
});

test("B15 after the grace the seat is vacant, and an event says so; the turn still goes on", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver("editor");
  const viewer = await rig.attach("watcher");
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await driver.drop();
  await viewer.event("seat_lost");
  rig.clock.advance(grace);
  expect(await viewer.event("seat_left")).toMatchObject({ seat_id: driver.seatId, role: "driver", cause: "grace" });
  expect(turn.signal.aborted).toBe(false);
  const next = await rig.driver("next");
  expect(next.first?.seat).toMatchObject({ role: "driver", label: "next" });
});

test("B15 after a restart the grace runs from its start, and the same secret and token resume the seat", async () => {
  const rig = await Rig.start();
  const secret = seatSecret("editor");
  const driver = await rig.driver("editor", { secret });
  await driver.drop();
  rig.clock.advance(grace - 1);
  const after = await rig.crash();
  after.clock.advance(grace - 1);
  await expect(after.driver("thief")).rejects.toMatchObject({ code: "driver_taken" });
  const back = await after.driver("editor", { secret, cursor: driver.cursor });
  expect(back.first).toMatchObject({ type: "resumed", seat: { seat_id: driver.seatId, role: "driver" } });
  await back.prompt("I may drive");
  expect((await after.kind.turn()).text).toBe("I may drive");
});

test("B15 after a restart a driver who does not come back is gone when the grace has passed", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver("editor");
  const after = await rig.crash();
  const viewer = await after.attach("watcher");
  expect(viewer.state.seats).toContainEqual(expect.objectContaining({ seat_id: driver.seatId, connected: false }));
  after.clock.advance(grace);
  expect(await viewer.event("seat_left")).toMatchObject({ seat_id: driver.seatId, cause: "grace" });
  expect((await after.driver("next")).first?.seat?.role).toBe("driver");
});

test("B15 detach frees the seat at once", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver("editor");
  await driver.detach();
  expect((await rig.driver("next")).first?.seat).toMatchObject({ role: "driver", label: "next" });
  expect(eventsOf(await rig.journal(), "seat_left")).toMatchObject([{ seat_id: driver.seatId, cause: "detach" }]);
  expect(driver.end).toBeNull();
  await expect(driver.prompt("no more")).rejects.toMatchObject({ code: "not_attached" });
});

test("B15 the same secret with another token does not resume the seat", async () => {
  const rig = await Rig.start();
  const secret = seatSecret("editor");
  const driver = await rig.driver("editor", { secret });
  await driver.drop();
  const { token } = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "control", label: "other" }, { token: rig.token });
  await expect(rig.driver("editor", { secret, token })).rejects.toMatchObject({ code: "not_attached" });
});

test("B15 a seat resumed on a new connection ends the old stream with `moved`, and is not lost by that", async () => {
  const rig = await Rig.start();
  const secret = seatSecret("editor");
  const old = await rig.driver("editor", { secret });
  const now = await rig.driver("editor", { secret, cursor: old.cursor });
  await old.until(() => old.end !== undefined);
  expect(old.end).toMatchObject({ code: "moved" });
  rig.clock.advance(grace);
  await now.prompt("still mine");
  expect(eventsOf(await rig.journal(), "seat_lost")).toEqual([]);
});

test("B17 who is attached, as what and under which label is in the snapshot, and changes by events", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver("editor");
  const viewer = await rig.attach("page");
  expect(viewer.state.seats.map(({ label, role, connected }) => [label, role, connected])).toEqual([
    ["editor", "driver", true],
    ["page", "viewer", true],
  ]);
  expect(await driver.event("seat_taken", 1)).toMatchObject({ role: "viewer", label: "page" });
  await viewer.drop();
  expect(await driver.event("seat_lost")).toMatchObject({ seat_id: viewer.seatId });
  expect(driver.state.seats.find((seat) => seat.seat_id === viewer.seatId)).toMatchObject({ connected: false });
  rig.clock.advance(grace);
  expect(await driver.event("seat_left")).toMatchObject({ seat_id: viewer.seatId, role: "viewer", cause: "grace" });
  expect(driver.state.seats.map((seat) => seat.label)).toEqual(["editor"]);
});

const hostMint = async (rig: Rig, right: "view" | "control") =>
  (await rig.daemon.call("mint_token", { session_id: rig.sessionId, right, label: right }, { host_key: rig.daemon.hostKey })).token;
const childOf = async (rig: Rig, token: string, right: "view" | "control") =>
  (await rig.daemon.call("mint_token", { session_id: rig.sessionId, right, label: right }, { token })).token;
/** Viewers of these tokens in turn, each with a secret of its own, until one is refused. */
async function crowd(rig: Rig, tokens: readonly string[]): Promise<{ seats: TestSeat[]; refusal: unknown }> {
  const seats: TestSeat[] = [];
  for (;;) {
    try {
      seats.push(await rig.attach("crowd", { token: tokens[seats.length % tokens.length] ?? "" }));
    } catch (refusal) {
      return { seats, refusal };
    }
  }
}
const full = (limit: string, value: number) =>
  expect.objectContaining({
    code: "limit_reached",
    detail: expect.objectContaining({ limit, value, unit: "seats" }),
    message: expect.stringContaining("`sessiond token revoke`"),
  });

test("B7 B14 with the numbers of a daemon: whoever takes seats with one view token gets so many, with many so many together, and the owner drives, looks and takes the wheel by force as ever", async () => {
  const rig = await Rig.start();
  const views = await Promise.all(Array.from({ length: 5 }, () => hostMint(rig, "view")));
  const one = await crowd(rig, views.slice(0, 1));
  expect([one.seats.length, one.refusal]).toEqual([limits.seats_per_token_max, full("seats_per_token_max", limits.seats_per_token_max)]);
  const many = await crowd(rig, views.slice(1));
  expect([one.seats.length + many.seats.length, many.refusal]).toEqual([limits.seats_of_views_max, full("seats_of_views_max", limits.seats_of_views_max)]);
  // Children that may drive have some room beside them, and leave some to the owner.
  const rest = limits.seats_of_others_max - limits.seats_of_views_max;
  const children = await crowd(rig, await Promise.all(Array.from({ length: rest + 1 }, () => childOf(rig, rig.token, "control"))));
  expect([children.seats.length, children.refusal]).toEqual([rest, full("seats_of_others_max", limits.seats_of_others_max)]);
  expect((await rig.driver("owner")).first?.seat?.role).toBe("driver");
  const more = await Promise.all(Array.from({ length: limits.seats_max - limits.seats_of_others_max }, () => hostMint(rig, "control")));
  const [page = "", forced = "", ...others] = more;
  expect((await rig.attach("owner-page", { token: page })).first?.seat?.role).toBe("viewer");
  expect((await rig.driver("owner-again", { force: true, token: forced })).first?.seat?.role).toBe("driver");
  await expect(crowd(rig, others)).resolves.toMatchObject({ refusal: full("seats_max", limits.seats_max) });
});

test("B7 B14 a control token that takes all it can, with its children, leaves the owner his places: one seat more it has, and each other token of the owner one", async () => {
  const rig = await Rig.start({ limits: { seats_max: 8, seats_per_token_max: 3, seats_of_views_max: 4, seats_of_others_max: 6 } });
  const greedy = await hostMint(rig, "control");
  const children = [await childOf(rig, greedy, "control"), await childOf(rig, greedy, "control"), await childOf(rig, greedy, "control")];
  const ofChildren = await crowd(rig, children);
  expect([ofChildren.seats.length, ofChildren.refusal]).toEqual([6, full("seats_of_others_max", 6)]);
  const own = await crowd(rig, [greedy]);
  expect([own.seats.length, own.refusal]).toEqual([1, full("seats_of_others_max", 6)]);
  expect((await rig.driver("owner", { force: true })).first?.seat?.role).toBe("driver");
  await expect(rig.attach("owner-page")).rejects.toEqual(full("seats_of_others_max", 6));
  await expect(rig.attach("third", { token: await hostMint(rig, "control") })).rejects.toEqual(full("seats_max", 8));
});

test("B7 B15 a seat in its grace has its place still: whoever lost it resumes it, and a fresh secret of its token gets none until it is left", async () => {
  const rig = await Rig.start({ limits: { seats_max: 5, seats_per_token_max: 1, seats_of_views_max: 2, seats_of_others_max: 3 } });
  const [view, other] = [await hostMint(rig, "view"), await hostMint(rig, "view")];
  const secret = seatSecret("page");
  const page = await rig.attach("page", { token: view, secret });
  await page.drop();
  await expect(rig.attach("fresh", { token: view })).rejects.toEqual(full("seats_per_token_max", 1));
  const back = await rig.attach("page", { token: view, secret });
  expect(back.first?.seat?.seat_id).toBe(page.seatId);
  await back.drop();
  await rig.attach("another-page", { token: other });
  await expect(rig.attach("third", { token: await hostMint(rig, "view") })).rejects.toEqual(full("seats_of_views_max", 2));
  rig.clock.advance(grace);
  expect((await rig.attach("fresh", { token: view })).first?.seat?.role).toBe("viewer");
});

test("B7 B15 the seats of a token that was given to a key are not the owner's, and a driver who is back after a restart counts by its token", async () => {
  const rig = await Rig.start({ limits: { seats_max: 4, seats_per_token_max: 2, seats_of_views_max: 1, seats_of_others_max: 2 } });
  const { key } = await rig.daemon.call(
    "create_key",
    { name: "a program", scopes: ["sessions:start"], roots: [rig.workdir] },
    { host_key: rig.daemon.hostKey },
  );
  const joined = () => rig.daemon.call("start_or_get_for_workdir", { workdir: rig.workdir }, { api_key: key });
  const given = await Promise.all([joined(), joined(), joined()]);
  const ofKey = await crowd(
    rig,
    given.map(({ token }) => token),
  );
  expect([ofKey.seats.length, ofKey.refusal]).toEqual([2, full("seats_of_others_max", 2)]);
  await rig.driver("owner");
  const after = await rig.crash();
  expect((await after.attach("owner-page")).first?.seat?.role).toBe("viewer");
  await expect(after.attach("one-more")).rejects.toEqual(full("seats_per_token_max", 2));
});
