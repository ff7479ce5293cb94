import { chmodSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Connection, Door } from "@sessiond/client";
import { connect, sessionFromToken, unixSocket } from "@sessiond/client/node";
import { formatHostKey, limits, type SessiondError } from "@sessiond/shared";
import { describe, expect, test } from "vitest";
import { seatId, sessionId, token, WirePeer } from "../support/wire-peer.ts";
import { spoiled } from "../support/spoiled.ts";

const hostKey = formatHostKey("k".repeat(43));
const promptId = `prm_${"P".repeat(22)}`;
const approvalId = `apr_${"Q".repeat(22)}`;
const session = { session_id: sessionId };

const dialling = (peer: WirePeer): Connection => new Connection(new Door({ dial: unixSocket(peer.socket) }));
const failure = (work: Promise<unknown>): Promise<SessiondError> =>
  work.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error as SessiondError,
  );

describe("a lost link", () => {
  test("B21 a prompt whose answer was lost is sent again under the same id, on another connection", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    const sending = calls.call("send_prompt", { ...session, prompt_id: promptId, parts: [{ type: "text", text: "go" }], when_busy: "queue" }, { token });
    const first = await (await peer.sockets.next()).requests.next();
    first.peer.drop();
    const second = await (await peer.sockets.next()).requests.next();
    expect(second.verb).toBe("send_prompt");
    expect(second.input).toEqual(first.input);
    second.answer({ ...session, seq: 4, prompt_id: promptId, became: "started" });
    expect(await sending).toMatchObject({ seq: 4, became: "started" });
    calls.close();
  });

  test("a safe call under way survives a daemon that went and came back", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    const asking = calls.call("session_info", session, { token });
    await (await peer.sockets.next()).requests.next();
    await peer.stop();
    await peer.start();
    (await (await peer.sockets.next()).requests.next()).answer({ seq: 9 });
    expect(await asking).toMatchObject({ seq: 9 });
    calls.close();
  });

  test("a verb that must not be repeated is not, and its caller learns that it may have happened", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    const minting = calls.call("mint_token", { ...session, right: "view", label: "x" }, { host_key: hostKey });
    const socket = await peer.sockets.next();
    await socket.requests.next();
    socket.drop();
    const error = await failure(minting);
    expect(error.code).toBe("daemon_unreachable");
    expect(error.message).toContain("it may have happened");
    // The next call is the first thing that the next connection hears.
    const asking = calls.call("list_tokens", session, { token });
    const next = await (await peer.sockets.next()).requests.next();
    expect(next.verb).toBe("list_tokens");
    next.answer({ tokens: [] });
    await asking;
    calls.close();
  });

  test("calls wait for one new connection together", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    const both = Promise.all([calls.call("authorize", session, { token }), calls.call("session_info", session, { token })]);
    const first = await peer.sockets.next();
    await first.requests.next();
    await first.requests.next();
    first.drop();
    const second = await peer.sockets.next();
    for (const request of [await second.requests.next(), await second.requests.next()]) request.answer({ verb: request.verb });
    expect((await both).map((answer) => (answer as unknown as { verb: string }).verb)).toEqual(["authorize", "session_info"]);
    expect(peer.sockets.size).toBe(0);
    calls.close();
  });

  test("a daemon that stays away ends the call at its time, saying that nobody answered", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    await calls.open();
    await peer.stop();
    const error = await failure(calls.call("session_info", session, { token }, { timeoutMs: 1_000 }));
    expect(error.code).toBe("daemon_unreachable");
    calls.close();
  });

  test.each([
    { sentence: "B26 a repeated answer that had arrived after all counts as done", by: seatId, repeated: true, outcome: "done" },
    { sentence: "B26 a repeated answer that another seat was quicker with is refused", by: `seat_${"C".repeat(22)}`, repeated: true, outcome: "approval_gone" },
    { sentence: "B26 an answer refused at its first sending is refused", by: seatId, repeated: false, outcome: "approval_gone" },
  ])("$sentence", async ({ by, repeated, outcome }) => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    const alreadyDone = ({ code, detail }: SessiondError) =>
      code === "approval_gone" && detail["by_seat_id"] === seatId ? { seq: 1, option_id: "yes" } : undefined;
    const answering = calls.call("approve", { ...session, approval_id: approvalId, option_id: "yes", digest: "d" }, { token }, { alreadyDone }).then(
      () => "done",
      (error: SessiondError) => error.code,
    );
    let request = await (await peer.sockets.next()).requests.next();
    if (repeated) {
      request.peer.drop();
      request = await (await peer.sockets.next()).requests.next();
    }
    request.refuse("approval_gone", { outcome: "answered", option_id: "yes", by_seat_id: by });
    expect(await answering).toBe(outcome);
    calls.close();
  });

  test("B34 a half-open peer is noticed by its silence, and the call is taken elsewhere", async () => {
    await using peer = await WirePeer.listen({ autoPong: false, limits: { heartbeat_ms: 40, heartbeat_wait_ms: 40 } });
    const calls = dialling(peer);
    const asking = calls.call("session_info", session, { token });
    const stuck = await peer.sockets.next();
    await stuck.requests.next();
    // Nothing is said from here on; the socket stays open on this side.
    const second = await peer.sockets.next();
    expect(await stuck.closed).toBe(1006);
    (await second.requests.next()).answer({ seq: 1 });
    expect(await asking).toMatchObject({ seq: 1 });
    calls.close();
  });

  test("B34 a quiet peer that answers probes is left alone", async () => {
    await using peer = await WirePeer.listen({ limits: { heartbeat_ms: 20, heartbeat_wait_ms: 20 } });
    const calls = dialling(peer);
    const asking = calls.call("session_info", session, { token });
    const socket = await peer.sockets.next();
    const request = await socket.requests.next();
    // More probes than the time of silence allowed.
    for (let count = 0; count < 12; count++) await socket.pings.next();
    request.answer({ seq: 1 });
    expect(await asking).toMatchObject({ seq: 1 });
    expect(peer.sockets.size).toBe(0);
    calls.close();
  });
});

describe("a call's end", () => {
  test("no answer within its time is `timeout`; the connection serves the next", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    await calls.open();
    expect((await failure(calls.call("session_info", session, { token }, { timeoutMs: 30 }))).code).toBe("timeout");
    const socket = await peer.sockets.next();
    await socket.requests.next();
    const next = calls.call("authorize", session, { token });
    (await socket.requests.next()).answer({ right: "view" });
    expect(await next).toEqual({ right: "view" });
    calls.close();
  });

  test("its signal ends it as `cancelled`, before and after it was sent", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    expect((await failure(calls.call("session_info", session, { token }, { signal: AbortSignal.abort() }))).code).toBe("cancelled");
    const controller = new AbortController();
    const asking = calls.call("session_info", session, { token }, { signal: controller.signal });
    await (await peer.sockets.next()).requests.next();
    controller.abort();
    expect((await failure(asking)).code).toBe("cancelled");
    calls.close();
  });

  test("refusals come as their row of the table, with their facts", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    const first = failure(calls.call("release_queue", session, { token }));
    const socket = await peer.sockets.next();
    (await socket.requests.next()).refuse("not_driver", { driver: "vim" });
    expect(await first).toMatchObject({ name: "SessiondError", code: "not_driver", retry: "never", detail: { driver: "vim" } });
    const second = failure(calls.call("release_queue", session, { token }));
    (await socket.requests.next()).refuseStock("NOT_FOUND");
    expect(await second).toMatchObject({ code: "unknown_verb", detail: { verb: "release_queue" } });
    const third = failure(calls.call("release_queue", session, { token }));
    (await socket.requests.next()).refuse("a_code_of_tomorrow" as "internal");
    expect(await third).toMatchObject({ name: "SessiondError", code: "internal", detail: { code: "a_code_of_tomorrow" } });
    calls.close();
  });

  test("B7 a request over the limit is refused here, with the limit's name; nothing is sent", async () => {
    await using peer = await WirePeer.listen({ limits: { request_bytes_max: 1_000 } });
    const calls = dialling(peer);
    await calls.open();
    const error = await failure(
      calls.call("send_prompt", { ...session, prompt_id: promptId, parts: [{ type: "text", text: "é".repeat(600) }], when_busy: "queue" }, { token }),
    );
    expect(error).toMatchObject({ code: "limit_reached", detail: { limit: "request_bytes_max", value: 1_000, unit: "bytes" } });
    const next = calls.call("authorize", session, { token });
    const request = await (await peer.sockets.next()).requests.next();
    expect(request.verb).toBe("authorize");
    request.answer({});
    await next;
    calls.close();
  });

  test("a connection closed for a message too large fails the largest call and repeats the others", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    const large = calls.call(
      "send_prompt",
      { ...session, prompt_id: promptId, parts: [{ type: "text", text: "x".repeat(5_000) }], when_busy: "queue" },
      { token },
    );
    const small = calls.call("session_info", session, { token });
    const socket = await peer.sockets.next();
    await socket.requests.next();
    await socket.requests.next();
    socket.ws.close(1009);
    expect(await failure(large)).toMatchObject({ code: "limit_reached", detail: { limit: "request_bytes_max" } });
    const again = await (await peer.sockets.next()).requests.next();
    expect(again.verb).toBe("session_info");
    again.answer({ seq: 2 });
    expect(await small).toMatchObject({ seq: 2 });
    calls.close();
  });

  test("a closed handle refuses calls and ends those under way", async () => {
    await using peer = await WirePeer.listen();
    const calls = dialling(peer);
    const asking = failure(calls.call("session_info", session, { token }));
    await (await peer.sockets.next()).requests.next();
    calls.close();
    expect((await asking).code).toBe("daemon_unreachable");
    expect((await failure(calls.call("session_info", session, { token }))).detail).toEqual({ reason: "this handle is closed" });
  });
});

describe("the way to the daemon", () => {
  test("B41 versions that do not meet are refused with words", async () => {
    await using peer = await WirePeer.listen({ protocol: 9 });
    const error = await failure(dialling(peer).open());
    expect(error.code).toBe("protocol_mismatch");
    expect(error.message).toContain("client 1, daemon 9");
  });

  test("where nobody listens and nothing may be started, that is said at once", async () => {
    const dir = mkdtempSync(join(tmpdir(), "sessiond-none-"));
    const error = await failure(connect({ runtimeDir: dir, stateDir: dir, autoStart: false }));
    expect(error.code).toBe("daemon_unreachable");
    expect(error.message).toContain(`nothing listens at ${dir}/sock`);
  });

  test("a socket's path that the system would cut short is refused", async () => {
    const error = await failure(connect({ runtimeDir: `/tmp/${"d".repeat(limits.socket_path_bytes_max)}`, autoStart: false }));
    expect(error.code).toBe("daemon_unreachable");
    expect(error.message).toContain("more than 103");
  });

  test("B6 nothing is said to a socket in a directory that is open to others", async () => {
    await using peer = await WirePeer.listen();
    chmodSync(peer.dir, 0o755);
    const error = await failure(dialling(peer).open());
    expect(error.code).toBe("daemon_unreachable");
    expect(error.message).toContain("is open to others (mode 755)");
    expect(peer.sockets.size).toBe(0);
  });

  test("B38 a place that may not be looked at is a daemon that cannot be reached, in words", async () => {
    await using peer = await WirePeer.listen();
    // For root too, whom no mode keeps out.
    const loop = join(peer.dir, "loop");
    symlinkSync(loop, loop);
    const error = await failure(connect({ runtimeDir: join(loop, "run"), stateDir: peer.dir, autoStart: false }));
    expect(error.message).toContain(`${loop}/run cannot be looked at (ELOOP)`);
    expect(error.code).toBe("daemon_unreachable");
  });

  test("connect takes the host key from its file and sends it with each call", async () => {
    await using peer = await WirePeer.listen();
    const missing = await failure(connect({ runtimeDir: peer.dir, stateDir: peer.dir, autoStart: false }));
    expect(missing.code).toBe("unauthenticated");
    writeFileSync(join(peer.dir, "host-key"), `${hostKey}\n`);
    await using host = await connect({ runtimeDir: peer.dir, stateDir: peer.dir, autoStart: false });
    await peer.sockets.next();
    const listing = host.listSessions({ lifeState: "live" });
    const request = await (await peer.sockets.next()).requests.next();
    expect(request.input).toEqual({ life_state: "live", auth: { host_key: hostKey } });
    request.answer({ sessions: [], next: null });
    expect(await listing).toEqual({ sessions: [], next: null });
  });

  test("closing a host revokes the tokens it was given, and nothing else", async () => {
    await using peer = await WirePeer.listen();
    writeFileSync(join(peer.dir, "host-key"), hostKey);
    const host = await connect({ runtimeDir: peer.dir, stateDir: peer.dir, autoStart: false });
    const opening = host.sessionForWorkdir("/w");
    const socket = await peer.sockets.next();
    (await socket.requests.next()).answer({ session: { session_id: sessionId, workdir: "/w" }, token, token_id: "tok_1", created: true, differs: ["model"] });
    const made = await opening;
    expect(made).toMatchObject({ id: sessionId, workdir: "/w", token, created: true, differs: ["model"] });
    const closing = host.close();
    const request = await socket.requests.next();
    expect([request.verb, request.input["token_id"]]).toEqual(["revoke_token", "tok_1"]);
    request.answer({ revoked: ["tok_1"] });
    await closing;
    await socket.closed;
    expect(socket.requests.size).toBe(0);
  });

  test("a session from a token needs no host key, and a mistyped token no daemon", async () => {
    await using peer = await WirePeer.listen();
    const options = { runtimeDir: peer.dir, stateDir: "/nonexistent", autoStart: false };
    expect((await failure(sessionFromToken(spoiled(token), options))).code).toBe("unauthenticated");
    const opening = sessionFromToken(token, options);
    const socket = await peer.sockets.next();
    const request = await socket.requests.next();
    expect([request.verb, request.input]).toEqual(["session_info", { session_id: sessionId, auth: { token } }]);
    request.answer({ workdir: "/w" });
    const session = await opening;
    expect([session.id, session.workdir, session.created]).toEqual([sessionId, "/w", false]);
    // Not ours to revoke.
    await session.close();
    await socket.closed;
    expect(socket.requests.size).toBe(0);
  });
});
