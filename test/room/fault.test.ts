import { afterEach, expect, test } from "vitest";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { endRigs, eventsOf, promptId, Rig } from "../support/session-rig.ts";

/** A journal that cannot be written, and its return. */
afterEach(endRigs);
const secret = "editor".padEnd(24, "_");
const reopenMs = 5_000;
const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function faultable() {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver("editor", { secret });
  const viewer = await rig.attach("watcher");
  await driver.until(() => driver.state.seats.length === 2);
  return { disk, rig, driver, viewer };
}

/** Let the timer try again until the fault is gone. */
async function reopened({ rig, viewer }: { rig: Rig; viewer: { fault: unknown; until(condition: () => boolean): Promise<void> } }): Promise<void> {
  await soon();
  rig.clock.advance(reopenMs);
  await viewer.until(() => viewer.fault === undefined);
}

const dense = async (rig: Rig): Promise<void> => {
  const frames = await rig.journal();
  expect(frames.map((frame) => frame.seq)).toEqual(frames.map((_, index) => index + 1));
};

for (const step of ["write", "sync"] as const) {
  for (const code of ["EIO", "ENOSPC"] as const) {
    test(`B38 ${code} on ${step}: waiting calls fail, readers are told by a batch without frames, and told again when it is over`, async () => {
      const { disk, rig, driver, viewer } = await faultable();
      void disk.fail(step, "/journal", { code });
      await expect(driver.prompt("lost")).rejects.toMatchObject({ code: "storage_failed", detail: { reason: expect.stringContaining(code) } });
      await viewer.until(() => viewer.fault !== undefined);
      expect(viewer.faults).toMatchObject([{ code: "storage_failed", reason: expect.stringContaining(code), since: rig.clock.now() }]);
      expect(viewer.cursor).toBe(`1:${viewer.state.seq}`);
      expect((await rig.info()).fault).toMatchObject({ code: "storage_failed" });
      await expect(driver.prompt("refused")).rejects.toMatchObject({ code: "session_faulted" });
      await reopened({ rig, viewer });
      expect((await rig.info()).fault).toBeUndefined();
      expect(viewer.faults.at(-1)).toBeUndefined();
      expect(await driver.prompt("after")).toMatchObject({ seq: expect.any(Number) });
      await dense(rig);
      // What any client saw is in the journal, word for word.
      await viewer.until(() => viewer.state.queue.length + viewer.state.turns > 0);
      const lines = await rig.lines();
      for (const seat of [driver, viewer]) expect(lines).toEqual(expect.arrayContaining(seat.texts));
      expect(viewer.cursor).toMatch(/^2:/);
      expect(rig.daemon.bugs).toEqual([]);
    });
  }
}

test("B38 what was decided and never written has not happened: state, queue and the repeat of its id say so", async () => {
  const { disk, rig, driver, viewer } = await faultable();
  const id = promptId();
  const before = await rig.lines();
  void disk.fail("write", "/journal");
  await expect(driver.prompt("lost", { id })).rejects.toMatchObject({ code: "storage_failed" });
  expect(await rig.lines()).toEqual(before);
  expect(await rig.info()).toMatchObject({ turn: null, queue: [], turns: 0 });
  await reopened({ rig, viewer });
  expect(rig.kind.turns.every((turn) => turn.signal.aborted)).toBe(true);
  expect(await driver.prompt("lost", { id })).toMatchObject({ became: "started" });
  expect(eventsOf(await rig.journal(), "prompt_accepted")).toHaveLength(1);
});

test("B38 a failed sync loses nothing that was shown, and cancels the agent; its turn ends interrupted at the reopening", async () => {
  const { disk, rig, driver, viewer } = await faultable();
  const { turn_id = "" } = await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  void disk.fail("sync", "/journal");
  void turn.update("c1", "in_progress");
  await viewer.until(() => viewer.fault !== undefined);
  await turn.returned;
  expect(turn.signal.aborted).toBe(true);
  expect(rig.kind.closes).toBe(1);
  await reopened({ rig, viewer });
  expect(await viewer.event("turn_ended")).toMatchObject({ turn_id, stop_reason: "interrupted" });
  await dense(rig);
  expect(await rig.lines()).toEqual(expect.arrayContaining(viewer.texts));
});

test("B38 a parked question survives a fault under the same id, and is answered afterwards", async () => {
  const { disk, rig, driver, viewer } = await faultable();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  void turn.ask("c1");
  const question = await driver.question();
  void disk.fail("write", "/journal");
  await expect(driver.prompt("lost")).rejects.toMatchObject({ code: "storage_failed" });
  await reopened({ rig, viewer });
  const resumed = await rig.kind.turn();
  const answer = resumed.ask("c1");
  await driver.approve(question);
  expect(await answer).toMatchObject({ allowed: true });
  expect(eventsOf(await rig.journal(), "approval_requested")).toHaveLength(1);
});

test("B38 while it is faulted, reading and leaving pass; nothing that writes does", async () => {
  const { disk, rig, driver, viewer } = await faultable();
  void disk.fail("write", "/journal");
  void disk.fail("open", "/journal", { times: 100 });
  await expect(driver.prompt("lost")).rejects.toMatchObject({ code: "storage_failed" });
  const before = await rig.lines();
  expect((await rig.info()).fault).toBeDefined();
  expect((await rig.daemon.call("session_data", { session_id: rig.sessionId }, { token: rig.token })).frames.length).toBeGreaterThan(0);
  const late = await rig.attach("late");
  expect(late.first).toMatchObject({ type: "snapshot", seat: null, fault: { code: "storage_failed" } });
  await expect(rig.driver("late", { fallback: "viewer" })).rejects.toMatchObject({ code: "session_faulted" });
  await expect(driver.release()).rejects.toMatchObject({ code: "session_faulted" });
  await expect(rig.stop()).rejects.toMatchObject({ code: "storage_failed" });
  expect(await driver.detach()).toEqual({ seq: 0 });
  expect(await rig.lines()).toEqual(before);
  disk.mend();
  await reopened({ rig, viewer });
  // Left is left, driver or not.
  expect(await viewer.event("seat_left")).toMatchObject({ seat_id: driver.seatId, cause: "detach" });
  expect(viewer.state.seats.map((seat) => seat.label)).toEqual(["watcher"]);
});

test("B38 the timer tries again for as long as the disk refuses", async () => {
  const { disk, rig, driver, viewer } = await faultable();
  void disk.fail("write", "/journal");
  await expect(driver.prompt("lost")).rejects.toMatchObject({ code: "storage_failed" });
  await viewer.until(() => viewer.fault !== undefined);
  for (let tries = 0; tries < 3; tries++) {
    const refused = disk.fail("open", "/journal");
    await soon();
    rig.clock.advance(reopenMs);
    await refused;
  }
  expect((await rig.info()).fault).toBeDefined();
  await reopened({ rig, viewer });
  await driver.prompt("after");
  await dense(rig);
});

test("B38 a write that outlives its journal's failure does not land among the lines of the next", async () => {
  const { disk, rig, driver, viewer } = await faultable();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  const sync = disk.hold("sync", "/journal");
  const lost = expect(driver.prompt("lost")).rejects.toMatchObject({ code: "storage_failed" });
  await sync.reached;
  // The next write is under way when the sync fails.
  const write = disk.hold("write", "/journal");
  void turn.say("under way");
  await write.reached;
  sync.release("EIO");
  await lost;
  let over = false;
  const stopped = rig.stop().then(
    () => (over = true),
    () => (over = true),
  );
  // Long enough for a reopening that does not wait for it.
  for (let looks = 0; looks < 300 && !over; looks++) await rig.lines();
  write.release();
  await stopped;
  await viewer.until(() => viewer.end !== undefined);
  await dense(rig);
  const lines = await rig.lines();
  for (const line of lines) expect(() => JSON.parse(line) as unknown).not.toThrow();
  expect(lines.at(-1)).toContain("session_stopped");
});

test("B38 interrupt and stop of a faulted session reopen it where they can", async () => {
  const { disk, rig, driver, viewer } = await faultable();
  const { turn_id = "" } = await driver.prompt("work");
  await rig.kind.turn();
  void disk.fail("write", "/journal");
  await expect(driver.prompt("lost")).rejects.toMatchObject({ code: "storage_failed" });
  // Closed by the reopening already.
  expect(await rig.interrupt(turn_id)).toMatchObject({ interrupted: false });
  expect((await rig.info()).fault).toBeUndefined();
  void disk.fail("write", "/journal");
  await expect(driver.prompt("lost again")).rejects.toMatchObject({ code: "storage_failed" });
  await Promise.all([rig.stop(), rig.stop(), rig.interrupt(turn_id).catch(() => undefined)]);
  await viewer.until(() => viewer.end === null);
  expect((await rig.journal()).at(-1)?.event.type).toBe("session_stopped");
  await dense(rig);
});

test("B38 a stop that could not be written has not happened: the session lives on, and a second stop ends it", async () => {
  const { disk, rig, viewer } = await faultable();
  void disk.fail("write", "/journal");
  await expect(rig.stop()).rejects.toMatchObject({ code: "storage_failed" });
  expect(await rig.info()).toMatchObject({ life_state: "live", fault: { code: "storage_failed" } });
  const { seq } = await rig.stop();
  await viewer.until(() => viewer.end !== undefined);
  expect((await rig.journal()).at(-1)).toMatchObject({ seq, event: { type: "session_stopped" } });
});

test("B38 a fault that begins between a snapshot and its first batch is announced all the same", async () => {
  const { disk, rig, driver } = await faultable();
  const connection = new AbortController();
  const stream = await rig.daemon.stream(
    "attach",
    { session_id: rig.sessionId, role: "viewer", label: "slow" },
    { token: rig.token, seat_secret: "slow".padEnd(24, "_") },
    connection.signal,
  );
  const items = (stream as AsyncIterable<[string, { type: string; fault?: unknown; frames: { texts: string[] } }]>)[Symbol.asyncIterator]();
  const first = await items.next();
  expect(first.value[1]).toMatchObject({ type: "snapshot" });
  expect(first.value[1]).not.toHaveProperty("fault");
  void disk.fail("write", "/journal");
  await expect(driver.prompt("lost")).rejects.toMatchObject({ code: "storage_failed" });
  const next = await items.next();
  expect(next.value[1]).toMatchObject({ type: "batch", fault: { code: "storage_failed" } });
  connection.abort();
  await items.return?.();
});
