import { DriverSeat, isSessiondError, ViewerSeat } from "@sessiond/client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { failure, until } from "../support/attached-seat.ts";
import { ClientRig } from "../support/client-rig.ts";
import { endRigs } from "../support/session-rig.ts";

/** The wheel comes and goes by handles: who holds a DriverSeat may act while its seat drives. */
let house: ClientRig;
beforeEach(async () => {
  house = await ClientRig.start();
});
afterEach(async () => {
  await house.close();
  await endRigs();
});

describe("a viewer's seat", () => {
  test("B16 takes a free wheel: the same seat, as one that may act", async () => {
    const viewer = await house.viewer();
    const seat = await viewer.takeDriver();
    expect(seat).toBeInstanceOf(DriverSeat);
    expect([seat.seatId, seat.role, viewer.role]).toEqual([viewer.seatId, "driver", "driver"]);
    const turn = seat.prompt("hello");
    (await house.rig.kind.turn()).end();
    expect((await turn).stopReason).toBe("end_turn");
    // Once more: it drives, and nothing is asked for.
    expect(await viewer.takeDriver({ how: "force" })).toBe(seat);
    expect(await seat.takeDriver({ how: "ask" })).toBe(seat);
    expect((await house.rig.journal()).filter(({ event }) => event.type === "driver_changed")).toHaveLength(1);
  });

  test("B14 is told who drives where the wheel is not free, and stays what it is", async () => {
    const driver = await house.driver("anna");
    const viewer = await house.viewer();
    const refused = await failure(viewer.takeDriver());
    expect(refused).toMatchObject({ code: "driver_taken", detail: { driver: "anna" } });
    expect([viewer.role, driver.role]).toEqual(["viewer", "driver"]);
  });

  test("B16 that asks drives when the driver yields to it, and who yielded looks on", async () => {
    const driver = await house.driver("anna");
    const viewer = await house.viewer("ben");
    const asking = viewer.takeDriver({ how: "ask" });
    await until(driver, () => driver.state.driver_requests.length > 0);
    expect(driver.state.driver_requests).toMatchObject([{ seat_id: viewer.seatId, label: "ben" }]);
    const yielded = await driver.yieldDriver({ to: viewer.seatId ?? "" });
    expect(yielded).toBeInstanceOf(ViewerSeat);
    expect(yielded).not.toBeInstanceOf(DriverSeat);
    expect([yielded.seatId, yielded.role]).toEqual([driver.seatId, "viewer"]);
    const seat = await asking;
    expect([seat.seatId, seat.role]).toEqual([viewer.seatId, "driver"]);
    expect(await failure(driver.sendPrompt("mine"))).toMatchObject({ code: "not_driver", detail: { driver: "ben" } });
    expect(house.rig.kind.turns).toHaveLength(0);
  });

  test("B16 that asks is refused when nobody answers: the request lapses, and the driver's label is told", async () => {
    // Shorter than a heartbeat, so that no link is lost by the clock's leap.
    const other = (house = await ClientRig.start({ limits: { driver_request_ms: 1_000 } }));
    const driver = await other.driver("anna");
    const viewer = await other.viewer("ben");
    const asking = failure(viewer.takeDriver({ how: "ask" }));
    await until(viewer, () => viewer.state.driver_requests.length > 0);
    other.rig.clock.advance(1_000);
    expect(await asking).toMatchObject({ code: "driver_taken", detail: { driver: "anna", outcome: "lapsed" } });
    expect([viewer.role, driver.role]).toEqual(["viewer", "driver"]);
  });

  test("B16 that gives up asking ends in timeout or cancelled; what is granted later shows in its role", async () => {
    const driver = await house.driver("anna");
    const viewer = await house.viewer("ben");
    const given = new AbortController();
    const asking = failure(viewer.takeDriver({ how: "ask", signal: given.signal }));
    await until(viewer, () => viewer.state.driver_requests.length > 0);
    expect(await failure(viewer.takeDriver({ how: "ask", timeoutMs: 30 }))).toMatchObject({ code: "timeout" });
    given.abort();
    expect((await asking).code).toBe("cancelled");
    await driver.yieldDriver();
    await until(viewer, () => viewer.role === "driver");
    expect((await viewer.takeDriver()).role).toBe("driver");
  });

  test("B16 asks again by itself when a restart gave it another seat", async () => {
    const driver = await house.driver("anna");
    const viewer = await house.viewer("ben");
    const before = viewer.seatId;
    const asking = viewer.takeDriver({ how: "ask" });
    await until(viewer, () => viewer.state.driver_requests.length > 0);
    await house.end();
    await house.begin();
    await until(driver, () => driver.state.driver_requests.some(({ seat_id }) => seat_id !== before));
    await driver.yieldDriver();
    const seat = await asking;
    expect(seat.role).toBe("driver");
    expect(seat.seatId).not.toBe(before);
  });

  test("B14 by force names the driver that it replaces; both handles are told by the same frames", async () => {
    const driver = await house.driver("anna");
    const viewer = await house.viewer("ben");
    const seat = await viewer.takeDriver({ how: "force" });
    expect(seat.role).toBe("driver");
    await until(driver, () => driver.role === "viewer");
    expect(await failure(driver.sendPrompt("mine"))).toMatchObject({ code: "not_driver", detail: { driver: "ben" } });
    expect(house.rig.kind.turns).toHaveLength(0);
    const [changed] = (await house.rig.journal()).filter(({ event }) => event.type === "driver_changed");
    expect(changed?.event).toMatchObject({ from: driver.seatId, to: viewer.seatId, cause: "forced" });
    // And back: the handle that was demoted serves again.
    expect(await driver.takeDriver({ how: "force" })).toBe(driver);
    expect(driver.role).toBe("driver");
  });

  test("B14 by force gets a wheel that nobody has", async () => {
    const viewer = await house.viewer();
    expect((await viewer.takeDriver({ how: "force" })).role).toBe("driver");
  });

  test("B5 B16 with a view token gets no wheel, however it is asked for, and nobody is asked", async () => {
    const viewer = await house.viewer("guest", "view");
    for (const how of ["if_free", "ask", "force"] as const) expect((await failure(viewer.takeDriver({ how }))).code).toBe("role_too_small");
    expect((await house.rig.journal()).filter(({ event }) => event.type.startsWith("driver_"))).toEqual([]);
  });

  test("B16 that is left while it asks gets an end, not silence", async () => {
    await house.driver("anna");
    const viewer = await house.viewer("ben");
    const asking = failure(viewer.takeDriver({ how: "ask" }));
    await until(viewer, () => viewer.state.driver_requests.length > 0);
    await viewer.detach();
    expect((await asking).code).toBe("cancelled");
  });
});

describe("a driver's seat", () => {
  test("B16 yields to nobody where nobody asked: the wheel is free", async () => {
    const driver = await house.driver("anna");
    expect((await driver.yieldDriver()).role).toBe("viewer");
    expect((await (await house.viewer("ben")).takeDriver()).role).toBe("driver");
  });

  test("B16 that yields to a seat that did not ask is told so, and drives on", async () => {
    const driver = await house.driver("anna");
    const viewer = await house.viewer("ben");
    expect((await failure(driver.yieldDriver({ to: viewer.seatId ?? "" }))).code).toBe("not_found");
    expect(driver.role).toBe("driver");
  });

  test("B14 that is thrown out still waits for the turn of its prompt, and its reader sees how", async () => {
    const driver = await house.driver("anna");
    const events = driver.events[Symbol.asyncIterator]();
    const turn = driver.prompt("hello");
    const running = await house.rig.kind.turn();
    const seat = await (await house.viewer("ben")).takeDriver({ how: "force" });
    await until(driver, () => driver.role === "viewer");
    for (;;) {
      const { value } = await events.next();
      if (value?.type === "frame" && value.frame.event.type === "driver_changed") break;
    }
    running.end();
    expect((await turn).stopReason).toBe("end_turn");
    expect(seat.state.last_turn?.stop_reason).toBe("end_turn");
  });

  test("B14 attach by force throws the driver out", async () => {
    const anna = await house.driver("anna");
    const session = await house.session("ben");
    expect(isSessiondError(await failure(session.attach({ as: "driver" })), "driver_taken")).toBe(true);
    const ben = await session.attach({ as: "driver", force: true });
    expect(ben.role).toBe("driver");
    await until(anna, () => anna.role === "viewer");
  });
});
