import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { connect } from "@sessiond/client/node";
import { errorTable, formatHostKey, limitTable, schemas, verbs } from "@sessiond/shared";
import { afterEach, beforeEach, expect, test } from "vitest";
import WebSocket from "ws";
import { metricTable } from "../../packages/daemon/src/metric-table.ts";
import { removeRoot, startTestDaemon, testEnv, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { at, eventsOf, hold, hostAuth, idOf, makeWorkdir, seatSecretOf } from "../support/gate-world.ts";
import { plainRequest, samplesOf, valueOf } from "../support/plain-http.ts";
import { RawSocket } from "../support/raw-socket.ts";

/** The door's plain HTTP: who gets the daemon's figures, what they tell, and what they never tell. */
let daemon: TestDaemon;
beforeEach(async () => {
  daemon = await startTestDaemon();
});
afterEach(async () => {
  expect(daemon.bugs).toEqual([]);
  await daemon.stop(0);
  await removeRoot(daemon.root);
});

const bearer = (key: string): Record<string, string> => ({ authorization: `Bearer ${key}` });
const scrape = async (of = daemon): Promise<string> => (await plainRequest(of.socketPath, "/metrics", bearer(of.hostKey))).body;

test("B1 B6 the figures are for the holder of the host key; whoever has less hears one and the same, and a line and a count remain", async () => {
  const started = await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon), model: "practice" }, hostAuth(daemon));
  const { hostKey } = daemon;
  const wrong: Record<string, string>[] = [
    {},
    { authorization: "" },
    { authorization: "Bearer" },
    bearer("x"),
    bearer(hostKey.slice(0, -1)),
    bearer(`${hostKey}a`),
    bearer(formatHostKey("z".repeat(43))),
    bearer(started.token),
    bearer("s".repeat(10_000)),
    { authorization: hostKey },
    { authorization: `Basic ${hostKey}` },
    { authorization: `Bearer ${hostKey} ${hostKey}` },
    { authorization: `Basic ${Buffer.from(`sessiond:${hostKey}`).toString("base64")}` },
    { cookie: `host_key=${hostKey}` },
    { "x-host-key": hostKey },
  ];
  const replies = [];
  for (const headers of wrong) replies.push(await plainRequest(daemon.socketPath, "/metrics", headers));
  expect(replies[0]).toMatchObject({ status: 401, body: "unauthenticated\n" });
  for (const reply of replies) expect(reply).toEqual(replies[0]);
  const page = await scrape();
  expect(valueOf(page, "sessiond_calls_total", { verb: "metrics", code: "unauthenticated" })).toBe(wrong.length);
  expect(valueOf(page, "sessiond_calls_total", { verb: "metrics", code: "ok" })).toBe(1);
  expect(valueOf(page, "sessiond_refusals_total", { code: "unauthenticated" })).toBe(wrong.length);
  await expect.poll(() => readFileSync(at(daemon, "audit.jsonl"), "utf8").split('"verb":"metrics"').length - 1).toBe(wrong.length);
  const line = readFileSync(at(daemon, "audit.jsonl"), "utf8")
    .split("\n")
    .find((each) => each.includes('"verb":"metrics"'));
  expect(JSON.parse(line ?? "{}")).toEqual({ at: expect.any(String), verb: "metrics", outcome: "unauthenticated", ms: expect.any(Number) });
});

test("B6 besides the figures plain HTTP tells that the daemon is up, and nothing else is there; no key is taken from a URL", async () => {
  const { socketPath, hostKey } = daemon;
  const ask = async (path: string, method = "GET", headers = bearer(hostKey)) => {
    const { status, body } = await plainRequest(socketPath, path, headers, method);
    return [status, body];
  };
  expect(await ask("/healthz", "GET", {})).toEqual([200, "ok\n"]);
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
    for (const path of ["/healthz", "/metrics"]) expect(await ask(path, method)).toEqual([405, "only GET\n"]);
  expect(await ask("/metrics", "HEAD")).toEqual([405, ""]);
  for (const path of [
    "/",
    "/metrics/",
    "/metrics?",
    `/metrics?host_key=${hostKey}`,
    "//metrics",
    "/%6detrics",
    "/healthz/",
    "/hello",
    "/../metrics",
    "http://localhost/metrics",
  ])
    expect([path, ...(await ask(path))]).toEqual([path, 404, "not found\n"]);
});

test("B6 a request or upgrade with an Origin, or for another Host, is refused before its credential is looked at", async () => {
  const { socketPath, hostKey } = daemon;
  const foreign: Record<string, string>[] = [
    { origin: "http://localhost" },
    { origin: "null" },
    { origin: "" },
    { host: "localhost:80" },
    { host: "localhost." },
    { host: "LOCALHOST" },
    { host: "evil.example" },
    { host: "127.0.0.1" },
  ];
  for (const headers of foreign) {
    for (const path of ["/metrics", "/healthz"]) {
      const { status, body } = await plainRequest(socketPath, path, { ...bearer(hostKey), ...headers });
      expect([headers, path, status, body]).toEqual([headers, path, 403, ""]);
    }
    const refused = await new Promise((resolve) => {
      const socket = new WebSocket(`ws+unix://${socketPath}:/`, { headers });
      socket.once("open", () => resolve("open")).once("error", (error) => resolve(error.message));
    });
    expect([headers, refused]).toEqual([headers, "Unexpected server response: 403"]);
  }
  const page = await scrape();
  const origins = foreign.filter(({ origin }) => origin !== undefined).length;
  expect(valueOf(page, "sessiond_turned_away_total", { reason: "origin" })).toBe(3 * origins);
  expect(valueOf(page, "sessiond_turned_away_total", { reason: "host" })).toBe(3 * (foreign.length - origins));
  // Nobody's credential was looked at: the one call is the scrape itself.
  expect(samplesOf(page).filter(({ name }) => name === "sessiond_calls_total")).toMatchObject([{ labels: { verb: "metrics", code: "ok" }, value: 1 }]);
});

const closed: Readonly<Record<string, readonly string[]>> = {
  verb: [...Object.keys(verbs), "metrics", "unknown"],
  code: ["ok", ...Object.keys(errorTable)],
  life_state: schemas.lifeState.options,
  status: schemas.status.options,
  role: schemas.role.options,
  stop_reason: schemas.stopReason.options,
  reason: ["origin", "host", "fetch_site", "connections_max", "tcp_connections_max", "connections_per_peer_max", "rate_limited"],
  limit: Object.keys(limitTable),
};

test("B2 no figure carries a path, an id, a label, a title, a text or a token: every label's value is a word of a table", async () => {
  const owner = hostAuth(daemon);
  const { session, token } = await daemon.call(
    "start_or_get_for_workdir",
    { workdir: await makeWorkdir(daemon, "planted-workdir"), model: "practice", title: "planted-title" },
    owner,
  );
  const { session_id } = session;
  const driver = { token, seat_secret: seatSecretOf("D") };
  const view = await daemon.call("mint_token", { session_id, right: "view", label: "planted-token" }, driver);
  const seat = await hold(daemon, { session_id, role: "driver", label: "planted-seat" }, driver);
  await daemon.call(
    "send_prompt",
    { session_id, prompt_id: idOf("prm", "P"), parts: [{ type: "text", text: "run planted-command" }], when_busy: "queue" },
    driver,
  );
  await seat.until(() => JSON.stringify(seat.items).includes("approval_requested"));
  const socket = await RawSocket.open(daemon.socketPath);
  // Words of a caller's own, wherever one can be put.
  for (const path of ["planted_verb", "daemon_status.planted", "__proto__", "constructor"]) await socket.call("query", path, "{}");
  await socket.call("mutation", "stop", JSON.stringify({ session_id: "planted-session", auth: { token: "planted-auth" } }));
  await socket.call("query", "session_info", JSON.stringify({ session_id, planted_field: 1, auth: driver }));
  for (const path of ["/planted-page", "/metrics?planted"]) await plainRequest(daemon.socketPath, path, { origin: "http://planted.example" });
  const page = await scrape();
  socket.close();
  seat.close();

  for (const planted of ["planted", session_id, token, driver.seat_secret, view.token, view.record.token_id, daemon.hostKey, daemon.root, String(process.pid)])
    expect(page.includes(planted) && planted !== String(process.pid), planted).toBe(false);
  const samples = samplesOf(page);
  for (const { name, labels } of samples)
    for (const [label, value] of Object.entries(labels)) expect(closed[label] ?? [], `${name}{${label}}`).toContain(value);
  // It did happen: they are counted.
  expect(valueOf(page, "sessiond_approvals_pending")).toBe(1);
  expect(valueOf(page, "sessiond_calls_total", { verb: "unknown", code: "unknown_verb" })).toBe(4);
  expect(valueOf(page, "sessiond_calls_total", { verb: "stop", code: "unauthenticated" })).toBe(1);
  // Each name of the table is there, described, with its unit last.
  for (const name of Object.keys(metricTable)) {
    expect(page).toContain(`# TYPE ${name} `);
    expect(name).toMatch(/^sessiond_[a-z_]+$/);
    if (metricTable[name as keyof typeof metricTable].kind === "counter") expect(name).toMatch(/_total$/);
  }
});

test("B42 the figures are those of what happened: sessions, seats, frames, bytes, turns, calls, to the last one", async () => {
  const owner = hostAuth(daemon);
  const first = await scrape();
  const { session, token } = await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon), model: "practice" }, owner);
  const { session_id } = session;
  const driver = { token, seat_secret: seatSecretOf("D") };
  const seat = await hold(daemon, { session_id, role: "driver" }, driver);
  await hold(daemon, { session_id, role: "viewer" }, { token, seat_secret: seatSecretOf("V") });
  await daemon.call("send_prompt", { session_id, prompt_id: idOf("prm", "P"), parts: [{ type: "text", text: "say hello" }], when_busy: "queue" }, driver);
  await seat.until(() => eventsOf(seat).some(({ type }) => type === "turn_ended"));
  // Idle, and all of it on disk.
  await daemon.call("detach", { session_id }, { token, seat_secret: seatSecretOf("V") });
  const page = await scrape();
  const { seq } = await daemon.call("session_info", { session_id }, owner);
  const figures = Object.fromEntries(Object.keys(metricTable).map((name) => [name, valueOf(page, name)]));
  const journal = at(daemon, "sessions", session_id, "journal");
  expect(figures).toMatchObject({
    sessiond_seats: 1,
    sessiond_turns_running: 0,
    sessiond_approvals_pending: 0,
    sessiond_prompts_queued: 0,
    sessiond_readers_behind: 0,
    sessiond_reader_lag_max_frames: 0,
    sessiond_frames_encoded_total: seq,
    sessiond_frames_shown_total: seq,
    // The agent's transcript is read back when the turn begins: what was on disk by then.
    sessiond_frames_decoded_total: daemon.counters.framesDecoded,
    sessiond_journal_read_bytes_total: daemon.counters.journalReadBytes,
    sessiond_journal_written_bytes_total: statSync(journal).size,
    sessiond_journal_writes_total: daemon.counters.journalWrites,
    sessiond_journal_syncs_total: daemon.counters.journalSyncs,
    sessiond_slow_consumers_total: 0,
    sessiond_audit_failures_total: 0,
  });
  expect(valueOf(page, "sessiond_seats", { role: "driver" })).toBe(1);
  expect(valueOf(page, "sessiond_seats", { role: "viewer" })).toBe(0);
  expect(valueOf(page, "sessiond_sessions", { life_state: "live" })).toBe(1);
  expect(valueOf(page, "sessiond_live_sessions", { status: "idle" })).toBe(1);
  expect(valueOf(page, "sessiond_turns_ended_total", { stop_reason: "end_turn" })).toBe(1);
  expect(valueOf(page, "sessiond_calls_total", { verb: "attach", code: "ok" })).toBe(2);
  expect(valueOf(page, "sessiond_calls_total", { verb: "send_prompt", code: "ok" })).toBe(1);
  expect(figures["sessiond_model_output_tokens_total"]).toBeGreaterThan(0);
  expect(figures["sessiond_frames_sent_total"]).toBeGreaterThanOrEqual(figures["sessiond_batches_sent_total"] ?? Infinity);
  // What came through the socket is this page's own request and the one before.
  expect(valueOf(first, "sessiond_socket_written_bytes_total")).toBe(0);
  expect(figures["sessiond_socket_written_bytes_total"]).toBeGreaterThan(first.length);
  expect(figures["sessiond_resident_memory_bytes"]).toBeGreaterThan(1e7);
  expect(figures["sessiond_cpu_seconds_total"]).toBeGreaterThan(0);
  // Read back: a page of the transcript is read out of text, and no byte is written for it.
  const { frames } = await daemon.call("session_data", { session_id, limit: 5 }, owner);
  const after = await scrape();
  expect((valueOf(after, "sessiond_frames_decoded_total") ?? 0) - (figures["sessiond_frames_decoded_total"] ?? 0)).toBe(frames.length);
  expect(valueOf(after, "sessiond_journal_written_bytes_total")).toBe(figures["sessiond_journal_written_bytes_total"]);
});

test("B42 a reader that takes nothing shows as one that is behind, by how many frames, until it has gone", async () => {
  const { session, token } = await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon), model: "practice" }, hostAuth(daemon));
  const { session_id } = session;
  const driver = { token, seat_secret: seatSecretOf("D") };
  const seat = await hold(daemon, { session_id, role: "driver" }, driver);
  const leaving = new AbortController();
  const slow = await daemon.stream("attach", { session_id, role: "viewer", label: "slow" }, { token, seat_secret: seatSecretOf("S") }, leaving.signal);
  const reading = slow[Symbol.asyncIterator]();
  const first = (await reading.next()).value as [string, { head: number }];
  await daemon.call("send_prompt", { session_id, prompt_id: idOf("prm", "P"), parts: [{ type: "text", text: "say hello" }], when_busy: "queue" }, driver);
  await seat.until(() => eventsOf(seat).some(({ type }) => type === "turn_ended"));
  const page = await scrape();
  const { seq } = await daemon.call("session_info", { session_id }, hostAuth(daemon));
  expect(valueOf(page, "sessiond_readers")).toBe(2);
  expect(valueOf(page, "sessiond_readers_behind")).toBe(1);
  expect(valueOf(page, "sessiond_reader_lag_max_frames")).toBe(seq - first[1].head);
  await reading.return?.();
  leaving.abort();
  const after = await scrape();
  expect([valueOf(after, "sessiond_readers"), valueOf(after, "sessiond_readers_behind")]).toEqual([1, 0]);
});

test("B42 two daemons in one process tell each its own figures, and one that begins anew counts from nothing", async () => {
  const other = await startTestDaemon();
  try {
    const { session, token } = await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon), model: "practice" }, hostAuth(daemon));
    const driver = { token, seat_secret: seatSecretOf("D") };
    const seat = await hold(daemon, { session_id: session.session_id, role: "driver" }, driver);
    const parts = [{ type: "text" as const, text: "say hello" }];
    await daemon.call("send_prompt", { session_id: session.session_id, prompt_id: idOf("prm", "P"), parts, when_busy: "queue" }, driver);
    await seat.until(() => eventsOf(seat).some(({ type }) => type === "turn_ended"));
    await daemon.call("detach", { session_id: session.session_id }, driver);
    const [mine, others] = [await scrape(), await scrape(other)];
    expect(valueOf(mine, "sessiond_sessions", { life_state: "live" })).toBe(1);
    expect(valueOf(others, "sessiond_sessions", { life_state: "live" })).toBe(0);
    expect(valueOf(others, "sessiond_frames_encoded_total")).toBe(0);
    const { root } = daemon;
    await daemon.stop(0);
    const bytes = statSync(at({ root }, "sessions", session.session_id, "journal")).size;
    daemon = await startTestDaemon({ root });
    const { seq } = await daemon.call("session_info", { session_id: session.session_id }, hostAuth(daemon));
    const again = await scrape();
    expect(valueOf(again, "sessiond_frames_encoded_total")).toBe(0);
    expect(valueOf(again, "sessiond_frames_decoded_total")).toBe(seq);
    // The whole of it, and the few bytes that tell what kind of file it is.
    const read = valueOf(again, "sessiond_journal_read_bytes_total") ?? 0;
    expect(read - bytes).toBeGreaterThanOrEqual(0);
    expect(read - bytes).toBeLessThan(100);
  } finally {
    await other.stop(0);
    await removeRoot(other.root);
  }
});

test("B40 a daemon that drains still tells its figures", async () => {
  daemon.host.draining = true;
  expect(valueOf(await scrape(), "sessiond_connections")).toBe(0);
  daemon.host.draining = false;
});

test("the library brings the page, and says in its own words why there is none", async () => {
  const host = await connect({ env: testEnv(daemon.root), autoStart: false });
  expect(valueOf(await host.metrics(), "sessiond_connections")).toBe(1);
  await expect(host.metrics({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "cancelled" });
  await host.close();
  // Another key than the daemon's.
  const key = at(daemon, "host-key");
  writeFileSync(key, `${formatHostKey("z".repeat(43))}\n`);
  const stranger = await connect({ env: testEnv(daemon.root), autoStart: false });
  await expect(stranger.metrics()).rejects.toMatchObject({ code: "unauthenticated" });
  await daemon.stop(0);
  await expect(stranger.metrics()).rejects.toMatchObject({ code: "daemon_unreachable", detail: { nobody: true } });
  // Something else has taken its place, which never answers: the time limit ends the wait.
  const runtimeDir = join(daemon.root, "run", "sessiond");
  mkdirSync(runtimeDir, { recursive: true, mode: 0o700 });
  const silent = createServer().listen(join(runtimeDir, "sock"));
  await new Promise((resolve) => silent.once("listening", resolve));
  await expect(stranger.metrics({ timeoutMs: 50 })).rejects.toMatchObject({ code: "timeout" });
  silent.close();
  await stranger.close();
  writeFileSync(key, `${daemon.hostKey}\n`);
});
