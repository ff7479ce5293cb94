import { once } from "node:events";
import WebSocket from "ws";
import { limits } from "@sessiond/shared";
import { afterEach, expect, test } from "vitest";
import { AnswerTurns } from "../../packages/daemon/src/answer-turns.ts";
import { linkInProcess } from "../../packages/daemon/src/testing.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { endRigs, Rig, seatSecret } from "../support/session-rig.ts";

/** Calls whose answers are much longer than they are: work is counted here, not time. */
const sockets: { close(): void }[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  await endRigs();
});

const pieceChars = 16_384;
const pieces = 96;
const piecesOfPage = Math.ceil(limits.page_bytes_max / pieceChars);
const calls = 250;

/** A session with three pages of transcript, and a token that may look at it. */
async function begin(): Promise<{ rig: Rig; input: string }> {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("much output");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  await turn.update("c1", "in_progress");
  for (let sent = 0; sent < pieces; sent++)
    await turn.yield({ type: "tool_call_chunk", tool_call_id: "c1", content: { type: "text", text: "x".repeat(pieceChars) } });
  for (let message = 0; message < 8; message++)
    await turn.yield({ type: "agent_message_chunk", message_id: `m${message}`, content: { type: "text", text: "y".repeat(limits.message_chars_max) } });
  turn.end();
  await driver.event("turn_ended");
  const { token } = await rig.daemon.call("mint_token", { session_id: rig.sessionId, right: "view", label: "v" }, { token: rig.token });
  return { rig, input: JSON.stringify({ session_id: rig.sessionId, auth: { token } }) };
}

/** Ten messages of many calls each, to be sent at once. */
function flood(input: string): string[] {
  const page = JSON.stringify({ ...(JSON.parse(input) as object), limit: limits.page_frames_max });
  const call = (_: unknown, id: number) => `{"id":${id + 1},"method":"query","params":{"path":"session_data","input":${page}}}`;
  const all = Array.from({ length: calls }, call);
  return Array.from({ length: 10 }, (_, at) => `[${all.slice(at * 25, at * 25 + 25).join()}]`);
}

/** It asks for much, and takes nothing of it. */
async function deaf(rig: Rig, messages: readonly string[]): Promise<WebSocket> {
  const socket = new WebSocket(`ws+unix://${rig.daemon.socketPath}:/`, { perMessageDeflate: false });
  sockets.push({ close: () => socket.terminate() });
  await once(socket, "open");
  socket.pause();
  for (const message of messages) socket.send(message);
  return socket;
}

async function reader(rig: Rig): Promise<RawSocket> {
  const socket = await RawSocket.open(rig.daemon.socketPath);
  sockets.push(socket);
  return socket;
}

const countOf = (rig: Rig, outcome: string): number => rig.daemon.counters.calls.get("session_data")?.get(outcome) ?? 0;

test("B7 B33 for a connection that takes nothing a few pages are made, whatever it asked for; what others ask meanwhile, for the same pages too, is answered, and when it closes what waited ends", async () => {
  const { rig, input } = await begin();
  const before = rig.daemon.counters.framesDecoded;
  const attackers = [await deaf(rig, flood(input)), await deaf(rig, flood(input))];
  const other = await reader(rig);
  let own = 0;
  // Each of them is a turn of the event loop or more.
  for (let round = 0; round < calls; round++) {
    expect((await other.call("query", "authorize", input)).error).toBeUndefined();
    if (round % 50 !== 0) continue;
    const { data } = await other.call("query", "session_data", input);
    own += (data as { frames: unknown[] }).frames.length;
    expect((await other.call("query", "session_info", input)).error).toBeUndefined();
  }
  // What a full buffer holds, what the system takes beside it, and the one that made it full.
  const pagesAtMost = limits.socket_buffer_bytes_max / limits.page_bytes_max + 3;
  const made = rig.daemon.counters.framesDecoded - before - own;
  expect(made).toBeGreaterThan(0);
  expect(made).toBeLessThanOrEqual(attackers.length * pagesAtMost * (piecesOfPage + 8));
  expect(countOf(rig, "ok")).toBeLessThanOrEqual(5 + attackers.length * pagesAtMost);
  for (const attacker of attackers) attacker.terminate();
  await expect.poll(() => countOf(rig, "ok") + countOf(rig, "cancelled")).toBe(5 + attackers.length * calls);
  expect(rig.daemon.bugs).toEqual([]);
});

test("B7 B33 for a connection that takes nothing a few snapshots are made, however many streams it opens", async () => {
  const { rig, input } = await begin();
  const attach = (_: unknown, id: number) =>
    JSON.stringify({
      id: id + 1,
      method: "subscription",
      params: {
        path: "attach",
        input: { ...(JSON.parse(input) as { auth: object }), role: "viewer", label: "v", auth: { token: rig.token, seat_secret: seatSecret(`s${id}`) } },
      },
    });
  await deaf(rig, Array.from({ length: limits.subscriptions_per_connection_max }, attach));
  const other = await reader(rig);
  for (let round = 0; round < calls; round++) expect((await other.call("query", "authorize", input)).error).toBeUndefined();
  const { seats } = await rig.info();
  expect(seats.length).toBeGreaterThan(0);
  expect(seats.length).toBeLessThanOrEqual(5);
});

test("B7 B8 for a connection that takes nothing what was done is done, and in the audit file, but nobody makes its long answers: the queue that an interrupt lists, the facts of a session that was started", async () => {
  const rig = await Rig.start();
  const { session_id, auth } = { session_id: rig.sessionId, auth: { token: rig.token } };
  const driver = await rig.driver();
  await driver.prompt("again");
  const turn = await rig.kind.turn();
  const turn_id = (await driver.event("turn_started")).turn_id;
  let answered = 0;
  const closing = new AbortController();
  let goOn = (): void => undefined;
  const ready = new Promise<void>((resolve) => (goOn = resolve));
  const deafly = rig.daemon.router.createCaller({ connection: linkInProcess({ ready: () => ready, signal: closing.signal }) }) as unknown as Record<
    string,
    (input: unknown) => Promise<unknown>
  >;
  const ask = async (verb: string, input: object): Promise<void> => {
    await deafly[verb]?.(input).finally(() => (answered += 1));
  };
  const all = [
    ask("interrupt", { session_id, turn_id, auth }),
    ...Array.from({ length: 20 }, () => ask("interrupt", { session_id, turn_id: `trn_${"M".repeat(22)}`, auth })),
    ask("start_or_get_for_workdir", { workdir: rig.workdir, auth: { host_key: rig.daemon.hostKey } }),
  ];
  const ends = Promise.allSettled(all);
  await driver.event("turn_ended");
  turn.end();
  const done = (verb: string) => rig.daemon.counters.calls.get(verb)?.get("ok");
  await expect.poll(() => [done("interrupt"), done("start_or_get_for_workdir")]).toEqual([21, 2]);
  for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve));
  expect(answered).toBe(0);
  closing.abort();
  goOn();
  expect((await ends).map(({ status }) => status)).toEqual(all.map(() => "rejected"));
  expect(rig.daemon.counters.calls.get("interrupt")?.get("cancelled")).toBeUndefined();
  // To who takes it all is said, as ever.
  const socket = await reader(rig);
  const { data } = await socket.call("mutation", "interrupt", JSON.stringify({ session_id, turn_id, auth }));
  expect(data).toMatchObject({ interrupted: false, queue: [] });
  expect(rig.daemon.bugs).toEqual([]);
});

test("B4 B7 a credential that ends while its call waits for its turn does nothing: neither a revoked one, nor one of a life that has ended", async () => {
  const { rig, input } = await begin();
  const { session_id, auth } = JSON.parse(input) as { session_id: string; auth: { token: string } };
  let goOn = (): void => undefined;
  const ready = new Promise<void>((resolve) => (goOn = resolve));
  const waits = rig.daemon.router.createCaller({ connection: linkInProcess({ ready: () => ready }) }) as unknown as Record<
    string,
    (input: unknown) => Promise<unknown>
  >;
  const looked = waits["session_info"]?.({ session_id, auth });
  const listed = waits["list_tokens"]?.({ session_id, auth: { token: rig.token } });
  const seated = waits["attach"]?.({ session_id, role: "driver", label: "d", auth: { token: rig.token, seat_secret: seatSecret("d") } }).then((stream) =>
    (stream as AsyncIterable<unknown>)[Symbol.asyncIterator]().next(),
  );
  const ends = [
    expect(looked).rejects.toMatchObject({ cause: { code: "unauthenticated" } }),
    expect(listed).rejects.toMatchObject({ cause: { code: "session_stopped" } }),
    expect(seated).rejects.toMatchObject({ cause: { code: "session_stopped" } }),
  ];
  const { tokens } = await rig.daemon.call("list_tokens", { session_id }, { token: rig.token });
  await rig.daemon.call("revoke_token", { session_id, token_id: tokens.find(({ right }) => right === "view")?.token_id ?? "" }, { token: rig.token });
  await rig.stop();
  await rig.startSession();
  goOn();
  await Promise.all(ends);
  expect((await rig.info()).seats).toEqual([]);
});

test("B7 what is soon answered does not wait behind long answers, not even on their own connection; each of them comes in the end, in order", async () => {
  const { rig, input } = await begin();
  const socket = await reader(rig);
  const pages = Array.from({ length: 40 }, () => socket.call("query", "session_data", input));
  // By then the others are in line.
  await pages[0];
  expect((await socket.call("query", "authorize", input)).error).toBeUndefined();
  expect(socket.received.length).toBeLessThan(pages.length / 2);
  for (const { error } of await Promise.all(pages)) expect(error).toBeUndefined();
  const ids = socket.received.map((text) => (JSON.parse(text) as { id: number }).id);
  expect(ids.filter((id) => id <= pages.length)).toEqual(pages.map((_, index) => index + 1));
});

test("B7 in one turn of the event loop one long answer is begun: who asks once is second in line behind whoever asked a hundred times", async () => {
  const turns = new AnswerTurns();
  const told: string[] = [];
  const ask = async (asker: ReturnType<typeof linkInProcess>, name: string): Promise<void> => {
    const given = await turns.take(asker, "a session");
    told.push(name);
    given();
  };
  const [greedy, modest, last] = [linkInProcess(), linkInProcess(), linkInProcess()];
  const all = [...Array.from({ length: 100 }, () => ask(greedy, "greedy")), ask(modest, "modest"), ask(last, "last")];
  const counts: number[] = [];
  for (let turn = 0; turn < 4; turn++) {
    counts.push(told.length);
    await new Promise((resolve) => setImmediate(resolve));
  }
  for (const [at, count] of counts.entries()) expect(count - (counts[at - 1] ?? 0)).toBeLessThanOrEqual(1);
  await Promise.all(all);
  expect(told.slice(0, 3)).toEqual(["greedy", "modest", "last"]);
  expect(told).toHaveLength(102);
});

test("B7 B24 short answers go on within a turn of the event loop until together they are long, and then in the next one; a length that comes late holds nobody up", async () => {
  const turns = new AnswerTurns();
  const told: number[] = [];
  const chars = limits.answers_per_turn_chars_max / 4;
  const asker = linkInProcess();
  const all = Array.from({ length: 10 }, async (_, at) => {
    const given = await turns.take(asker, "a session");
    told.push(at);
    given(chars);
  });
  const counts: number[] = [];
  for (let turn = 0; turn < 4; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    counts.push(told.length);
  }
  // The first look may come before or after the first turn's end.
  expect(counts[0]).toBeGreaterThan(1);
  for (const [at, count] of counts.entries()) expect(count - (counts[at - 1] ?? 0)).toBeLessThanOrEqual(at === 0 ? 8 : 4);
  await Promise.all(all);
  expect(told).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const late = await turns.take(asker, "a slow disk");
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  late();
  (await turns.take(asker, "another"))();
});

test("B24 a long answer that waits for one session's disk holds up none about another session, not on its own connection either", async () => {
  const turns = new AnswerTurns();
  const asker = linkInProcess();
  await turns.take(asker, "a session on a slow disk");
  const behind = turns.take(asker, "a session on a slow disk");
  (await turns.take(asker, "another"))();
  (await turns.take(linkInProcess(), "a session on a slow disk"))();
  expect(await Promise.race([behind.then(() => "given"), new Promise((resolve) => setImmediate(resolve, "waits"))])).toBe("waits");
});

test("B7 a turn of the event loop is not lost on a connection that has become full in line: the next one has it", async () => {
  const turns = new AnswerTurns();
  let full = false;
  const filled = linkInProcess({ ready: () => (full ? new Promise(() => undefined) : Promise.resolve()) });
  Object.defineProperty(filled, "full", { get: () => full });
  const first = await turns.take(linkInProcess(), "a session");
  const told: string[] = [];
  const behind = ["filled", "next"].map(async (name) => {
    const given = await turns.take(name === "filled" ? filled : linkInProcess(), "a session");
    told.push(name);
    given(0);
  });
  // Both are in line by then, and it is the same turn still.
  for (let steps = 0; steps < 20; steps++) await Promise.resolve();
  full = true;
  first(0);
  for (let steps = 0; steps < 20; steps++) await Promise.resolve();
  expect(told).toEqual(["next"]);
  await behind[1];
});

test("B7 a stream that was stopped while it waited for its turn takes no seat", async () => {
  const rig = await Rig.start();
  let goOn = (): void => undefined;
  const ready = new Promise<void>((resolve) => (goOn = resolve));
  const stopping = new AbortController();
  const caller = rig.daemon.router.createCaller({ connection: linkInProcess({ ready: () => ready }) }, { signal: stopping.signal }) as unknown as Record<
    string,
    (input: unknown) => Promise<AsyncIterable<unknown>>
  >;
  const auth = { token: rig.token, seat_secret: seatSecret("d") };
  const stream = await caller["attach"]?.({ session_id: rig.sessionId, role: "viewer", label: "d", auth });
  const first = stream?.[Symbol.asyncIterator]().next();
  const ends = expect(first).rejects.toMatchObject({ cause: { code: "cancelled" } });
  stopping.abort();
  goOn();
  await ends;
  expect((await rig.info()).seats).toEqual([]);
});
