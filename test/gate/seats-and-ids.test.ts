import { afterEach, beforeEach, expect, test } from "vitest";
import { at, eventsOf, filesOf, hold, idOf, makeWorld, seatSecretOf, tcpDoor, type World } from "../support/gate-world.ts";
import { RawSocket } from "../support/raw-socket.ts";

let world: World;
beforeEach(async () => void (world = await makeWorld({ listen: "127.0.0.1:0" })));
afterEach(() => world.close());

test("B3 an id that the client proposes is refused, wherever it is proposed, and nothing has happened", async () => {
  const { daemon, sessionId, auths } = world;
  const before = filesOf(at(daemon));
  const proposals: [string, object, object][] = [
    ["start_session", { request_id: idOf("req", "N"), workdir: daemon.root, id: idOf("ses", "N") }, auths.owner],
    ["start_or_get_for_workdir", { workdir: daemon.root, session_id: idOf("ses", "N") }, auths.owner],
    ["attach", { session_id: sessionId, role: "viewer", label: "x", seat_id: idOf("seat", "N") }, { ...auths.control, seat_secret: seatSecretOf("N") }],
    ["mint_token", { session_id: sessionId, right: "view", label: "x", token_id: idOf("tok", "N") }, auths.driver],
    [
      "send_prompt",
      { session_id: sessionId, prompt_id: idOf("prm", "N"), parts: [{ type: "text", text: "hi" }], when_busy: "queue", turn_id: idOf("trn", "N") },
      auths.driver,
    ],
  ];
  for (const [verb, input, auth] of proposals) {
    const call = verb === "attach" ? hold(daemon, input as never, auth) : daemon.call(verb as "mint_token", input as never, auth);
    await expect(call, verb).rejects.toMatchObject({ code: "bad_request", detail: { reason: "input: unknown field" } });
  }
  expect(filesOf(at(daemon))).toEqual(before);
});

test("B3 a session id that the client made up names nothing, also for the host key", async () => {
  const { daemon, auths } = world;
  const count = daemon.host.list().length;
  await expect(daemon.call("start_session", { request_id: idOf("req", "N"), session_id: idOf("ses", "N") }, auths.owner)).rejects.toMatchObject({
    code: "not_found",
  });
  expect(daemon.host.list()).toHaveLength(count);
});

test("B3 every identity is minted by the daemon, with its kind and 131 bits, and no two are the same", async () => {
  const { daemon, sessionId, auths, facts } = world;
  const info = await daemon.call("session_info", { session_id: sessionId }, auths.owner);
  const { tokens } = await daemon.call("list_tokens", { session_id: sessionId }, auths.owner);
  const ids = [
    sessionId,
    world.foreignSessionId,
    ...info.seats.map((seat) => seat.seat_id),
    ...tokens.map((token) => token.token_id),
    String(facts["turn_id"]),
    String(facts["approval_id"]),
  ];
  for (const id of ids) expect(id).toMatch(/^(ses|seat|tok|trn|apr)_[0-9A-Za-z]{22}$/);
  expect(new Set(ids.map((id) => id.split("_")[1])).size).toBe(ids.length);
});

test("B3 the driver's secret with another control token neither acts nor takes the seat over", async () => {
  const { daemon, sessionId, auths } = world;
  const thief = { ...auths.control, seat_secret: auths.driver.seat_secret ?? "" };
  const before = filesOf(at(daemon));
  for (const role of ["driver", "viewer"] as const)
    await expect(hold(daemon, { session_id: sessionId, role }, thief)).rejects.toMatchObject({ code: "not_attached" });
  await expect(daemon.call("detach", { session_id: sessionId }, thief)).rejects.toMatchObject({ code: "not_attached" });
  expect(filesOf(at(daemon))).toEqual(before);
});

test("B3 a seat belongs to the token that took it also while its connection is lost, and after a restart's worth of grace", async () => {
  const { daemon, sessionId, auths } = world;
  const secret = seatSecretOf("L");
  const lost = await hold(daemon, { session_id: sessionId, role: "viewer" }, { ...auths.control, seat_secret: secret });
  const watcher = await hold(daemon, { session_id: sessionId, role: "viewer" }, { ...auths.control, seat_secret: seatSecretOf("W") });
  lost.close();
  await watcher.until(() => eventsOf(watcher).some((event) => event.type === "seat_lost"));
  await expect(hold(daemon, { session_id: sessionId, role: "viewer" }, { ...auths.driver, seat_secret: secret })).rejects.toMatchObject({
    code: "not_attached",
  });
  const again = await hold(daemon, { session_id: sessionId, role: "viewer" }, { ...auths.control, seat_secret: secret });
  expect(again.first.type !== "batch" && again.first.seat?.seat_id).toBe(lost.first.type !== "batch" && lost.first.seat?.seat_id);
  again.close();
  watcher.close();
});

test("B3 a seat secret is the client's and must be long: none or a short one gets no seat", async () => {
  const { daemon, sessionId, auths } = world;
  const before = filesOf(at(daemon));
  for (const seat_secret of [undefined, "", "short", "x".repeat(21), "x".repeat(65), "sp ace".repeat(5)]) {
    const auth = { ...auths.control, ...(seat_secret !== undefined && { seat_secret }) };
    await expect(hold(daemon, { session_id: sessionId, role: "viewer" }, auth)).rejects.toMatchObject({ code: "bad_request" });
  }
  expect(filesOf(at(daemon))).toEqual(before);
});

test.each(["the unix socket", "TCP"])("B3 B5 a viewer who tries everything over %s gets what his column says, and the session has not moved", async (door) => {
  const { daemon, sessionId, auths } = world;
  const socket = await RawSocket.open(door === "TCP" ? await tcpDoor(daemon) : daemon.socketPath);
  const before = filesOf(at(daemon));
  const auth = JSON.stringify(auths.viewViewer);
  const { facts } = world;
  const outcomes: Record<string, string> = {};
  const say = async (verb: string, fields: readonly string[]) => {
    const input = Object.fromEntries(["session_id", ...fields].map((field) => [field, facts[field]]));
    const { error } = await socket.call("mutation", verb, `${JSON.stringify(input).slice(0, -1)},"auth":${auth}}`);
    outcomes[verb] = error?.data.code ?? "ok";
  };
  await say("send_prompt", ["prompt_id", "parts", "when_busy"]);
  await say("approve", ["approval_id", "option_id", "digest"]);
  await say("interrupt", ["turn_id"]);
  await say("stop", []);
  await say("mint_token", ["right", "label"]);
  await say("shut_down", []);
  expect(outcomes).toEqual({
    send_prompt: "role_too_small",
    approve: "role_too_small",
    interrupt: "role_too_small",
    stop: "role_too_small",
    mint_token: "role_too_small",
    shut_down: "unauthenticated",
  });
  expect(filesOf(at(daemon))).toEqual(before);
  expect((await daemon.call("session_info", { session_id: sessionId }, auths.owner)).status).toBe("awaiting_approval");
  socket.close();
});

test("B5 a view token is pinned to its one session and cannot become more by attaching as driver", async () => {
  const { daemon, sessionId, foreignSessionId, auths } = world;
  const auth = { ...auths.view, seat_secret: seatSecretOf("N") };
  await expect(hold(daemon, { session_id: foreignSessionId, role: "viewer" }, auth)).rejects.toMatchObject({ code: "unauthenticated" });
  await expect(hold(daemon, { session_id: sessionId, role: "driver" }, auth)).rejects.toMatchObject({ code: "role_too_small", detail: { needs: "control" } });
  // Its own viewer's seat stays a viewer's, whatever role it resumes with.
  await expect(hold(daemon, { session_id: sessionId, role: "driver" }, auths.viewViewer)).rejects.toMatchObject({ code: "role_too_small" });
});
