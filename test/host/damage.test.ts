import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { removeRoot, startTestDaemon, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { at, hostAuth, idOf, makeWorkdir } from "../support/gate-world.ts";

/** Three sessions on disk, no daemon: the second one is about to be damaged. */
let daemon: TestDaemon;
let running = false;
let ids: string[];
let tokens: string[];
let workdirs: string[];
beforeEach(async () => {
  daemon = await startTestDaemon();
  running = true;
  workdirs = await Promise.all(["one", "two", "three"].map((name) => makeWorkdir(daemon, name)));
  const started = [];
  for (const workdir of workdirs) started.push(await daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, hostAuth(daemon)));
  ids = started.map(({ session }) => session.session_id);
  tokens = started.map(({ token }) => token);
  await end();
});
afterEach(async () => {
  await end();
  await removeRoot(daemon.root);
});

async function end(): Promise<void> {
  if (running) await daemon.stop(0);
  running = false;
}
async function begin(): Promise<void> {
  daemon = await startTestDaemon({ root: daemon.root });
  running = true;
}

const folder = (index: number, ...path: string[]) => at(daemon, "sessions", ids[index] ?? "", ...path);
const status = () => daemon.call("daemon_status", {}, hostAuth(daemon));
const info = (index: number) => daemon.call("session_info", { session_id: ids[index] ?? "" }, hostAuth(daemon));
const authorize = (index: number) => daemon.call("authorize", { session_id: ids[index] ?? "" }, { token: tokens[index] ?? "" });
const listed = () =>
  daemon.host
    .list()
    .map((entry) => entry.session_id)
    .sort();
/** The other two are as they were, tokens and all. */
async function othersWork(): Promise<void> {
  for (const index of [0, 2]) {
    expect((await info(index)).workdir).toBe(workdirs[index]);
    expect((await authorize(index)).past_life).toBe(false);
  }
}
/** What was set aside is reported, and is there with every byte. */
async function setAside(directory: string, begins: string, bytes: string): Promise<void> {
  const kept = readdirSync(directory).filter((name) => name.startsWith(begins));
  expect(kept).toHaveLength(1);
  const path = join(directory, kept[0] ?? "");
  expect(readFileSync(path, "utf8")).toBe(bytes);
  expect((await status()).set_aside.map((aside) => aside.path)).toEqual([path]);
}

const broken: [string, (good: string) => string][] = [
  ["empty", () => ""],
  ["cut short", (good) => good.slice(0, good.length / 2)],
  ["of another version", (good) => good.replace('"version":1', '"version":2')],
  ["no JSON", () => "{]"],
  ["of another form", () => "[]"],
  ["with a field too many", (good) => good.replace("{", '{"surprise":true,')],
  ["binary", () => "\u0000\u0001\u0002"],
  ["with a value of the wrong kind", (good) => good.replace('"stable":true', '"stable":"yes"')],
];

describe("B12 registry.json", () => {
  for (const [how, damage] of broken) {
    test(`B12 ${how} is set aside, reported, and rebuilt from the folders: every session and token is there`, async () => {
      const path = at(daemon, "registry.json");
      const bad = damage(readFileSync(path, "utf8"));
      writeFileSync(path, bad);
      await begin();
      await setAside(at(daemon), "registry.json.unreadable-", bad);
      expect(listed()).toEqual([...ids].sort());
      await othersWork();
      const again = await daemon.call("start_or_get_for_workdir", { workdir: workdirs[1] ?? "" }, hostAuth(daemon));
      expect(again).toMatchObject({ created: false, session: { session_id: ids[1] } });
    });
  }

  test("B12 lost altogether it is rebuilt with life, end, stability and request id of each session", async () => {
    await begin();
    await daemon.call("stop", { session_id: ids[2] ?? "" }, hostAuth(daemon));
    const request = { request_id: idOf("req", "A"), workdir: workdirs[0] ?? "", model: "practice" };
    const extra = await daemon.call("start_session", request, hostAuth(daemon));
    const before = daemon.host.list().map(({ session_id, workdir, stable, created_at }) => ({ session_id, workdir, stable, created_at }));
    const entries = [...ids, extra.session.session_id].map((id) => daemon.host.entry(id));
    await end();
    rmSync(at(daemon, "registry.json"));
    await begin();
    expect(
      daemon.host
        .list()
        .map(({ session_id, workdir, stable, created_at }) => ({ session_id, workdir, stable, created_at }))
        .sort((a, b) => (a.session_id < b.session_id ? -1 : 1)),
    ).toEqual(before.sort((a, b) => (a.session_id < b.session_id ? -1 : 1)));
    expect([...ids, extra.session.session_id].map((id) => daemon.host.entry(id))).toEqual(entries);
    expect((await daemon.call("start_session", request, hostAuth(daemon))).session.session_id).toBe(extra.session.session_id);
    expect((await daemon.call("start_or_get_for_workdir", { workdir: workdirs[2] ?? "" }, hostAuth(daemon))).session).toMatchObject({
      session_id: ids[2],
      life: 2,
    });
    expect((await status()).set_aside).toEqual([]);
  });

  test("B12 rebuilt, it leaves out a folder of garbage, which is set aside and reported", async () => {
    rmSync(at(daemon, "registry.json"));
    writeFileSync(folder(1, "session.json"), "garbage");
    mkdirSync(at(daemon, "sessions", "not-a-session"));
    writeFileSync(at(daemon, "sessions", "a-file"), "what is this");
    await begin();
    expect(listed()).toEqual([ids[0] ?? "", ids[2] ?? ""].sort());
    await othersWork();
    const { set_aside } = await status();
    expect(set_aside.map(({ path }) => path.split("/").at(-1)?.split(".unreadable-")[0] ?? "").sort()).toEqual(
      [ids[1] ?? "", "a-file", "not-a-session"].sort(),
    );
    for (const { path } of set_aside) expect(existsSync(path)).toBe(true);
    // The directory of the lost one begins anew, under an id of its own.
    const anew = await daemon.call("start_or_get_for_workdir", { workdir: workdirs[1] ?? "" }, hostAuth(daemon));
    expect(anew.created).toBe(true);
    expect(ids).not.toContain(anew.session.session_id);
  });

  test("B12 rebuilt twice, what was set aside the first time is left alone", async () => {
    rmSync(at(daemon, "registry.json"));
    writeFileSync(folder(1, "session.json"), "garbage");
    await begin();
    const first = readdirSync(at(daemon, "sessions")).sort();
    await end();
    rmSync(at(daemon, "registry.json"));
    await begin();
    expect(readdirSync(at(daemon, "sessions")).sort()).toEqual(first);
    await othersWork();
  });
});

describe("B12 session.json", () => {
  for (const [how, damage] of broken) {
    test(`B12 ${how} is set aside and reported; the conversation is there, its tokens are gone, the others know nothing of it`, async () => {
      const path = folder(1, "session.json");
      const bad = damage(readFileSync(path, "utf8"));
      writeFileSync(path, bad);
      await begin();
      await othersWork();
      await expect(authorize(1)).rejects.toMatchObject({ code: "unauthenticated" });
      await setAside(folder(1), "session.json.unreadable-", bad);
      expect((await daemon.call("session_data", { session_id: ids[1] ?? "" }, hostAuth(daemon))).frames[0]?.event).toMatchObject({
        type: "session_started",
        life: 1,
      });
      const again = await daemon.call("start_or_get_for_workdir", { workdir: workdirs[1] ?? "" }, hostAuth(daemon));
      expect(again).toMatchObject({ created: false, session: { session_id: ids[1] } });
      tokens[1] = again.token;
      expect((await authorize(1)).right).toBe("control");
    });
  }

  test("B12 another session's file in its place gives nobody that session's rights here", async () => {
    writeFileSync(folder(1, "session.json"), readFileSync(folder(0, "session.json")));
    await begin();
    await expect(daemon.call("authorize", { session_id: ids[1] ?? "" }, { token: tokens[0] ?? "" })).rejects.toMatchObject({ code: "unauthenticated" });
    await expect(authorize(1)).rejects.toMatchObject({ code: "unauthenticated" });
    await othersWork();
    expect((await status()).set_aside).toHaveLength(1);
    const again = await daemon.call("start_or_get_for_workdir", { workdir: workdirs[1] ?? "" }, hostAuth(daemon));
    tokens[1] = again.token;
    expect((await authorize(1)).session_id).toBe(ids[1]);
  });
});

describe("B12 a session's folder", () => {
  test("B12 a journal of garbage is set aside and reported; the directory has its session again, under the same id, and no old token works in it", async () => {
    const garbage = "garbage\nmore of it\n";
    writeFileSync(folder(1, "journal"), garbage);
    await begin();
    await othersWork();
    const again = await daemon.call("start_or_get_for_workdir", { workdir: workdirs[1] ?? "", model: "practice" }, hostAuth(daemon));
    expect(again).toMatchObject({ created: true, session: { session_id: ids[1], life_state: "live" } });
    await setAside(folder(1), "journal.damaged-", garbage);
    expect((await authorize(1)).past_life).toBe(true);
  });

  test("B12 a folder that is gone costs that session only, and its directory can be worked in again", async () => {
    rmSync(folder(1), { recursive: true });
    await begin();
    await othersWork();
    await expect(authorize(1)).rejects.toMatchObject({ code: "unauthenticated" });
    const anew = await daemon.call("start_or_get_for_workdir", { workdir: workdirs[1] ?? "", model: "practice" }, hostAuth(daemon));
    expect(anew).toMatchObject({ created: true, session: { workdir: workdirs[1], life_state: "live" } });
    expect(daemon.bugs).toEqual([]);
  });

  test("B12 a file where the folder should be costs that session only; nothing of it is overwritten", async () => {
    renameSync(folder(1), `${folder(1)}-away`);
    writeFileSync(folder(1), "not a folder");
    await begin();
    await othersWork();
    await expect(info(1)).rejects.toMatchObject({ code: "storage_failed" });
    expect(readFileSync(folder(1), "utf8")).toBe("not a folder");
    expect(daemon.bugs).toEqual([]);
  });

  test("B12 stray names among the marks of open sessions disturb nobody", async () => {
    writeFileSync(at(daemon, "open", "stray"), "");
    writeFileSync(at(daemon, "open", idOf("ses", "Z")), "");
    await begin();
    await othersWork();
    expect(listed()).toEqual([...ids].sort());
    expect(daemon.bugs).toEqual([]);
  });
});
