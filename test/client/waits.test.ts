import { afterEach, describe, expect, test } from "vitest";
import type { HostSession, Session, WaitGoal } from "@sessiond/client";
import { limits } from "@sessiond/shared";
import { failure } from "../support/attached-seat.ts";
import { ClientRig } from "../support/client-rig.ts";
import { endRigs, type RigOptions, type TestSeat } from "../support/session-rig.ts";

/** Waiting for a session, by the host key and by a token alone: the same answers, on different ways. */
let house: ClientRig;
afterEach(async () => {
  await house.close();
  await endRigs();
});

const start = async (options: RigOptions = {}): Promise<ClientRig> => (house = await ClientRig.start(options));

const ways: Record<string, () => Promise<HostSession | Session>> = {
  "the host key": async () => (await house.host()).session(house.rig.sessionId),
  "a session of the host": async () => (await house.host()).sessionForWorkdir(house.rig.workdir),
  "a control token": () => house.session(),
  "a view token": () => house.session("guest", "view"),
};
const byHostKey = ["the host key", "a session of the host"];
const handle = (way: string): Promise<HostSession | Session> => ways[way]?.() ?? Promise.reject(new Error(`no way ${way}`));

/** Seats that were ever taken, by label. */
const seated = async (): Promise<string[]> => (await house.rig.journal()).flatMap(({ event }) => (event.type === "seat_taken" ? [event.label] : []));

/** A wait that has looked and found that it is not so: it watches, or sits. */
async function watching(way: string, goal: WaitGoal, driver: TestSeat): Promise<{ done: Promise<{ status?: string }>; session: HostSession | Session }> {
  const session = await handle(way);
  const done = session.waitFor(goal);
  done.catch(() => undefined);
  if (!byHostKey.includes(way)) await driver.until((seat) => seat.state.seats.length > 1);
  return { done, session };
}

describe.each(Object.keys(ways))("with %s", (way) => {
  test("B24 a wait for what is so already is over at once, and takes no seat", async () => {
    const { rig } = await start();
    const session = await handle(way);
    expect(await session.waitFor("idle")).toMatchObject({ session_id: rig.sessionId, workdir: rig.workdir, life_state: "live", status: "idle", approvals: [] });
    const driver = await rig.driver();
    await driver.prompt("work");
    const turn = await rig.kind.turn();
    await turn.call("c1");
    void turn.ask("c1");
    await driver.question();
    expect(await session.waitFor("approval")).toMatchObject({ approvals: [{ tool: "shell" }] });
    await rig.stop();
    expect((await session.waitFor("stopped")).life_state).toBe("stopped");
    expect(await seated()).toEqual(["driver"]);
  });

  test("B24 a wait ends with the turn, whatever came between, and leaves no seat behind", async () => {
    const { rig } = await start();
    const driver = await rig.driver();
    await driver.prompt("work");
    const turn = await rig.kind.turn();
    const { done } = await watching(way, "idle", driver);
    await turn.call("c1");
    const answer = turn.ask("c1");
    await driver.approve(await driver.question());
    await answer;
    await turn.update("c1", "in_progress");
    await turn.update("c1", "completed", "done");
    turn.end();
    expect(await done).toMatchObject({ life_state: "live", status: "idle", last_turn: { turn_id: turn.turnId, stop_reason: "end_turn" } });
    await driver.until((seat) => seat.state.seats.length === 1);
    expect(await seated()).toEqual(byHostKey.includes(way) ? ["driver"] : ["driver", driver.state.seats.length === 1 ? expect.any(String) : ""]);
  });

  test("B24 a session is not idle between two prompts, and is when what is queued is held", async () => {
    const { rig } = await start();
    const driver = await rig.driver();
    await driver.prompt("one");
    await driver.prompt("two");
    await driver.prompt("three");
    const { done } = await watching(way, "idle", driver);
    let over = false;
    void done.then(() => (over = true));
    (await rig.kind.turn()).end();
    const second = await rig.kind.turn();
    expect(over).toBe(false);
    await rig.interrupt(second.turnId);
    expect(await done).toMatchObject({ status: "idle", last_turn: { turn_id: second.turnId, stop_reason: "cancelled" } });
  });

  test("B24 a wait for a question ends when one is asked", async () => {
    const { rig } = await start();
    const driver = await rig.driver();
    const { done } = await watching(way, "approval", driver);
    await driver.prompt("work");
    const turn = await rig.kind.turn();
    await turn.call("c1");
    void turn.ask("c1");
    const [question] = ((await done) as { approvals: { approval_id: string }[] }).approvals;
    expect(question?.approval_id).toBe((await driver.question()).approval_id);
  });

  test("B35 a session that stops ends a wait for its stop, and fails the others with session_stopped", async () => {
    const { rig } = await start();
    const driver = await rig.driver();
    await driver.prompt("work");
    await rig.kind.turn();
    const { done, session } = await watching(way, "stopped", driver);
    const idle = failure(session.waitFor("idle"));
    const approval = failure(session.waitFor("approval"));
    if (!byHostKey.includes(way)) await driver.until((seat) => seat.state.seats.length > 3);
    await rig.stop();
    expect(await done).toMatchObject({ life_state: "stopped" });
    expect([(await idle).code, (await approval).code]).toEqual(["session_stopped", "session_stopped"]);
    expect((await failure(session.waitFor("idle"))).code).toBe("session_stopped");
  });

  test("B24 a wait ends by its time, by its signal, and with its handle, and leaves no seat behind", async () => {
    const { rig } = await start();
    const driver = await rig.driver();
    await driver.prompt("work");
    await rig.kind.turn();
    const { done, session } = await watching(way, "idle", driver);
    expect(await failure(session.waitFor("idle", { timeoutMs: 20 }))).toMatchObject({ code: "timeout", detail: { timeout_ms: 20 } });
    const given = new AbortController();
    const cancelled = failure(session.waitFor("idle", { signal: given.signal }));
    given.abort();
    expect((await cancelled).code).toBe("cancelled");
    const last = failure(done);
    await house.close();
    expect((await last).code).toBe("daemon_unreachable");
    await driver.until((seat) => seat.state.seats.length === 1);
  });

  test("B31 a wait goes on across a restart of the daemon", async () => {
    const { rig } = await start();
    const driver = await rig.driver();
    await driver.prompt("work");
    const turn = await rig.kind.turn();
    await turn.call("c1");
    void turn.ask("c1");
    await driver.question();
    const { done } = await watching(way, "idle", driver);
    let over = false;
    void done.then(() => (over = true));
    await house.end();
    await house.begin();
    // The turn was parked with its question, and goes on when it is answered.
    const again = await house.rig.driver("again", { force: true });
    const question = await again.question();
    expect(over).toBe(false);
    const resumed = house.rig.kind.turn();
    await again.approve(question);
    (await resumed).end();
    expect(await done).toMatchObject({ status: "idle", last_turn: { stop_reason: "end_turn" } });
  });
});

test("B13 by the host key a resting session is idle, and is not woken to find that out", async () => {
  const { rig } = await start();
  await rig.daemon.call("detach", { session_id: rig.sessionId }, (await rig.driver()).auth);
  rig.clock.advance(limits.rest_after_ms + 1);
  const host = await house.host();
  const watch = host.observe().watch();
  while (watch.sessions.get(rig.sessionId)?.life_state !== "resting") await watch.changed();
  expect(await host.session(rig.sessionId).waitFor("idle")).toEqual({ session_id: rig.sessionId, workdir: rig.workdir, life_state: "resting", approvals: [] });
  expect((await host.listSessions()).sessions).toMatchObject([{ session_id: rig.sessionId, life_state: "resting" }]);
});

test("B1 a wait for a session that is not there is not_found to the host key, and unauthenticated to a foreign token", async () => {
  await start();
  expect((await failure((await house.host()).session(`ses_${"x".repeat(22)}`).waitFor("idle"))).code).toBe("not_found");
  const session = await house.session();
  const { token_id } = await session.authorize();
  await house.rig.daemon.call("revoke_token", { session_id: house.rig.sessionId, token_id }, { host_key: house.rig.daemon.hostKey });
  expect((await failure(session.waitFor("idle"))).code).toBe("unauthenticated");
});

test("B4 a wait whose token ends meanwhile says so", async () => {
  const { rig } = await start();
  const driver = await rig.driver();
  await driver.prompt("work");
  await rig.kind.turn();
  const { done, session } = await watching("a view token", "idle", driver);
  const { token_id } = await (session as Session).authorize();
  await rig.daemon.call("revoke_token", { session_id: rig.sessionId, token_id }, { host_key: rig.daemon.hostKey });
  expect((await failure(done)).code).toBe("token_ended");
});

test("B15 B40 a viewer that comes back while the daemon leaves is told so, not that the session had stopped", async () => {
  const { rig } = await start();
  const viewer = await rig.attach("viewer");
  const ending = house.end();
  await viewer.until(({ end }) => end !== undefined);
  expect(viewer.end?.code).toBe("shutting_down");
  expect((await failure(rig.attach("again"))).code).toBe("shutting_down");
  await ending;
});
