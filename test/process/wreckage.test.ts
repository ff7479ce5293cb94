import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isSessiondError, type DaemonStatus, type Host } from "@sessiond/client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { whole } from "../support/amount.ts";
import { damages } from "../support/damages.ts";
import { DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { runToItsEnd } from "../support/wrecked-home.ts";

/** What a start makes of files that are damaged: set aside and reported, never overwritten; the others work; the next start is quiet. */
let home: DaemonHome;
beforeEach(() => {
  home = new DaemonHome('[model]\nname = "practice"\n[limits]\nseat_grace_ms = 200\n');
});
afterEach(() => home.close());

interface Wreck {
  readonly id: string;
  readonly workdir: string;
}

const at = (...path: string[]): string => join(home.stateDir, ...path);
const folder = (id: string, ...path: string[]): string => at("sessions", id, ...path);

async function begin(): Promise<Host> {
  await home.startByHand();
  const host = await home.connect({ autoStart: false });
  await eventually("it is ready", async () => (await host.status()).ready);
  return host;
}

async function end(): Promise<void> {
  await home.kill(await home.daemon());
}

/** A session for each damage, with a turn behind it; then the daemon dies. */
async function sessions(): Promise<Wreck[]> {
  const host = await begin();
  const made: Wreck[] = [];
  for (const [index] of damages.entries()) {
    const workdir = join(home.root, `project-${index}`);
    mkdirSync(workdir);
    const session = await host.sessionForWorkdir(workdir);
    const driver = await session.attach({ as: "driver" });
    await driver.prompt("say kept");
    await driver.detach();
    made.push({ id: session.id, workdir });
  }
  await end();
  return made;
}

const asideOf = ({ set_aside }: DaemonStatus): string[] => set_aside.map(({ path }) => path).toSorted();
/** Names in the state directory, and what is set aside with its bytes. */
const asideBytes = (): Record<string, string> =>
  Object.fromEntries(
    readdirSync(home.stateDir, { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(damaged|unreadable)-\d+$/.test(name) && statSync(at(name)).isFile())
      .map((name) => [name, readFileSync(at(name), "latin1")]),
  );

test("B12 B38 a dozen damages at once: the start sets aside and reports each, the undamaged goes on as it was, nothing is overwritten, and the next start is quiet", async () => {
  const wrecks = await sessions();
  const bad = new Map<string, string>();
  for (const [index, { how, make, aside }] of damages.entries()) {
    const { id } = wrecks[index] as Wreck;
    make(folder(id));
    if (aside !== undefined) bad.set(how, readFileSync(folder(id, aside.split(".")[0] === "journal" ? "journal" : "session.json"), "latin1"));
  }
  // Of nobody: marks and folders without a session.
  for (const name of ["stray", "ses_ZZZZZZZZZZZZZZZZZZZZZZ"]) writeFileSync(at("open", name), "");
  const orphan = "ses_YYYYYYYYYYYYYYYYYYYYYY";
  cpSync(folder((wrecks[0] as Wreck).id), folder(orphan), { recursive: true });
  writeFileSync(at("rules.json"), "garbage");
  writeFileSync(at(".registry.json.17-1"), '{"version":1');

  const host = await begin();
  const status = await host.status();
  const expected: string[] = [at("rules.json.unreadable-")];
  for (const [index, { aside }] of damages.entries()) if (aside !== undefined) expected.push(folder((wrecks[index] as Wreck).id, aside));
  expect(asideOf(status).map((path) => path.replace(/\d+$/, ""))).toEqual(expected.toSorted());
  for (const path of asideOf(status)) expect(status.problems.map(({ what }) => what)).toContainEqual(expect.stringContaining(`${path} was set aside: `));
  const kept = asideBytes();
  for (const [how, bytes] of bad) expect(Object.values(kept), how).toContain(bytes);

  for (const [index, { how, becomes }] of damages.entries()) {
    const { id, workdir } = wrecks[index] as Wreck;
    if (becomes === "refuses") {
      const error: unknown = await host.openSession(id).then(
        (session) => session.attach({ as: "viewer" }),
        (reason: unknown) => reason,
      );
      expect(isSessiondError(error, "storage_failed"), `${how}: ${String(error)}`).toBe(true);
      expect(
        status.problems.map(({ what }) => what),
        how,
      ).toContainEqual(expect.stringContaining(`${id} could not be opened at the start`));
      continue;
    }
    const session = await host.sessionForWorkdir(workdir);
    expect([how, session.id, session.created]).toEqual([how, id, becomes === "begins anew"]);
    // Where the end of its journal is lost, so is that its driver had left: its grace runs.
    const driver = await eventually("the driver's seat is free", () => session.attach({ as: "driver" }).catch(() => null));
    expect(await driver.prompt("say after"), how).toMatchObject({ stopReason: "end_turn", text: "after" });
    const page = await session.data();
    expect(
      page.frames.map(({ seq }) => seq),
      how,
    ).toEqual(page.frames.map((_, index) => index + 1));
    await driver.detach();
  }
  expect((await host.listSessions()).sessions.map(({ session_id }) => session_id).toSorted()).toEqual(wrecks.map(({ id }) => id).toSorted());
  // Not a session, and nobody's to delete.
  expect(existsSync(folder(orphan, "journal"))).toBe(true);
  await end();

  const again = await begin();
  const quiet = await again.status();
  expect(quiet.set_aside).toEqual([]);
  expect(quiet.problems.map(({ what }) => what).filter((what) => !what.includes("could not be opened at the start"))).toEqual([]);
  expect(asideBytes()).toEqual(kept);
  expect(home.logged("listening")).toHaveLength(3);
  console.log(`B12: ${damages.length} damages at once, ${Object.keys(kept).length} files set aside with every byte, ${wrecks.length} sessions listed`);
}, 120_000);

describe("registry.json", () => {
  const broken: [string, (bytes: string) => string][] = [
    ["cut short", (bytes) => bytes.slice(0, bytes.length / 2)],
    ["empty", () => ""],
    ["garbage", () => "\0\0\0garbage"],
    ["of another version", (bytes) => bytes.replace('"version":1', '"version":2')],
  ];
  // Each of them, and more, is in test/host/damage.test.ts, in one process.
  for (const [how, damage] of broken) {
    test.runIf(whole)(
      `B12 ${how}, it is set aside, reported and rebuilt; the next start is quiet`,
      async () => {
        const before = await begin();
        const session = await before.sessionForWorkdir(home.workdir);
        await end();
        const good = readFileSync(at("registry.json"), "utf8");
        const bad = damage(good);
        writeFileSync(at("registry.json"), bad);
        const status = await (await begin()).status();
        expect(status.set_aside).toHaveLength(1);
        expect(readFileSync(status.set_aside[0]?.path ?? "", "utf8")).toBe(bad);
        expect((await session.info()).session_id).toBe(session.id);
        expect(readFileSync(at("registry.json"), "utf8")).toBe(good);
        await end();
        expect((await (await begin()).status()).problems).toEqual([]);
      },
      60_000,
    );
  }
});

describe("the host key", () => {
  for (const [how, bad] of [
    ["empty", ""],
    ["garbage", "garbage\n"],
  ].slice(whole ? 0 : 1) as [string, string][]) {
    test(`B12 B38 ${how}, the daemon does not start and says how to mend it; nothing is overwritten, and mended it finds its sessions`, async () => {
      const session = await (await begin()).sessionForWorkdir(home.workdir);
      await end();
      writeFileSync(at("host-key"), bad);
      const { code, said } = await runToItsEnd(home);
      expect(code).toBe(1);
      expect(said).toEqual([expect.stringMatching(/host-key is damaged; remove it and a new key is made at the next start/)]);
      expect(readFileSync(at("host-key"), "utf8")).toBe(bad);
      rmSync(at("host-key"));
      const host = await begin();
      expect((await host.listSessions()).sessions.map(({ session_id }) => session_id)).toEqual([session.id]);
    }, 60_000);
  }

  test.runIf(whole)(
    "B12 B2 readable by others, it is closed again; missing, another is made; tokens of before hold",
    async () => {
      const session = await (await begin()).sessionForWorkdir(home.workdir);
      await end();
      chmodSync(at("host-key"), 0o644);
      await begin();
      expect(statSync(at("host-key")).mode & 0o777).toBe(0o600);
      const old = readFileSync(at("host-key"), "utf8");
      await end();
      rmSync(at("host-key"));
      await begin();
      expect(readFileSync(at("host-key"), "utf8")).not.toBe(old);
      expect((await session.authorize()).right).toBe("control");
    },
    60_000,
  );
});
