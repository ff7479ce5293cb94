import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isSessiondError } from "@sessiond/client";
import { afterEach, describe, expect, test } from "vitest";
import { amount, whole } from "../support/amount.ts";
import { DiskHome, expectWhole, seated } from "../support/disk-home.ts";
import { eventually } from "../support/eventually.ts";
import { mayMount } from "../support/small-disk.ts";
import { failure, temporariesIn, until } from "../support/wrecked-home.ts";

/** A disk that fills up under a real daemon and its clients, in the middle of their work, and then gets room again. */
const never = 600_000;

let home: DiskHome;
afterEach(() => home.close());

const epochsOf = (journal: string): number => journal.split("\n").filter((line) => line.startsWith('{"epoch"')).length;

/** Lines of the audit file; null for one that cannot be read. */
const auditLines = (): (object | null)[] =>
  readFileSync(join(home.stateDir, "audit.jsonl"), "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => {
      try {
        return JSON.parse(line) as object;
      } catch {
        return null;
      }
    });

describe.skipIf(!mayMount)("a full disk (skipped where this account may not mount a small one)", () => {
  test("B38 a disk that fills up in the middle of a turn: the session says that it is faulted, writing is refused with words, reading goes on; the daemon stays, and goes on when there is room", async () => {
    home = new DiskHome(never);
    const daemon = await home.startByHand();
    const here = await seated(home);
    const { host, session, driver, viewers } = here;
    const kept = await driver.prompt("say kept");
    // Enough for the turn to begin, and not to end.
    home.disk.fill(65_536);
    const turn = driver.prompt("stream 100000 every 1").catch((error: unknown) => error);
    await until(driver, () => driver.state.turn !== null);
    const turnId = driver.state.turn?.turn_id ?? "";
    await Promise.all([driver, ...viewers].map((seat) => until(seat, () => seat.fault !== undefined)));
    expect(viewers[0]?.fault).toMatchObject({ code: "storage_failed", reason: expect.stringContaining("ENOSPC") });
    home.disk.fill();

    // Said by all that tell how it is.
    expect((await session.info()).fault).toMatchObject({ code: "storage_failed" });
    expect(await failure(driver.sendPrompt("say refused"))).toMatchObject({ code: "session_faulted", detail: { reason: expect.stringContaining("ENOSPC") } });
    expect(await failure(host.startSession({ workdir: home.workdir }))).toMatchObject({
      code: "storage_failed",
      detail: { reason: expect.stringContaining("ENOSPC") },
    });
    expect(await failure(session.mintToken({ right: "view", label: "more" }))).toMatchObject({ code: "storage_failed" });
    const status = await eventually("the status knows that the audit file is not written", async () => {
      await failure(driver.sendPrompt("say refused"));
      const now = await host.status();
      return now.audit.failed > 0 ? now : null;
    });
    expect(status.faults).toMatchObject([{ session_id: session.id }]);
    expect(status.audit.last_failure).toBe("ENOSPC");
    expect(status.problems.map(({ what }) => what)).toEqual(
      expect.arrayContaining([
        expect.stringContaining(`${session.id} cannot write its journal: ENOSPC`),
        expect.stringMatching(/of the audit file could not be written \(ENOSPC\)/),
      ]),
    );
    // Reading goes on: lists, pages, and whoever comes to look.
    expect((await host.listSessions()).sessions.map((each) => each.session_id)).toEqual([session.id]);
    expect((await session.data()).frames.length).toBeGreaterThan(0);
    const late = await session.attach({ as: "viewer" });
    expect(late.state.seq).toBe(driver.state.seq);
    expect(late.fault).toBeDefined();

    // Room again: who ends the turn, or asks for anything that must reopen, finds it whole.
    home.disk.clear();
    await session.interrupt({ turnId });
    await Promise.all([driver, ...viewers].map((seat) => until(seat, () => seat.fault === undefined)));
    expect(await turn).toMatchObject({ stopReason: "interrupted" });
    expect(driver.cursor).toMatch(/^2:/);
    expect(await driver.prompt("say after")).toMatchObject({ stopReason: "end_turn", text: "after" });
    expect((await session.data()).frames.flatMap(({ event }) => (event.type === "turn_ended" ? [event.turn_id] : []))).toContain(kept.turnId);
    await expectWhole(home, here);
    expect((await host.status()).faults).toEqual([]);
    expect(home.logged("listening")).toHaveLength(1);
    expect(home.daemons()).toEqual([daemon.pid]);
    // The line that was cut short took no other with it.
    await eventually(
      "all lines but the torn one can be read",
      async () => auditLines().filter((line) => line !== null).length === (await host.status()).audit.written,
    );
  }, 60_000);

  test(
    "B38 B36 it fills up and gets room again and again while a driver works: the session reopens by itself each time, under a new epoch, and nothing that was acknowledged is lost",
    async () => {
      home = new DiskHome(200);
      const daemon = await home.startByHand();
      const here = await seated(home);
      const { driver, host, session } = here;
      const acknowledged: { seq: number; promptId: string }[] = [];
      let refused = 0;
      const rounds = amount(4, 25);
      for (let round = 0; round < rounds; round++) {
        home.disk.fill(8_192);
        // Somewhere in these it is full; the session then tries again and again to reopen, which on a full disk may fail for as long.
        let refusal: unknown = null;
        for (let sent = 0; refusal === null; sent++) {
          if (sent > 400) throw new Error("the disk never filled up");
          const reply = await driver.sendPrompt(`say ${round}.${sent} ${"x".repeat(2_000)}`).catch((error: unknown) => error);
          if (reply instanceof Error) refusal = reply;
          else acknowledged.push(reply as { seq: number; promptId: string });
        }
        expect(isSessiondError(refusal, "storage_failed") || isSessiondError(refusal, "session_faulted"), String(refusal)).toBe(true);
        refused += 1;
        home.disk.clear();
        await eventually("the session has reopened by itself", async () => (await session.info()).fault === undefined);
        if (driver.state.queue.some(({ held }) => held)) await driver.releaseQueue();
        await session.waitFor("idle");
        expect(await driver.prompt(`say round ${round}`)).toMatchObject({ stopReason: "end_turn", text: `round ${round}` });
      }
      await expectWhole(home, here);
      const accepted = new Map(home.journal(session.id).flatMap(({ seq, event }) => (event.type === "prompt_accepted" ? [[event["prompt_id"], seq]] : [])));
      for (const { seq, promptId } of acknowledged) expect(accepted.get(promptId)).toBe(seq);
      expect(epochsOf(home.journalText(session.id))).toBeGreaterThan(rounds);
      expect(await host.status()).toMatchObject({ pid: daemon.pid, faults: [] });
      expect(home.logged("listening")).toHaveLength(1);
      console.log(
        `B38: ${rounds} times full, ${refused} prompts refused, ${acknowledged.length} acknowledged and kept, ${epochsOf(home.journalText(session.id))} epochs, journal at ${driver.state.seq}`,
      );
    },
    whole ? 240_000 : 60_000,
  );

  test.runIf(whole)(
    "B38 B35 the registry alone cannot be written when a session is stopped: the stop fails with words, and is true when it is asked for again",
    async () => {
      home = new DiskHome(never);
      await home.startByHand();
      const { host, session, driver } = await seated(home);
      await driver.prompt("say kept");
      // A frame fits into what the journal has of its last page; the registry is written anew.
      home.disk.fill();
      expect(await failure(session.stop())).toMatchObject({ code: "storage_failed", detail: { reason: expect.stringContaining("ENOSPC") } });
      const end = home.journal(session.id).at(-1);
      home.disk.clear();
      expect(await session.stop()).toMatchObject({ life: 1 });
      expect(home.journal(session.id).filter(({ event }) => event.type === "session_stopped")).toHaveLength(1);
      if (end?.event.type === "session_stopped") expect(home.journal(session.id).at(-1)).toEqual(end);
      expect((await host.listSessions()).sessions).toMatchObject([{ life_state: "stopped" }]);
      await home.kill(await home.daemon());
      await home.startByHand();
      expect((await (await home.connect({ autoStart: false })).listSessions()).sessions).toMatchObject([{ life_state: "stopped" }]);
    },
    60_000,
  );

  test("B38 B40 full while it drains: it ends within its bound all the same, and the next start goes on", async () => {
    home = new DiskHome(never);
    await home.startByHand();
    const here = await seated(home);
    const { driver, host, session } = here;
    const accepted = await driver.sendPrompt("stream 100000 every 1");
    await until(driver, () => driver.state.messages.some(({ type }) => type === "agent"));
    home.disk.fill();
    const pid = await home.daemon();
    await host.shutDown({ waitMs: 500 });
    await home.gone(pid);
    expect(existsSync(home.socket)).toBe(false);
    home.disk.clear();
    const backs = here.seen.map((seen) => seen.back());
    await home.startByHand();
    await Promise.all(backs);
    await until(driver, () => driver.state.turn === null && driver.state.turns === 1);
    expect(driver.state.last_turn).toMatchObject({ turn_id: "turn_id" in accepted ? accepted.turn_id : expect.any(String), stop_reason: "interrupted" });
    expect(await driver.prompt("say after")).toMatchObject({ stopReason: "end_turn", text: "after" });
    expect(home.journal(session.id).filter(({ event }) => event.type === "turn_ended")).toHaveLength(2);
    for (const each of here.seen) each.check();
    expect(temporariesIn(home)).toEqual([]);
  }, 60_000);
});
