import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { limits, type Auth } from "@sessiond/shared";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { removeRoot, startTestDaemon, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { at, hostAuth, idOf, makeWorkdir, seatSecretOf, tcpDoor } from "../support/gate-world.ts";
import { makeKey, opens, revokeKey, rotateKey } from "../support/key-world.ts";
import { plainRequest } from "../support/plain-http.ts";
import { RawSocket, type RawReply } from "../support/raw-socket.ts";

/** Keys on real connections, by both doors: the connection ends with the credential that was used on it, and who asked for that has the answer first. */
let clock: FakeClock;
let daemon: TestDaemon;
let tcp: string;
const sockets: RawSocket[] = [];
beforeEach(async () => {
  clock = new FakeClock();
  daemon = await startTestDaemon({ clock, listen: "127.0.0.1:0" });
  tcp = await tcpDoor(daemon);
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  expect(daemon.bugs).toEqual([]);
  await daemon.stop(0);
  await removeRoot(daemon.root);
});
const owner = (): Auth => hostAuth(daemon);
const ended = 4001;

for (const door of ["unix", "tcp"] as const) {
  const dial = async (): Promise<RawSocket> => {
    const socket = await RawSocket.open(door === "unix" ? daemon.socketPath : tcp);
    sockets.push(socket);
    return socket;
  };
  const ask = (socket: RawSocket, kind: string, verb: string, auth: Auth, input: object = {}): Promise<RawReply> =>
    socket.call(kind, verb, JSON.stringify({ ...input, auth }));
  /** The error with which a stream ends, whatever came before it. */
  const endOf = async (socket: RawSocket): Promise<RawReply["error"]> => {
    const { error } = await socket.next();
    return error ?? endOf(socket);
  };
  const codeOf = (reply: RawReply): string => reply.error?.data.code ?? "ok";

  describe(`by the ${door} door`, () => {
    test("B1 B4 revoked: each connection that used the key is closed with 4001, its streams having said why; others stay open", async () => {
      const [made, other] = [await makeKey(daemon), await makeKey(daemon)];
      const [called, watching, both, stranger] = [await dial(), await dial(), await dial(), await dial()];
      for (const socket of [called, both]) expect(codeOf(await ask(socket, "query", "list_sessions", made.auth))).toBe("ok");
      for (const socket of [both, stranger]) expect(codeOf(await ask(socket, "query", "list_sessions", other.auth))).toBe("ok");
      // One that the key was refused on has nothing of it.
      expect(codeOf(await ask(stranger, "query", "daemon_status", made.auth))).toBe("role_too_small");
      await ask(watching, "subscription", "watch_sessions", made.auth);
      const end = endOf(watching);
      await revokeKey(daemon, made);
      expect(await end).toMatchObject({ data: { code: "token_ended", detail: { cause: "revoked" } } });
      expect(await Promise.all([called, watching, both].map(({ closed }) => closed))).toEqual([ended, ended, ended]);
      expect(codeOf(await ask(stranger, "query", "list_sessions", other.auth))).toBe("ok");
      expect(codeOf(await ask(stranger, "query", "list_sessions", made.auth))).toBe("unauthenticated");
    });

    test("B4 expired, or rotated out and its overlap over: closed in that very millisecond, and those of the new secret stay", async () => {
      const short = await makeKey(daemon, { ttl_ms: 10_000 });
      const before = await makeKey(daemon);
      const now = await rotateKey(daemon, before, 10_000);
      const [onShort, onOld, onNew] = [await dial(), await dial(), await dial()];
      for (const [socket, auth] of [
        [onShort, short.auth],
        [onOld, before.auth],
        [onNew, now.auth],
      ] as const)
        expect(codeOf(await ask(socket, "query", "list_sessions", auth))).toBe("ok");
      clock.advance(9_999);
      for (const [socket, auth] of [
        [onShort, short.auth],
        [onOld, before.auth],
      ] as const)
        expect(codeOf(await ask(socket, "query", "list_sessions", auth))).toBe("ok");
      clock.advance(1);
      expect([await onShort.closed, await onOld.closed]).toEqual([ended, ended]);
      expect(codeOf(await ask(onNew, "query", "list_sessions", now.auth))).toBe("ok");
    });

    test("B4 a key that renews itself has its new secret before the connection of the old one is closed; one that revokes itself has the answer", async () => {
      const made = await makeKey(daemon);
      const socket = await dial();
      const { data } = await ask(socket, "mutation", "rotate_key", made.auth, { key_id: made.id });
      expect(await socket.closed).toBe(ended);
      const auth = { api_key: (data as { key: string }).key };
      expect(await opens(daemon, auth)).toBe("ok");
      const again = await dial();
      const revoked = await ask(again, "mutation", "revoke_key", auth, { key_id: made.id });
      expect(revoked.data).toEqual({ revoked: [made.id] });
      expect(await again.closed).toBe(ended);
    });

    test("B4 a session's stream on a token that was given to the key ends with the cause, on a connection that the key never saw", async () => {
      const made = await makeKey(daemon);
      const { session, token } = await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon), model: "practice" }, made.auth);
      const socket = await dial();
      await ask(socket, "subscription", "attach", { token, seat_secret: seatSecretOf("A") }, { session_id: session.session_id, role: "viewer", label: "w" });
      const end = endOf(socket);
      await revokeKey(daemon, made);
      expect(await end).toMatchObject({ data: { code: "token_ended", detail: { cause: "revoked" } } });
      expect(codeOf(await ask(socket, "query", "authorize", { token }, { session_id: session.session_id }))).toBe("unauthenticated");
    });

    test("B46 who came by a key has no file tool that reads the daemon's own files, nor a session in its directories", async () => {
      const made = await makeKey(daemon);
      const socket = await dial();
      const workdir = await makeWorkdir(daemon);
      await symlink(at(daemon), join(workdir, "link"));
      for (const own of [at(daemon), join(workdir, "link")])
        expect(codeOf(await ask(socket, "mutation", "start_or_get_for_workdir", made.auth, { workdir: own }))).toBe("workdir_invalid");
      const { data } = await ask(socket, "mutation", "start_or_get_for_workdir", made.auth, { workdir, model: "practice" });
      const { session, token } = data as { session: { session_id: string }; token: string };
      const { session_id } = session;
      const auth = { token, seat_secret: seatSecretOf("A") };
      const stream = await dial();
      await ask(stream, "subscription", "attach", auth, { session_id, role: "driver", label: "d" });
      const text = `read ${at(daemon, "host-key")} then read link/keys.json then list link`;
      await ask(socket, "mutation", "send_prompt", auth, { session_id, prompt_id: idOf("prm", "P"), parts: [{ type: "text", text }], when_busy: "queue" });
      while (!stream.received.join("").includes("turn_ended")) await stream.next();
      const told = stream.received.join("");
      expect(told.match(/"status":"failed"/g)).toHaveLength(3);
      for (const secret of [daemon.hostKey.slice(5, -6), createHash("sha256").update(made.key).digest("hex"), "format.json"])
        expect(told).not.toContain(secret);
    });

    test("B8 what a key does leaves its id in the audit line, and over TCP the address that it came from", async () => {
      const made = await makeKey(daemon);
      const socket = await dial();
      const { data } = await ask(socket, "mutation", "create_key", made.auth, { name: "child", scopes: ["sessions:list"], roots: [daemon.root] });
      await ask(socket, "mutation", "shut_down", made.auth);
      await daemon.stop(0);
      const lines = readFileSync(at(daemon, "audit.jsonl"), "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter(({ key }) => key === made.id);
      const peer = door === "tcp" ? { peer: expect.stringMatching(/^127\.0\.0\.1/) as unknown } : {};
      expect(lines).toEqual([
        { at: expect.anything() as unknown, verb: "create_key", key: made.id, outcome: "ok", ms: 0, ...peer },
        { at: expect.anything() as unknown, verb: "shut_down", key: made.id, outcome: "role_too_small", ms: 0, ...peer },
      ]);
      expect(JSON.stringify(lines)).not.toContain((data as { key: string }).key.slice(-38));
    });
  });
}

test("B4 a peer that does not take its leave when its key ends is cut, and keeps no place", async () => {
  const made = await makeKey(daemon);
  const deaf = new WebSocket(`ws+unix://${daemon.socketPath}:/`);
  await new Promise((resolve) => deaf.once("open", resolve));
  deaf.send(JSON.stringify({ id: 1, method: "query", params: { path: "list_sessions", input: { auth: made.auth } } }));
  await new Promise((resolve) => deaf.once("message", resolve));
  deaf.pause();
  await revokeKey(daemon, made);
  for (let turns = 0; turns < 10; turns++) await turn();
  clock.advance(limits.heartbeat_wait_ms - 1);
  for (let turns = 0; turns < 10; turns++) await turn();
  expect(daemon.door.connections).toBe(1);
  clock.advance(1);
  await expect.poll(() => daemon.door.connections, { timeout: 5_000 }).toBe(0);
  deaf.terminate();
});

describe("the host key", () => {
  test("B4 rotated: what was opened with the one before ends, its watch having said why and who asked having been answered; what was opened with others stays", async () => {
    const dial = async (): Promise<RawSocket> => {
      const socket = await RawSocket.open(daemon.socketPath);
      sockets.push(socket);
      return socket;
    };
    const [called, watching, stranger, late] = [await dial(), await dial(), await dial(), await dial()];
    const [made, old] = [await makeKey(daemon), owner()];
    const ask = (socket: RawSocket, kind: string, verb: string, auth: Auth) => socket.call(kind, verb, JSON.stringify({ auth }));
    await ask(stranger, "query", "list_sessions", made.auth);
    await ask(watching, "subscription", "watch_sessions", old);
    const next = watching.next();
    const { data, error } = await ask(called, "mutation", "rotate_host_key", old);
    expect([data, error]).toEqual([{ file: at(daemon, "host-key") }, undefined]);
    expect((await next).error).toMatchObject({ data: { code: "token_ended", detail: { cause: "revoked" } } });
    expect(await Promise.all([called.closed, watching.closed])).toEqual([ended, ended]);
    expect((await ask(late, "query", "list_sessions", old)).error?.data.code).toBe("unauthenticated");
    const now = { host_key: readFileSync(at(daemon, "host-key"), "utf8").trim() };
    expect((await ask(stranger, "query", "list_sessions", made.auth)).error).toBeUndefined();
    expect((await ask(late, "query", "list_sessions", now)).error).toBeUndefined();
  });

  test("B1 over TCP it opens nothing, beside whatever else, and says so as to anybody", async () => {
    const made = await makeKey(daemon);
    const socket = await RawSocket.open(tcp);
    sockets.push(socket);
    for (const [verb, auth] of [
      ["daemon_status", owner()],
      ["list_sessions", owner()],
      ["list_sessions", { ...owner(), ...made.auth }],
    ] as const) {
      const { error } = await socket.call("query", verb, JSON.stringify({ auth }));
      expect(error?.data.code, verb).toBe("unauthenticated");
    }
    expect((await socket.call("query", "list_sessions", JSON.stringify({ auth: made.auth }))).error).toBeUndefined();
  });

  test("B1 B2 it is rotated by the host key alone: the one before is refused from then on, at the page of figures too, and the file has the new one", async () => {
    const made = await makeKey(daemon);
    for (const auth of [made.auth, undefined])
      await expect(daemon.call("rotate_host_key", {}, auth)).rejects.toMatchObject({ code: auth === undefined ? "unauthenticated" : "role_too_small" });
    const before = owner();
    const { file } = await daemon.call("rotate_host_key", {}, before);
    expect(file).toBe(at(daemon, "host-key"));
    const now = { host_key: readFileSync(file, "utf8").trim() };
    expect(now).not.toEqual(before);
    expect([await opens(daemon, before), await opens(daemon, now)]).toEqual(["unauthenticated", "ok"]);
    const page = async ({ host_key }: Auth) => (await plainRequest(daemon.socketPath, "/metrics", { authorization: `Bearer ${host_key}` })).status;
    expect([await page(before), await page(now)]).toEqual([401, 200]);
    // Two who ask at once get one key, and both find it.
    const asked = await Promise.all([daemon.call("rotate_host_key", {}, now), daemon.call("rotate_host_key", {}, now)]);
    expect(asked.map((each) => each.file)).toEqual([file, file]);
    const last = { host_key: readFileSync(file, "utf8").trim() };
    expect([await opens(daemon, now), await opens(daemon, last), await opens(daemon, made.auth)]).toEqual(["unauthenticated", "ok", "ok"]);
  });
});
