import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { connect } from "@sessiond/client/node";
import type { Host } from "@sessiond/client";
import { whole } from "../support/amount.ts";
import { failure } from "../support/attached-seat.ts";
import { DeafRelay } from "../support/deaf-relay.ts";
import { eventually } from "../support/eventually.ts";
import { PeersHome } from "../support/peers-home.ts";
import { SeenFrames } from "../support/seen-frames.ts";

/** The client's side: a daemon, or a way to it, that keeps the connection and says nothing. In the whole the limits are those that people have. */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each();
});

const short = { heartbeat_ms: 1_000, heartbeat_wait_ms: 2_000, seat_grace_ms: 6_000 };

async function begin(): Promise<{ home: PeersHome; host: Host }> {
  const home = new PeersHome(whole ? {} : short);
  undo.push(() => home.close());
  return { home, host: await home.begin() };
}

/** How often a prompt with this text was accepted. */
const accepted = (home: PeersHome, sessionId: string, text: string): number =>
  home.journal(sessionId).filter(({ event }) => event.type === "prompt_accepted" && JSON.stringify(event["parts"]).includes(`say ${text}`)).length;

test(
  "B34 B36 a daemon that is suspended is noticed by its silence: calls end in `timeout` or are kept until it is back, and then nothing is lost or doubled",
  { timeout: 150_000 },
  async () => {
    const { home, host } = await begin();
    const session = await host.sessionForWorkdir(home.directory("a"), { model: "practice" });
    const driver = await session.attach({ as: "driver" });
    const seen = new SeenFrames(driver);
    await driver.sendPrompt(`stream 100 every ${whole ? 20 : 5}`);
    await seen.next(({ type }) => type === "agent_message_chunk");
    process.kill(home.pid, "SIGSTOP");
    undo.push(() => process.kill(home.pid, "SIGCONT"));
    const back = seen.back();
    // Asked before the silence is noticed, and answered after it is over.
    const kept = driver.sendPrompt("say kept", { timeoutMs: 120_000 });
    const short = await failure(driver.sendPrompt("say given up", { timeoutMs: 200 }));
    expect(short).toMatchObject({ code: "timeout", detail: { verb: "send_prompt", outcome: "it may have happened" } });
    expect((await failure(session.info({ timeoutMs: 100 }))).code).toBe("timeout");
    while (driver.connection === "live") await driver.changed();
    expect(driver.connection).toBe("reconnecting");
    // Nobody is there to dial either.
    expect(["timeout", "daemon_unreachable"]).toContain((await failure(session.info({ timeoutMs: 100 }))).code);

    process.kill(home.pid, "SIGCONT");
    await back;
    await kept;
    await driver.prompt("say last");
    await seen.until(({ status, queue }) => status === "idle" && queue.length === 0);
    seen.check();
    expect(driver.role).toBe("driver");
    expect(["kept", "last"].map((text) => accepted(home, session.id, text))).toEqual([1, 1]);
    expect(accepted(home, session.id, "given up")).toBeLessThanOrEqual(1);
    const answers = driver.state.messages.map(({ text }) => text.trim());
    expect(answers.filter((text) => text === Array.from({ length: 100 }, (_, n) => n + 1).join(" "))).toHaveLength(1);
  },
);

test(
  "B15 B34 where the way swallows everything both sides notice: the seat is live again on a new connection, and what was asked meanwhile happened once",
  { timeout: 150_000 },
  async () => {
    const { home, host } = await begin();
    const session = await host.sessionForWorkdir(home.directory("a"), { model: "practice" });
    const relay = await DeafRelay.begin(join(home.root, "far"), home.socket);
    undo.push(() => relay.end());
    const there = await connect({ env: home.env, runtimeDir: relay.runtimeDir, autoStart: false });
    undo.push(() => there.close());
    const held = await there.sessionForWorkdir(home.directory("a"));
    const driver = await held.attach({ as: "driver", label: "far" });
    const seen = new SeenFrames(driver);
    const witness = new SeenFrames(await session.attach({ as: "viewer" }));
    await driver.sendPrompt(`stream 100 every ${whole ? 20 : 5}`);
    await seen.next(({ type }) => type === "agent_message_chunk");
    const lost = witness.next((event) => event.type === "seat_lost" || event.type === "seat_resumed");
    const back = seen.back();
    expect(relay.goDeaf()).toBeGreaterThanOrEqual(2);
    const asked = driver.sendPrompt("say asked meanwhile", { timeoutMs: 120_000 });
    const minting = await failure(held.mintToken({ right: "view", label: "x" }, { timeoutMs: 100 }));
    expect(minting).toMatchObject({ code: "timeout", message: expect.stringContaining("it may have happened") as string });
    await Promise.all([back, asked, lost]);
    await driver.prompt("say last");
    await eventually("the witness has seen it all", () => witness.seat.state.seq >= driver.state.seq);
    for (const each of [seen, witness]) each.check();
    expect(["asked meanwhile", "last"].map((text) => accepted(home, session.id, text))).toEqual([1, 1]);
    expect(witness.seat.connection).toBe("live");
  },
);
