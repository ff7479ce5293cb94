import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { isSessiondError, type Session } from "@sessiond/client";
import { afterEach, describe, expect, test } from "vitest";
import { whole } from "../support/amount.ts";
import { DiskHome, seated } from "../support/disk-home.ts";
import { eventually } from "../support/eventually.ts";
import { mayMount } from "../support/small-disk.ts";
import { failure, runToItsEnd, temporariesIn } from "../support/wrecked-home.ts";

/** What begins on a full disk: the very first daemon, another one, a session. */
const never = 600_000;
/** More than what is left of a page that the journal has already, so that it needs room that is not there. */
const longText = "x".repeat(16_384);

let home: DiskHome;
afterEach(() => home.close());

describe.skipIf(!mayMount)("a full disk (skipped where this account may not mount a small one)", () => {
  test("B38 B41 full before the very first start: the daemon ends with words and leaves no half of a key or a registry; with room it starts as if nothing had been", async () => {
    home = new DiskHome(never);
    home.disk.fill();
    const { code, said } = await runToItsEnd(home);
    expect(code).toBe(1);
    expect(said).toEqual([expect.stringMatching(/^sessiond: .*ENOSPC/)]);
    for (const name of ["host-key", "registry.json", "rules.json"]) expect(existsSync(join(home.stateDir, name)), name).toBe(false);
    expect(temporariesIn(home)).toEqual([]);
    // A client that would start one is told, and does not try for ever.
    const error = await failure(home.connect());
    expect(error.code).toBe("daemon_unreachable");
    expect(error.message).toMatch(/ended with 1.*`sessiond up --foreground` shows why/);
    expect(home.daemons()).toEqual([]);
    home.disk.clear();
    const host = await home.connect();
    expect((await host.sessionForWorkdir(home.workdir)).created).toBe(true);
    expect((await host.status()).problems).toEqual([]);
  }, 60_000);

  test.runIf(whole)(
    "B38 B36 a start on a full disk: what is stored is read, nothing is lost or set aside, and it goes on by itself when there is room",
    async () => {
      home = new DiskHome(200);
      await home.startByHand();
      const before = await seated(home);
      await before.driver.prompt(`say kept ${longText}`);
      await before.driver.detach();
      const journal = home.journal(before.session.id).map(({ text }) => text);
      await home.kill(await home.daemon());
      home.disk.fill();
      await home.startByHand();
      const host = await home.connect({ autoStart: false });
      expect((await host.listSessions()).sessions.map(({ session_id }) => session_id)).toEqual([before.session.id]);
      await failure(host.startSession({ workdir: home.workdir }));
      home.disk.clear();
      const session = await eventually("the session can be used", () => host.openSession(before.session.id).catch(() => null));
      const driver = await eventually("the driver's seat is free", () => session.attach({ as: "driver" }).catch(() => null));
      expect(await driver.prompt("say after")).toMatchObject({ stopReason: "end_turn", text: "after" });
      expect(
        home
          .journal(session.id)
          .map(({ text }) => text)
          .slice(0, journal.length),
      ).toEqual(journal);
      expect((await host.status()).set_aside).toEqual([]);
      expect((await host.listSessions()).sessions).toHaveLength(1);
    },
    60_000,
  );

  test("B38 full in the middle of a session's creation: refused with words, nothing half-done remains, neither in the list nor on the disk, nor after a restart", async () => {
    home = new DiskHome(never);
    await home.startByHand();
    const host = await home.connect({ autoStart: false });
    const known = await host.startSession({ workdir: home.workdir });
    const folders = (): string[][] => ["sessions", "open"].map((name) => readdirSync(join(home.stateDir, name)));
    let refusals = 0;
    // Further along by one page each time, until there is room for all of it.
    let made: Session | null = null;
    for (let pages = 0; made === null; pages++) {
      home.disk.clear();
      home.disk.fill(pages * 4_096);
      const result = await host.startSession({ workdir: home.workdir }).catch((error: unknown) => error);
      if (!isSessiondError(result)) made = result as Session;
      else {
        expect(result).toMatchObject({ code: "storage_failed", detail: { reason: expect.stringContaining("ENOSPC") } });
        refusals += 1;
        expect(folders()).toEqual([[known.id], [known.id]]);
        expect((await host.listSessions()).sessions.map(({ session_id }) => session_id)).toEqual([known.id]);
      }
    }
    expect(refusals).toBeGreaterThan(1);
    home.disk.clear();
    await home.kill(await home.daemon());
    await home.startByHand();
    const again = await home.connect({ autoStart: false });
    expect((await again.listSessions()).sessions.map(({ session_id }) => session_id).toSorted()).toEqual([known.id, made.id].toSorted());
    expect(temporariesIn(home)).toEqual([]);
    expect((await again.status()).set_aside).toEqual([]);
  }, 60_000);
});
