import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Connection, Door, Host, type Scope } from "@sessiond/client";
import { connect, sessionFromToken, unixSocket } from "@sessiond/client/node";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { WebSocket } from "ws";
import { amount } from "../support/amount.ts";
import { failure } from "../support/attached-seat.ts";
import { CutLine, TcpLine } from "../support/cut-line.ts";
import { DaemonHome } from "../support/daemon-home.ts";
import { SeenFrames } from "../support/seen-frames.ts";

/** Real daemons on TCP, held by API keys and tokens of people who are not the owner; and the owner, whose host key is rotated meanwhile. */
const all: readonly Scope[] = ["sessions:start", "sessions:list", "sessions:watch", "sessions:stop", "tokens:mint"];
let line: TcpLine;
let home: DaemonHome;
let owner: Host;

beforeAll(async () => {
  line = await TcpLine.open();
  home = new DaemonHome(`[model]\nname = "practice"\n[tcp]\nlisten = "127.0.0.1:0"\nhosts = ["127.0.0.1:${line.port}"]\n`);
  await home.startByHand();
  await find();
});
afterAll(async () => {
  await line.close();
  await home.close();
});

/** The owner's handle on the daemon that runs now, and the line to its port. */
async function find(): Promise<void> {
  owner = await home.connect({ autoStart: false });
  line.to = (await owner.status()).tcp?.port ?? 0;
}

async function key(name: string, scopes: readonly Scope[] = all): Promise<{ id: string; secret: string }> {
  const { key: secret, record } = await owner.createKey({ name, scopes, roots: [home.workdir] });
  return { id: record.key_id, secret };
}
const remote = (apiKey: string): Promise<Host> => connect({ url: line.url, apiKey, clientName: "elsewhere" });

function workdir(name: string): string {
  const path = join(home.workdir, name);
  mkdirSync(path);
  return path;
}

test(
  "B31 B21 B15 over a TCP link that is cut again and again, and over a killed daemon, driver and viewer get each frame once and each prompt runs once",
  { timeout: 120_000 },
  async () => {
    const { secret } = await key("driver");
    await using host = await remote(secret);
    const session = await host.sessionForWorkdir(workdir("cut"));
    const { token } = await session.mintToken({ right: "view", label: "phone" });
    await using phone = await sessionFromToken(token, { url: line.url });
    const driver = await session.attach({ as: "driver" });
    const seen = [new SeenFrames(driver), new SeenFrames(await phone.attach({ as: "viewer" }))];
    const cuts = amount(3, 24);
    for (let at = 0; at < cuts; at++) {
      const back = seen.map((each) => each.back());
      const streaming = Promise.all(seen.map((each) => each.next((event) => event.type === "agent_message_chunk")));
      const turn = driver.prompt(`stream 30 every 3 then say ${at}`);
      await streaming;
      line.cut();
      await Promise.all(back);
      expect(await turn).toMatchObject({ stopReason: "end_turn" });
    }
    const back = seen.map((each) => each.back());
    const pid = await home.daemon();
    await home.kill(pid);
    await home.startByHand();
    await find();
    await Promise.all(back);
    const ended = Promise.all(seen.map((each) => each.next((event) => event.type === "turn_ended")));
    expect((await driver.prompt("say after")).stopReason).toBe("end_turn");
    const [{ seq: last } = { seq: 0 }] = await ended;
    for (const each of seen) each.check();
    const journal = home.journal(session.id);
    expect(journal.filter(({ event }) => event.type === "turn_started")).toHaveLength(cuts + 1);
    // Both, and the journal, from the first prompt on.
    const first = journal.find(({ event }) => event.type === "prompt_accepted")?.seq ?? 0;
    const from = (texts: Iterable<readonly [seq: number, text: string]>): string[] =>
      [...texts].filter(([seq]) => seq >= first && seq <= last).map(([, text]) => text);
    const expected = from(journal.map(({ seq, text }) => [seq, text]));
    expect(expected.length).toBeGreaterThan(cuts * 30);
    for (const { texts } of seen) expect(from(texts)).toEqual(expected);
    await driver.detach();
    console.log(`B31 over TCP: ${cuts} cuts and a kill, ${expected.length} frames each once, ${cuts + 1} turns`);
  },
);

describe("a handle held by an API key", () => {
  test("B5 does what its scopes say, looks into sessions by tokens, and is told in words what it may not", async () => {
    const { id, secret } = await key("ci");
    await using host = await remote(secret);
    expect([owner.heldBy, host.heldBy]).toEqual(["host key", "API key"]);
    const session = await host.sessionForWorkdir(workdir("ci"));
    expect(await session.info()).toMatchObject({ session_id: session.id, life_state: "live" });
    for (const asks of [
      () => host.status(),
      () => host.shutDown(),
      () => host.rotateHostKey(),
      () => host.session(session.id).info(),
      () => host.session(session.id).data(),
    ]) {
      const error = await failure(asks());
      expect([error.code, error.message]).toEqual(["role_too_small", expect.stringContaining("host key")]);
    }
    expect((await failure(host.listKeys())).message).toContain("keys:admin");
    await using opened = await host.openSession(session.id, { right: "view" });
    expect(opened.workdir).toBe(session.workdir);
    expect((await failure(opened.stop())).code).toBe("role_too_small");
    expect(await host.session(session.id).waitFor("idle")).toMatchObject({ status: "idle" });
    expect(await session.waitFor("idle")).toMatchObject({ status: "idle" });
    const { record } = await session.mintToken({ right: "view", label: "for another" });
    expect(record).toMatchObject({ origin: "key", key_id: id });
    const watch = host.observe().watch();
    while (!watch.listed) await watch.changed();
    expect([...watch.sessions.keys()]).toContain(session.id);
    watch.close();
    await opened.close();
    await session.close();
    expect((await owner.session(session.id).listTokens()).map(({ token_id }) => token_id)).toEqual([record.token_id]);
    expect(await session.revokeToken(record.token_id).catch(() => host.session(session.id).revokeToken(record.token_id))).toEqual([record.token_id]);
    expect(await host.session(session.id).stop()).toMatchObject({ life: 1 });
  });

  test("B4 without the scope for tokens its handles are given back all the same: none stays behind", async () => {
    const { secret } = await key("starter", ["sessions:start"]);
    const host = await remote(secret);
    const session = await host.sessionForWorkdir(workdir("starter"));
    expect((await failure(session.mintToken({ right: "view", label: "x" }))).message).toContain("tokens:mint");
    expect((await failure(host.openSession(session.id))).message).toContain("tokens:mint");
    expect(await owner.session(session.id).listTokens()).toHaveLength(1);
    await host.close();
    expect(await owner.session(session.id).listTokens()).toEqual([]);
  });

  test("B4 a rotated key counts by its new secret; what is opened with a revoked one ends at once with the reason, and it can be deleted once", async () => {
    const { id, secret } = await key("rotated");
    const before = await remote(secret);
    const watch = before.observe().watch();
    while (!watch.listed) await watch.changed();
    const { key: next, record } = await owner.rotateKey(id, { overlapMs: 600_000 });
    expect(record).toMatchObject({ key_id: id, overlap_ends_at: expect.any(Number) as number });
    await before.listSessions();
    const after = await remote(next);
    const session = await after.sessionForWorkdir(workdir("rotated"));
    const seat = await session.attach({ as: "driver" });
    expect((await owner.rotateKey(id)).record).not.toHaveProperty("overlap_ends_at");
    expect(await watch.ended).toMatchObject({ code: "token_ended" });
    for (const host of [before, after]) expect((await failure(host.listSessions())).code).toBe("unauthenticated");
    expect(seat.connection).toBe("live");
    expect((await failure(owner.deleteKey(id))).code).toBe("conflict");
    expect(await owner.revokeKey(id)).toEqual([id]);
    expect(await seat.ended).toMatchObject({ code: "token_ended" });
    expect((await owner.listKeys()).find(({ key_id }) => key_id === id)).toMatchObject({ revoked_at: expect.any(Number) as number });
    await owner.deleteKey(id);
    expect((await failure(owner.deleteKey(id))).code).toBe("not_found");
    await Promise.all([before.close(), after.close()]);
  });
});

test("B34 the daemon answers the word by which a page asks whether it is there", async () => {
  const socket = new WebSocket(line.url);
  const said = (): Promise<string> => new Promise((resolve) => socket.once("message", (data) => resolve(String(data))));
  await new Promise((resolve) => socket.once("open", resolve));
  socket.send(JSON.stringify({ id: 1, method: "query", params: { path: "hello", input: { protocol: { min: 1, max: 1 } } } }));
  expect(await said()).toContain('"boot_id"');
  socket.send("PING");
  expect(await said()).toBe("PONG");
  socket.terminate();
});

test(
  "B4 B2 after rotate_host_key what holds the old key goes on by the new one: calls, watches over a lost link, waits, figures, tokens; the old key is refused",
  { timeout: 60_000 },
  async () => {
    const unix = await CutLine.open(home);
    const editor = await connect({ env: unix.env, autoStart: false });
    try {
      const session = await editor.sessionForWorkdir(workdir("editor"));
      const watch = editor.observe().watch();
      while (!watch.listed) await watch.changed();
      const waiting = session.waitFor("stopped");
      const file = join(home.stateDir, "host-key");
      const old = readFileSync(file, "utf8").trim();
      expect(await owner.rotateHostKey()).toEqual({ file });
      expect(readFileSync(file, "utf8").trim()).not.toBe(old);
      const door = new Door({ dial: unixSocket(home.socket) });
      const stale = new Host({ door, calls: new Connection(door), auth: { host_key: old }, clientName: "stale" });
      expect((await failure(stale.listSessions())).code).toBe("unauthenticated");
      await stale.close();
      expect(await editor.metrics()).toContain("sessiond_");
      expect((await Promise.all([editor.status(), editor.listAgents(), editor.listSessions(), session.listTokens()])).length).toBe(4);
      const { record } = await session.mintToken({ right: "view", label: "later" });
      expect(record.origin).toBe("host");
      const again = await owner.rotateHostKey();
      expect(again).toEqual({ file });
      const lost = (async () => {
        while (watch.connection === "live") await watch.changed();
        while (watch.connection === "reconnecting") await watch.changed();
      })();
      unix.cut();
      await lost;
      expect(watch.connection).toBe("live");
      await owner.session(session.id).stop();
      expect(await waiting).toMatchObject({ life_state: "stopped" });
      watch.close();
      await owner.rotateHostKey();
      await session.close();
      expect((await owner.session(session.id).listTokens()).map(({ token_id }) => token_id)).toEqual([record.token_id]);
    } finally {
      await editor.close();
      await unix.close();
    }
  },
);

test(
  "B4 B21 while the host key is rotated again and again, a watch takes up where it was, a seat on a token notices nothing, and calls that are never repeated are made on another link",
  { timeout: 60_000 },
  async () => {
    await using editor = await home.connect({ autoStart: false });
    const session = await editor.sessionForWorkdir(workdir("rotating"));
    const seat = await session.attach({ as: "driver" });
    let breaks = 0;
    const leave = seat.onChange(() => (breaks += seat.connection === "live" ? 0 : 1));
    const watch = editor.observe().watch();
    while (!watch.listed) await watch.changed();
    const seen: string[] = [];
    const rotations = amount(3, 10);
    for (let at = 0; at < rotations; at++) {
      // Who rotates has used the old key on its own link: that is left behind before the daemon closes it.
      const told = (async () => {
        while (watch.connection === "live") await watch.changed();
        while (watch.connection === "reconnecting") await watch.changed();
      })();
      await owner.rotateHostKey();
      seen.push((await owner.createKey({ name: `after ${at}`, scopes: ["sessions:list"], roots: [home.workdir] })).record.key_id);
      await told;
      expect(watch.connection).toBe("live");
      const title = `turn ${at}`;
      await seat.configure({ title });
      while (watch.sessions.get(session.id)?.title !== title) await watch.changed();
    }
    expect(new Set(seen).size).toBe(rotations);
    expect([breaks, seat.connection]).toEqual([0, "live"]);
    leave();
    watch.close();
    await seat.detach();
  },
);
