import { rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import type { ToolKind } from "@sessiond/shared";
import { RawReader } from "../support/raw-reader.ts";
import { endRigs, Rig, type TestSeat } from "../support/session-rig.ts";
import type { ScriptedTurn } from "../support/scripted-agent.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";
import { told, Watcher } from "../support/watcher.ts";

/** Room `host`: the list, then what changes, for those who watch all sessions. */
afterEach(endRigs);

const owner = (rig: Rig) => ({ host_key: rig.daemon.hostKey });
const listOf = async (rig: Rig) => (await rig.daemon.call("list_sessions", {}, owner(rig))).sessions;
const stop = (rig: Rig) => rig.daemon.call("stop", { session_id: rig.sessionId }, owner(rig));

/** What a watcher has made of its stream is what a list says now. */
async function agrees(watcher: Watcher, rig: Rig): Promise<void> {
  // A fence: all that was before it has come when it has.
  const fence = await rig.another(`fence-${watcher.frames.length}`);
  await watcher.until(({ sessions }) => sessions.has(fence.sessionId));
  expect(told(watcher.sessions.values())).toEqual(told(await listOf(rig)));
  expect(watcher.gap).toBeNull();
}

async function tool(turn: ScriptedTurn, id: string, kind: ToolKind, paths: readonly string[], text = id): Promise<void> {
  const locations = paths.map((path) => ({ path }));
  await turn.yield({
    type: "tool_call",
    tool_call_id: id,
    message_id: "m1",
    tool: kind === "edit" ? "write" : "shell",
    kind,
    title: text,
    input: { text },
    locations,
  });
}

/** A turn with an edit, a question, a refusal and a read. */
async function work(seat: TestSeat, turn: ScriptedTurn, text = ""): Promise<void> {
  await turn.say(`said ${text}`);
  await tool(turn, "c1", "edit", ["src/a.ts", "src/b.ts"], `input ${text}`);
  const answer = turn.ask("c1", { text: `asked ${text}` }, `preview ${text}`);
  await seat.approve(await seat.question(), "allow_once");
  await answer;
  await turn.update("c1", "in_progress");
  await turn.yield({ type: "tool_call_chunk", tool_call_id: "c1", content: { type: "text", text: `output ${text}` } });
  await turn.update("c1", "completed", `result ${text}`);
  await tool(turn, "c2", "edit", ["src/never.ts"]);
  await turn.update("c2", "in_progress");
  await turn.update("c2", "failed", `failed ${text}`);
  await tool(turn, "c3", "read", ["src/read.ts"]);
  await turn.update("c3", "in_progress");
  await turn.update("c3", "completed", "");
}

test("B31 a watcher gets the list, then each change by its name and place, and what it makes of them is the list there is then", async () => {
  const rig = await Rig.start();
  const watcher = await Watcher.open(rig.daemon);
  expect(watcher.first).toMatchObject({
    type: "list",
    head: expect.any(Number),
    sessions: [{ session_id: rig.sessionId, life_state: "live", status: "idle" }],
  });
  const session_id = rig.sessionId;
  const driver = await rig.driver("editor");
  expect(await watcher.of("driver_changed")).toEqual([{ type: "driver_changed", session_id, driver: "editor" }]);
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await work(driver, turn);
  turn.end();
  await driver.event("turn_ended");
  const touched = await watcher.of("file_touched", 2);
  expect(touched).toEqual(["src/a.ts", "src/b.ts"].map((path) => ({ type: "file_touched", session_id, path, kind: "edit", tool_call_id: "c1" })));
  const [pending] = await watcher.of("approval_pending");
  expect(pending).toEqual({ type: "approval_pending", session_id, approval_id: expect.any(String), tool: "shell", asked_at: rig.clock.now() });
  expect(await watcher.of("approval_closed")).toEqual([{ type: "approval_closed", session_id, approval_id: pending?.approval_id }]);
  await watcher.until(({ sessions }) => sessions.get(session_id)?.status === "idle");
  const statuses = (await watcher.of("status_changed")).map(({ status }) => status);
  for (const status of ["thinking", "awaiting_approval", "tool_executing", "idle"]) expect(statuses).toContain(status);
  await driver.detach();
  expect((await watcher.of("driver_changed", 2))[1]).toEqual({ type: "driver_changed", session_id, driver: null });
  const other = await rig.another("other");
  expect((await watcher.of("session_started")).at(-1)).toMatchObject({
    session_id: other.sessionId,
    session: { workdir: other.workdir, life_state: "live", status: "idle", approvals: [] },
  });
  await stop(rig);
  expect(await watcher.of("session_stopped")).toEqual([{ type: "session_stopped", session_id }]);
  await agrees(watcher, rig);
  await rig.startSession();
  await watcher.until(({ sessions }) => sessions.get(session_id)?.life_state === "live");
  await agrees(watcher, rig);
  expect(watcher.lists).toHaveLength(1);
});

test("B31 no gap and no duplicate, whenever a watcher comes, goes and comes back", async () => {
  const rig = await Rig.start({ script: { auto: (turn) => void turn.say("done").then(() => turn.end()) } });
  const watchers: Promise<Watcher>[] = [Watcher.open(rig.daemon)];
  let moving = true;
  const comings = (async () => {
    while (moving && watchers.length < 40) {
      watchers.push(Watcher.open(rig.daemon));
      const early = await watchers[watchers.length >> 1];
      if (early !== undefined) watchers.push(Watcher.open(rig.daemon, { cursor: early.cursor }));
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let round = 0; round < 6; round++) {
    const driver = await rig.driver(`driver-${round}`);
    await driver.prompt("go");
    await driver.event("turn_ended");
    await driver.detach();
    const other = await rig.another(`work-${round}`);
    if (round % 2 === 0) await stop(other);
    if (round % 3 === 0) await other.startSession();
  }
  moving = false;
  await comings;
  const fence = await rig.another("the-end");
  const all = await Promise.all(watchers);
  const first = all[0] as Watcher;
  for (const watcher of all) await watcher.until(({ sessions, first: began }) => sessions.has(fence.sessionId) || began?.type === "resumed");
  const list = told(await listOf(rig));
  for (const watcher of all) {
    await watcher.until(({ cursor }) => cursor === first.cursor);
    expect(watcher.gap).toBeNull();
    // One that came back has the rest of what the first one has, word for word.
    expect(watcher.frames).toEqual(watcher.frames.length === 0 ? [] : first.frames.slice(-watcher.frames.length));
    if (watcher.first?.type === "list") expect(told(watcher.sessions.values())).toEqual(list);
  }
  expect(all.length).toBeGreaterThan(20);
});

test("B31 what happens while a watcher still takes its list comes after it, also when others are ahead of it", async () => {
  const rig = await Rig.start();
  const early = await Watcher.open(rig.daemon, {}, false);
  const ahead = await Watcher.open(rig.daemon);
  for (let made = 0; made < 3; made++) await rig.another(`more-${made}`);
  const later = await Watcher.open(rig.daemon, {}, false);
  for (let made = 3; made < 5; made++) await rig.another(`more-${made}`);
  await ahead.of("session_started", 5);
  for (const watcher of [early, later]) watcher.resume();
  expect(await early.of("session_started", 5)).toHaveLength(5);
  expect(await later.of("session_started", 2)).toHaveLength(2);
  for (const watcher of [early, later, ahead]) await agrees(watcher, rig);
});

describe("cursors", () => {
  test("B32 a cursor of this boot within the window resumes: what came after it, and no list", async () => {
    const rig = await Rig.start();
    const watcher = await Watcher.open(rig.daemon);
    const { cursor } = watcher;
    await watcher.drop();
    const other = await rig.another("meanwhile");
    const back = await Watcher.open(rig.daemon, { cursor });
    expect(back.first).toMatchObject({ type: "resumed", cursor });
    expect(await back.of("session_started")).toMatchObject([{ session_id: other.sessionId }]);
    expect([back.gap, back.lists]).toEqual([null, []]);
  });

  test("B32 a cursor that cannot be served gets the list and the reason, never silence", async () => {
    const rig = await Rig.start({ limits: { host_window_events_max: 4 } });
    const watcher = await Watcher.open(rig.daemon);
    const { cursor } = watcher;
    const boot = cursor.split(":")[0] ?? "";
    for (let made = 0; made < 5; made++) await rig.another(`more-${made}`);
    const head = (await Watcher.open(rig.daemon)).first?.head ?? 0;
    const cases = [
      [`${boot}:${head + 1}`, "beyond_end"],
      [`${boot}:999999999999999`, "beyond_end"],
      [`otherboot:${head}`, "unknown_epoch"],
      [`${boot}x:${head}`, "unknown_epoch"],
      [cursor, "too_old"],
    ] as const;
    for (const [given, reset] of cases) {
      const back = await Watcher.open(rig.daemon, { cursor: given });
      expect(back.first, given).toMatchObject({ type: "list", reset, cursor: `${boot}:${head}` });
      expect(told(back.sessions.values())).toEqual(told(await listOf(rig)));
    }
    expect((await Watcher.open(rig.daemon, { cursor: `${boot}:${head - 4}` })).first).toMatchObject({ type: "resumed" });
    const after = await rig.crash();
    expect((await Watcher.open(after.daemon, { cursor: `${boot}:${head}` })).first).toMatchObject({ type: "list", reset: "unknown_epoch" });
  });

  test("B33 a watcher that the window passed by while it stayed gets the list again, and goes on from there", async () => {
    const rig = await Rig.start({ limits: { host_window_events_max: 4 } });
    const watcher = await Watcher.open(rig.daemon);
    const healthy = await Watcher.open(rig.daemon);
    watcher.pause();
    for (let made = 0; made < 12; made++) await rig.another(`more-${made}`);
    await healthy.of("session_started", 12);
    watcher.resume();
    await watcher.until(({ lists }) => lists.length === 2);
    expect(watcher.lists[1]).toMatchObject({ reset: "too_old" });
    await agrees(watcher, rig);
    await agrees(healthy, rig);
    expect(healthy.lists).toHaveLength(1);
  });
});

test("B33 a watcher whose socket takes nothing costs a cursor: it is closed with slow_consumer, and comes back to where it was or to the list", async () => {
  const limits = { heartbeat_ms: 1_000_000_000, socket_buffer_bytes_max: 4_096, host_window_events_max: 512 };
  const rig = await Rig.start({ limits });
  const { socketPath, hostKey } = rig.daemon;
  const stuck = new RawReader({ socketPath, hostKey });
  const healthy = new RawReader({ socketPath, hostKey });
  await Promise.all([stuck, healthy].map((reader) => reader.until(({ cursor }) => cursor !== "")));
  stuck.pause();
  const driver = await rig.driver();
  await driver.prompt("many files");
  const turn = await rig.kind.turn();
  // As long as paths may be: 4 MB, which no buffer of a socket holds.
  for (let made = 0; made < 64; made++) {
    await tool(
      turn,
      `c${made}`,
      "edit",
      Array.from({ length: 16 }, (_, at) => `${made}/${at}/`.padEnd(4_096, "x")),
    );
    await turn.update(`c${made}`, "in_progress");
    await turn.update(`c${made}`, "completed");
  }
  turn.end();
  await driver.event("turn_ended");
  const head = (await Watcher.open(rig.daemon)).first?.head ?? 0;
  await healthy.until(({ seq }) => seq >= head);
  expect(healthy.gap).toBeNull();
  expect(head - stuck.seq).toBeGreaterThan(500);
  rig.clock.advance(30_000);
  stuck.resume();
  await stuck.until(({ close }) => close !== null);
  expect([stuck.error, stuck.close?.code, stuck.gap]).toEqual(["slow_consumer", 4008, null]);
  const back = new RawReader({ socketPath, hostKey, cursor: stuck.cursor });
  await back.until(({ cursor }) => cursor !== "");
  expect([back.types[0], back.seq]).toEqual(["list", head]);
  for (const reader of [stuck, healthy, back]) reader.end();
});

test("B33 an event is made into text once, however many watch, and all of them share one batch", async () => {
  const rig = await Rig.start();
  const watchers = await Promise.all(Array.from({ length: 200 }, () => Watcher.open(rig.daemon)));
  const encode = JSON.stringify;
  let encoded = 0;
  JSON.stringify = ((value: unknown, ...rest: []) => {
    if (
      typeof value === "object" &&
      value !== null &&
      "event" in value &&
      "seq" in value &&
      (value as { event: { session_id?: string } }).event.session_id !== undefined
    )
      encoded += 1;
    return encode(value, ...rest);
  }) as typeof JSON.stringify;
  try {
    await rig.another("other");
    await Promise.all(watchers.map((watcher) => watcher.of("session_started")));
  } finally {
    JSON.stringify = encode;
  }
  expect(encoded).toBe(1);
});

describe("filters", () => {
  test("B31 by id, by directory and by both; a session made later in a watched directory appears", async () => {
    const rig = await Rig.start();
    const other = await rig.another("other");
    const byId = await Watcher.open(rig.daemon, { filter: { session_ids: [rig.sessionId] } });
    await symlink(join(rig.daemon.root, "later"), join(rig.daemon.root, "link"));
    const later = rig.daemon.root;
    const byName = await Watcher.open(rig.daemon, { filter: { workdir: join(later, "other", "..", "other") + "/" } });
    const both = await Watcher.open(rig.daemon, { filter: { session_ids: [rig.sessionId], workdir: other.workdir } });
    const made = await Watcher.open(rig.daemon, { filter: { workdir: join(later, "later") } });
    expect([byId, byName, both, made].map(({ sessions }) => [...sessions.keys()])).toEqual([[rig.sessionId], [other.sessionId], [], []]);
    const third = await rig.another("later");
    expect(await made.of("session_started")).toMatchObject([{ session_id: third.sessionId }]);
    const linked = await Watcher.open(rig.daemon, { filter: { workdir: join(later, "link") } });
    expect([...linked.sessions.keys()]).toEqual([third.sessionId]);
    await (await third.driver("third")).detach();
    await (await other.driver("other")).detach();
    await (await rig.driver("first")).detach();
    const drivers = async (watcher: Watcher) => (await watcher.of("driver_changed", 2)).map(({ session_id, driver }) => [session_id, driver]);
    expect(await drivers(byId)).toEqual([
      [rig.sessionId, "first"],
      [rig.sessionId, null],
    ]);
    expect(await drivers(byName)).toEqual([
      [other.sessionId, "other"],
      [other.sessionId, null],
    ]);
    expect(both.frames).toEqual([]);
  });

  test("B31 a directory that is gone is the key of its sessions still, by each of its names", async () => {
    const rig = await Rig.start();
    await symlink(rig.daemon.root, `${rig.daemon.root}/again`);
    await rm(rig.workdir, { recursive: true });
    for (const workdir of [rig.workdir, `${rig.workdir}/`, join(rig.daemon.root, "again/work")]) {
      const watcher = await Watcher.open(rig.daemon, { filter: { workdir } });
      expect([...watcher.sessions.keys()], workdir).toEqual([rig.sessionId]);
      const { sessions } = await rig.daemon.call("list_sessions", { workdir }, owner(rig));
      expect(
        sessions.map(({ session_id }) => session_id),
        workdir,
      ).toEqual([rig.sessionId]);
    }
  });

  test("B31 an empty filter is refused with words, and an unknown session is not found", async () => {
    const rig = await Rig.start();
    await expect(Watcher.open(rig.daemon, { filter: {} })).rejects.toMatchObject({
      code: "bad_request",
      detail: { reason: expect.stringContaining("an empty filter is refused") },
    });
    const unknown = `ses_${"0".repeat(22)}`;
    await expect(Watcher.open(rig.daemon, { filter: { session_ids: [rig.sessionId, unknown] } })).rejects.toMatchObject({
      code: "not_found",
      detail: { what: "session" },
    });
    // Who watched it before is told that it is gone, and keeps the others.
    const back = await Watcher.open(rig.daemon, { cursor: "otherboot:1", filter: { session_ids: [rig.sessionId, unknown] } });
    expect([...back.sessions.keys()]).toEqual([rig.sessionId]);
  });
});

test("B2 nothing that was put in, came out or lets somebody in travels to those who watch", async () => {
  const rig = await Rig.start();
  const watcher = await Watcher.open(rig.daemon);
  const secret = "PLANTED";
  const auth = owner(rig);
  const minted = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: "somebody" }, auth);
  const seatSecret = "a-seat-secret".padEnd(24, "-");
  const driver = await rig.driver("editor", { secret: seatSecret });
  await driver.prompt(`prompt ${secret}`);
  const turn = await rig.kind.turn();
  await work(driver, turn, secret);
  await turn.yield({ type: "agent_thought_chunk", message_id: "t1", content: { type: "text", text: `thought ${secret}` } });
  await driver.prompt(`queued ${secret}`);
  void turn.yield({ type: "turn_end", stop_reason: "failed", error: { code: "model_failed", message: `failure ${secret}` } });
  const second = await rig.kind.turn();
  await tool(second, "d1", "execute", [], secret);
  void second.ask("d1", { command: secret }, secret);
  await driver.approve(await driver.question(), "reject_once", `reason ${secret}`);
  second.end();
  await driver.event("turn_ended", 2);
  const later = await Watcher.open(rig.daemon);
  await stop(rig);
  await rig.startSession();
  await watcher.until(({ sessions }) => sessions.get(rig.sessionId)?.life_state === "live" && watcher.types.includes("session_stopped"));
  const said = watcher.text + later.text;
  // The stream did carry what it is for.
  for (const word of ["src/a.ts", "editor", "shell", "file_touched"]) expect(said).toContain(word);
  for (const word of [secret, rig.daemon.hostKey, rig.token, minted.token, "ssd_", seatSecret, "preview", "prm_", "digest"])
    expect(said, word).not.toContain(word);
});

test("B38 a session that cannot write says so to those who watch, and when it can again", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const watcher = await Watcher.open(rig.daemon);
  void disk.fail("write", "/journal");
  await rig.attach("viewer").catch(() => undefined);
  expect(await watcher.of("session_faulted")).toMatchObject([{ session_id: rig.sessionId, fault: { code: "storage_failed" } }]);
  expect(watcher.sessions.get(rig.sessionId)?.fault).toBeDefined();
  rig.clock.advance(5_000);
  expect((await watcher.of("session_faulted", 2))[1]).toEqual({ type: "session_faulted", session_id: rig.sessionId, fault: null });
  await agrees(watcher, rig);
});

test("B40 while the daemon drains a watcher is let in, sees the sessions go to rest, and is told shutting_down", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("work");
  await rig.kind.turn();
  const before = await Watcher.open(rig.daemon);
  const stopping = rig.daemon.stop(10_000);
  const during = await Watcher.open(rig.daemon);
  expect(during.sessions.get(rig.sessionId)).toMatchObject({ life_state: "live", status: "thinking" });
  rig.clock.advance(10_000);
  for (const watcher of [before, during]) {
    await watcher.until(({ end }) => end !== undefined);
    expect(watcher.end).toMatchObject({ code: "shutting_down" });
    expect(watcher.types.at(-1)).toBe("session_resting");
  }
  await stopping;
  expect(rig.daemon.bugs).toEqual([]);
});
