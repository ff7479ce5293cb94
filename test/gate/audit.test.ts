import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { Audit } from "../../packages/daemon/src/audit.ts";
import { at, hold, idOf, makeWorkdir, makeWorld, seatSecretOf, type World } from "../support/gate-world.ts";
import { RawSocket } from "../support/raw-socket.ts";

interface Line {
  readonly at: string;
  readonly verb: string;
  readonly outcome: string;
  readonly ms?: number;
  readonly session?: string;
  readonly seat?: string;
  readonly token?: string;
  readonly count?: number;
}

let world: World;
beforeEach(async () => void (world = await makeWorld()));
afterEach(() => world.close());

let marks = 0;
beforeEach(() => void (marks = 0));
const isMark = (line: Line) => line.verb === "interrupt" && line.session === world.foreignSessionId;

/** Lines are written in order, so once a mark's line is there, so are all before it. */
async function lines(): Promise<Line[]> {
  const { daemon, foreignSessionId, auths } = world;
  await daemon.call("interrupt", { session_id: foreignSessionId, turn_id: idOf("trn", "M") }, auths.owner);
  marks += 1;
  const path = at(daemon, "audit.jsonl");
  const read = () => (existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : []).filter(Boolean).map((line) => JSON.parse(line) as Line);
  await expect.poll(() => read().filter(isMark)).toHaveLength(marks);
  return read().filter((line) => !isMark(line));
}

async function linesOf(work: () => Promise<unknown>): Promise<Line[]> {
  const before = (await lines()).length;
  await work();
  return (await lines()).slice(before);
}

const tokenIdOf = async (auth: { token?: string }) => (await world.daemon.call("authorize", { session_id: world.sessionId }, auth)).token_id;
const refused = (call: Promise<unknown>) =>
  call.then(
    () => expect.unreachable("it was let in"),
    () => undefined,
  );

test("B8 each mutation leaves one line: time, verb, session, seat, token, outcome, milliseconds", async () => {
  const { daemon, sessionId: session_id, auths, facts, driverSeatId, clock } = world;
  const token = await tokenIdOf(auths.driver);
  const found = await linesOf(async () => {
    await daemon.call("send_prompt", { session_id, prompt_id: idOf("prm", "A"), parts: [{ type: "text", text: "say hi" }], when_busy: "queue" }, auths.driver);
    await daemon.call("mint_token", { session_id, right: "view", label: "x" }, auths.driver);
    await daemon.call("interrupt", { session_id, turn_id: String(facts["turn_id"]) }, auths.owner);
    await daemon.call("release_queue", { session_id }, auths.driver);
  });
  const base = { at: new Date(clock.now()).toISOString(), session: session_id, outcome: "ok", ms: 0 };
  expect(found).toEqual([
    { ...base, verb: "send_prompt", seat: driverSeatId, token },
    { ...base, verb: "mint_token", token },
    { ...base, verb: "interrupt" },
    { ...base, verb: "release_queue", seat: driverSeatId, token },
  ]);
});

test("B8 the line of a start names the session that it gave", async () => {
  const { daemon, auths } = world;
  let ids: string[] = [];
  const workdir = await makeWorkdir(daemon, "audited");
  const found = await linesOf(async () => {
    const one = await daemon.call("start_session", { request_id: idOf("req", "A"), workdir }, auths.owner);
    const two = await daemon.call("start_or_get_for_workdir", { workdir }, auths.owner);
    ids = [one.session.session_id, two.session.session_id];
  });
  expect(found.map((line) => [line.verb, line.session, line.outcome])).toEqual([
    ["start_session", ids[0], "ok"],
    ["start_or_get_for_workdir", ids[1], "ok"],
  ]);
});

test("B8 a mutation that fails in its handler leaves its line, with the code", async () => {
  const { daemon, sessionId: session_id, auths, driverSeatId } = world;
  const token = await tokenIdOf(auths.driver);
  const found = await linesOf(() => refused(daemon.call("withdraw_prompt", { session_id, prompt_id: idOf("prm", "Z") }, auths.driver)));
  expect(found).toMatchObject([{ verb: "withdraw_prompt", session: session_id, outcome: "prompt_gone", seat: driverSeatId, token }]);
});

test("B8 each refusal leaves a line, of a query too; the token stands in it where one was recognised", async () => {
  const { daemon, sessionId: session_id, auths } = world;
  const view = await tokenIdOf(auths.view);
  const control = await tokenIdOf(auths.controlViewer);
  const found = await linesOf(async () => {
    await refused(daemon.call("session_info", { session_id }));
    await refused(daemon.call("session_info", { session_id }, auths.revoked));
    await refused(daemon.call("list_sessions", {}, auths.driver));
    await refused(daemon.call("list_tokens", { session_id }, auths.view));
    await refused(daemon.call("release_queue", { session_id }, auths.control));
    await refused(daemon.call("release_queue", { session_id }, auths.controlViewer));
    await refused(hold(daemon, { session_id, role: "driver" }, { ...auths.view, seat_secret: seatSecretOf("N") }));
  });
  const line = (verb: string, outcome: string, token?: string) => ({
    at: expect.any(String) as string,
    verb,
    outcome,
    ms: 0,
    session: session_id,
    ...(token && { token }),
  });
  const { session: _session, ...without } = line("list_sessions", "unauthenticated");
  expect(found).toEqual([
    line("session_info", "unauthenticated"),
    line("session_info", "unauthenticated"),
    without,
    line("list_tokens", "role_too_small", view),
    line("release_queue", "not_attached", control),
    line("release_queue", "not_driver", control),
    line("attach", "role_too_small", view),
  ]);
});

test("B8 each attach leaves one line with its seat, over the socket too, and each session_data by a token; other queries none", async () => {
  const { daemon, sessionId: session_id, auths } = world;
  const token = await tokenIdOf(auths.control);
  const auth = { ...auths.control, seat_secret: seatSecretOf("S") };
  const socket = await RawSocket.open(daemon.socketPath);
  let seat: unknown;
  const found = await linesOf(async () => {
    const { data } = await socket.call("subscription", "attach", JSON.stringify({ session_id, role: "viewer", label: "s", auth }));
    seat = (data as { data: { seat: { seat_id: string } } }).data.seat.seat_id;
    await daemon.call("session_data", { session_id }, auth);
    await daemon.call("session_data", { session_id }, auths.owner);
    await daemon.call("session_info", { session_id }, auth);
    await daemon.call("authorize", { session_id }, auth);
    await daemon.call("list_sessions", {}, auths.owner);
    await daemon.call("daemon_status", {}, auths.owner);
    await daemon.call("hello", { protocol: { min: 1, max: 1 } });
  });
  expect(found).toMatchObject([
    { verb: "attach", session: session_id, seat, token, outcome: "ok" },
    { verb: "session_data", session: session_id, token, outcome: "ok" },
  ]);
  expect(found).toHaveLength(2);
  socket.close();
});

test("B8 a flood of refusals is counted, not written singly, and what is no refusal is still written", async () => {
  const { daemon, sessionId: session_id, auths, clock } = world;
  clock.advance(60_000);
  const flood = limits.refusals_written_per_minute_max + 500;
  const found = await linesOf(async () => {
    for (let count = 0; count < flood; count++) await refused(daemon.call("stop", { session_id }));
    await daemon.call("mint_token", { session_id, right: "view", label: "x" }, auths.owner);
  });
  expect(found.filter((line) => line.outcome === "unauthenticated")).toHaveLength(limits.refusals_written_per_minute_max);
  expect(found.at(-1)).toMatchObject({ verb: "mint_token", outcome: "ok" });
  expect((await daemon.call("daemon_status", {}, auths.owner)).audit).toMatchObject({ refusals_counted: 500, failed: 0 });
  // The next minute begins with the sum, and writes singly again.
  clock.advance(60_000);
  const before = (await lines()).filter((line) => line.verb === "*");
  await refused(daemon.call("stop", { session_id }));
  expect(before).toMatchObject([{ outcome: "refusals_counted", count: 500 }]);
  expect((await lines()).at(-1)).toMatchObject({ verb: "stop", outcome: "unauthenticated" });
});

test("B7 B8 who reads a transcript again and again with a token overwrites nobody's lines: beyond a limit reads are counted, a line a minute, by token", async () => {
  const { daemon, sessionId: session_id, auths, clock } = world;
  const tokens = { busy: await tokenIdOf(auths.view), calm: await tokenIdOf(auths.control) };
  clock.advance(60_000);
  const [most, beyond] = [limits.reads_written_per_minute_max, 300];
  const found = await linesOf(async () => {
    for (let count = 0; count < most + beyond; count++) await daemon.call("session_data", { session_id, limit: 1 }, auths.view);
    await daemon.call("session_data", { session_id, limit: 1 }, auths.control);
    await daemon.call("mint_token", { session_id, right: "view", label: "x" }, auths.owner);
  });
  const line = (token: string) => expect.objectContaining({ verb: "session_data", outcome: "ok", token }) as Line;
  expect(found).toEqual([...Array.from({ length: most }, () => line(tokens.busy)), line(tokens.calm), expect.objectContaining({ verb: "mint_token" })]);
  clock.advance(60_000);
  const next = await linesOf(() => daemon.call("session_data", { session_id, limit: 1 }, auths.view));
  // It is written with the first call of the next minute, which is a mark.
  const counted = (await lines()).filter(({ outcome }) => outcome === "reads_counted");
  expect(counted).toEqual([{ at: expect.any(String) as string, verb: "session_data", outcome: "reads_counted", count: beyond, by: { [tokens.busy]: beyond } }]);
  expect(next.at(-1)).toEqual(line(tokens.busy));
});

test("B7 B8 who attaches and leaves in a loop with a token that may only look overwrites nobody's lines: beyond a limit calls are counted by verb and token, and the owner's are all written", async () => {
  const { daemon, sessionId: session_id, auths, clock } = world;
  const token = await tokenIdOf(auths.view);
  clock.advance(60_000);
  const [most, beyond] = [limits.calls_written_per_minute_max, 40];
  const found = await linesOf(async () => {
    for (let count = 0; count < most + beyond; count++) {
      const auth = { ...auths.view, seat_secret: String(count).padStart(32, "s") };
      await hold(daemon, { session_id, role: "viewer" }, auth);
      await daemon.call("detach", { session_id }, auth);
    }
    await daemon.call("mint_token", { session_id, right: "view", label: "x" }, auths.control);
    for (let count = 0; count < most + 2; count++) await daemon.call("interrupt", { session_id, turn_id: idOf("trn", "M") }, auths.owner);
  });
  const of = (verb: string, by?: string) => found.filter((line) => line.verb === verb && line.token === by);
  for (const verb of ["attach", "detach"]) expect(of(verb, token)).toHaveLength(most);
  expect(of("mint_token", await tokenIdOf(auths.control))).toHaveLength(1);
  expect(of("interrupt")).toHaveLength(most + 2);
  clock.advance(60_000);
  const counted = (await lines()).filter(({ outcome }) => outcome === "calls_counted");
  const sum = (verb: string) => ({ at: expect.any(String) as string, verb, outcome: "calls_counted", count: beyond, by: { [token]: beyond } });
  expect(counted).toEqual([sum("attach"), sum("detach")]);
});

test("B7 B8 calls that end in a failure are counted like others, those of a key by the key; a flood of one verb hides no other verb", async () => {
  const path = at(world.daemon, "calls.jsonl");
  const audit = new Audit(path, world.clock, { ...limits, calls_written_per_minute_max: 2 });
  const holders = [{ token: idOf("tok", "A") }, { key: idOf("key", "A") }, {}];
  for (let count = 0; count < 5; count++) for (const by of holders) audit.record({ verb: "stop", outcome: "limit_reached", ms: 0, ...by }, "call");
  for (const by of holders) audit.record({ verb: "approve", outcome: "ok", ms: 0, ...by }, "call");
  await audit.flush();
  const written = readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((text) => JSON.parse(text) as Line);
  expect(written.map(({ verb }) => verb)).toEqual([...Array.from({ length: 6 }, () => "stop"), "approve", "approve", "approve", "stop"]);
  expect(written.at(-1)).toMatchObject({ outcome: "calls_counted", count: 9, by: { [idOf("tok", "A")]: 3, [idOf("key", "A")]: 3, others: 3 } });
});

test("B7 B8 nobody hides what he did behind calls that fail: these are counted apart, of the same verb too", async () => {
  const { daemon, sessionId: session_id, auths, clock } = world;
  const token = await tokenIdOf(auths.control);
  clock.advance(60_000);
  const [most, beyond] = [limits.calls_written_per_minute_max, 3];
  const found = await linesOf(async () => {
    const { record } = await daemon.call("mint_token", { session_id, right: "view", label: "x" }, auths.control);
    for (let count = 0; count < most + beyond; count++) await refused(daemon.call("mint_token", { session_id, right: "view", label: "" }, auths.control));
    await daemon.call("mint_token", { session_id, right: "view", label: "y" }, auths.control);
    await daemon.call("revoke_token", { session_id, token_id: record.token_id }, auths.control);
  });
  const count = (verb: string, outcome: string) => found.filter((line) => line.verb === verb && line.outcome === outcome && line.token === token).length;
  expect([count("mint_token", "bad_request"), count("mint_token", "ok"), count("revoke_token", "ok")]).toEqual([most, 2, 1]);
  clock.advance(60_000);
  const counted = (await lines()).filter(({ outcome }) => outcome === "calls_counted");
  expect(counted).toMatchObject([{ verb: "mint_token", count: beyond, by: { [token]: beyond } }]);
});

test("B8 the owner's calls are all written, those too that fail in their schema", async () => {
  const { daemon, sessionId: session_id, auths, clock } = world;
  clock.advance(60_000);
  const calls = limits.calls_written_per_minute_max + 2;
  const found = await linesOf(async () => {
    for (let count = 0; count < calls; count++) await refused(daemon.call("mint_token", { session_id, right: "view", label: "" }, auths.owner));
  });
  expect(found.map(({ verb, outcome }) => `${verb} ${outcome}`)).toEqual(Array.from({ length: calls }, () => "mint_token bad_request"));
});

test("B7 B8 tokens whose reads are told apart are bounded: those of further ones are counted together, and none is lost", async () => {
  const path = at(world.daemon, "many.jsonl");
  const audit = new Audit(path, world.clock, { ...limits, counted_holders_max: 3, reads_written_per_minute_max: 2 });
  const each = 5;
  for (let count = 0; count < each; count++)
    for (const token of ["A", "B", "C", "D", "E"]) audit.record({ verb: "session_data", outcome: "ok", ms: 0, token: idOf("tok", token) }, "read");
  await audit.flush();
  const written = readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((text) => JSON.parse(text) as Line);
  expect(written.filter(({ outcome }) => outcome === "ok")).toHaveLength(4 * 2);
  const by = { ...Object.fromEntries(["A", "B", "C"].map((token) => [idOf("tok", token), each - 2])), others: 2 * each - 2 };
  expect(written.at(-1)).toMatchObject({ outcome: "reads_counted", count: 5 * each - 4 * 2, by });
});

test("B8 a line that cannot be written fails no call, and shows in daemon_status", async () => {
  const { daemon, sessionId: session_id, auths } = world;
  await lines();
  const path = at(daemon, "audit.jsonl");
  rmSync(path);
  mkdirSync(path);
  await daemon.call("mint_token", { session_id, right: "view", label: "x" }, auths.owner);
  await refused(daemon.call("stop", { session_id }));
  await expect.poll(async () => (await daemon.call("daemon_status", {}, auths.owner)).audit).toMatchObject({ failed: 2, last_failure: "EISDIR" });
  rmSync(path, { recursive: true });
  marks = 0;
  await daemon.call("mint_token", { session_id, right: "view", label: "y" }, auths.owner);
  expect((await lines()).map((line) => line.verb)).toEqual(["mint_token"]);
  expect(daemon.bugs).toEqual([]);
});
