import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { removeRoot, startTestDaemon, testRoot, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { at, filesOf, hostAuth, idOf } from "../support/gate-world.ts";

let root: string;
let daemon: TestDaemon;
const path = (...names: string[]) => join(root, ...names);

beforeEach(async () => {
  root = realpathSync(await testRoot());
  for (const name of ["home/project", "a/b", "a/c", "outside"]) mkdirSync(path(name), { recursive: true });
  daemon = await startTestDaemon({ root });
});
afterEach(async () => {
  await daemon.stop(0);
  await removeRoot(root);
});

const get = (workdir: string) => daemon.call("start_or_get_for_workdir", { workdir, model: "practice" }, hostAuth(daemon));

/** With `config.toml` as given. */
async function configured(toml: string): Promise<void> {
  await daemon.stop(0);
  mkdirSync(path("config/sessiond"), { recursive: true });
  writeFileSync(path("config/sessiond/config.toml"), toml);
  daemon = await startTestDaemon({ root });
}

async function refusal(workdir: string): Promise<string> {
  const before = filesOf(at(daemon));
  const told = new Set<string>();
  const start = () => daemon.call("start_session", { request_id: idOf("req", "A"), workdir }, hostAuth(daemon));
  for (const call of [() => get(workdir), start]) {
    await call().then(
      () => told.add("accepted"),
      (error: { code: string; detail: { reason: string } }) => told.add(`${error.code}: ${error.detail.reason}`),
    );
  }
  expect(filesOf(at(daemon))).toEqual(before);
  expect(daemon.host.list()).toEqual([]);
  return [...told].join(" / ");
}

test("B9 every way to write a directory's path, and every link to it, is one session", async () => {
  symlinkSync(path("a/b"), path("link"));
  symlinkSync(path("link"), path("link-to-link"));
  symlinkSync(path("a"), path("parent"));
  const spellings = [
    path("a/b"),
    `${path("a/b")}/`,
    `${path("a")}//b`,
    `${path("a")}/./b`,
    `${path("a/c")}/../b`,
    path("link"),
    `${path("link")}/.`,
    path("link-to-link"),
    `${path("parent")}/b`,
  ];
  const found = await Promise.all(spellings.map(get));
  expect(new Set(found.map(({ session }) => session.session_id)).size).toBe(1);
  expect(found.filter(({ created }) => created)).toHaveLength(1);
  expect(new Set(found.map(({ session }) => session.workdir))).toEqual(new Set([path("a/b")]));
  for (const workdir of spellings) expect((await daemon.call("list_sessions", { workdir }, hostAuth(daemon))).sessions, workdir).toHaveLength(1);
});

test("B9 neighbours, parents and children of a directory are other sessions", async () => {
  mkdirSync(path("a/b2"));
  const ids = await Promise.all([path("a"), path("a/b"), path("a/b2"), path("a/c")].map(async (workdir) => (await get(workdir)).session.session_id));
  expect(new Set(ids).size).toBe(4);
});

test("B9 what cannot hold a session is workdir_invalid with its reason, and nothing was made", async () => {
  writeFileSync(path("file"), "");
  symlinkSync(path("nowhere"), path("dangling"));
  symlinkSync(path("circle"), path("circle"));
  expect(await refusal(path("missing"))).toBe("workdir_invalid: it does not exist");
  expect(await refusal(path("dangling"))).toBe("workdir_invalid: it does not exist");
  expect(await refusal(path("file"))).toBe("workdir_invalid: it is a file, not a directory");
  expect(await refusal(path("file/inner"))).toBe("workdir_invalid: part of the path is a file");
  expect(await refusal(path("circle"))).toBe("workdir_invalid: its links go in a circle");
  expect(await refusal("a/b")).toBe("workdir_invalid: it must be an absolute path");
  expect(await refusal(".")).toBe("workdir_invalid: it must be an absolute path");
  expect(await refusal(`${path("a")}\0b`)).toBe("workdir_invalid: it is not a path");
  expect(await refusal(`/${"é".repeat(3_000)}`)).toBe("workdir_invalid: it is not a path");
  expect(await refusal(`/${"n".repeat(300)}`)).toBe("workdir_invalid: the path is too long");
});

test("B9 `/` and the home directory are too broad, also through a link; a project in it is not", async () => {
  symlinkSync("/", path("slash"));
  symlinkSync(path("home"), path("house"));
  for (const workdir of ["/", "//", "/tmp/..", path("slash")]) expect(await refusal(workdir)).toBe("workdir_invalid: the root of the file system is too broad");
  for (const workdir of [path("home"), `${path("home/project")}/..`, path("house")])
    expect(await refusal(workdir)).toBe("workdir_invalid: the home directory itself is too broad; use a project's directory");
  expect((await get(path("home/project"))).created).toBe(true);
});

test("B9 the daemon's own directories hold no session, nor does anything in them, also through a link", async () => {
  mkdirSync(path("config/sessiond"), { recursive: true });
  symlinkSync(path("state"), path("way-in"));
  const own = [
    path("state/sessiond"),
    path("state/sessiond/sessions"),
    path("run/sessiond"),
    path("config/sessiond"),
    path("way-in/sessiond/open"),
    `${path("a")}/../state/sessiond`,
  ];
  for (const workdir of own) expect(await refusal(workdir), workdir).toBe("workdir_invalid: it belongs to sessiond itself");
  // A name that only begins like one of them is somebody else's.
  mkdirSync(path("state/sessiond-notes"));
  expect((await get(path("state/sessiond-notes"))).created).toBe(true);
});

test("B9 the flag allows `/` and the home directory, and still not the daemon's own", async () => {
  await configured("[workdirs]\nallow_broad = true\n");
  expect(await refusal(path("state/sessiond"))).toBe("workdir_invalid: it belongs to sessiond itself");
  expect((await get(path("home"))).session.workdir).toBe(path("home"));
  expect((await get("/")).session.workdir).toBe("/");
});

test("B9 with roots configured, a path outside them is refused, also through a link that lies inside", async () => {
  await configured(`[workdirs]\nroots = [${JSON.stringify(path("a"))}]\n`);
  symlinkSync(path("outside"), path("a/leads-out"));
  mkdirSync(path("ab"));
  for (const workdir of [path("outside"), path("a/leads-out"), `${path("a")}/../outside`, path("ab"), root])
    expect(await refusal(workdir), workdir).toBe("workdir_invalid: it lies outside the configured roots");
  symlinkSync(path("a/b"), path("leads-in"));
  expect((await get(path("leads-in"))).session.workdir).toBe(path("a/b"));
});

test("B9 a directory that was deleted and made anew under its name is the same session", async () => {
  const gone = mkdtempSync(join(tmpdir(), "ssd-gone-"));
  const first = await get(gone);
  rmSync(gone, { recursive: true });
  await expect(get(gone)).rejects.toMatchObject({ code: "workdir_invalid" });
  mkdirSync(gone);
  expect((await get(gone)).session.session_id).toBe(first.session.session_id);
  rmSync(gone, { recursive: true });
});
