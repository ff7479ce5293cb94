import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { daemonFile, DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";

/** The code that V8 made of a bundle, which packages/cli/src/launch.ts keeps for the next start. */
let home: DaemonHome;
let cache: string;
let dist: string;
beforeEach(() => {
  home = new DaemonHome();
  cache = join(home.env["HOME"] ?? "", ".cache", "sessiond");
  dist = join(home.root, "dist");
  cpSync(dirname(daemonFile), dist, { recursive: true });
});
afterEach(() => home.close());

/** Its text stands in a bundle that is kept, as a constant of its code. */
function help(): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(dist, "sessiond.js"), "--help"], { env: home.env, cwd: home.root, encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
  return stdout;
}

const kept = (): string[] => readdirSync(cache).toSorted();
/** Another one when it was written anew; what is accepted is not. */
const versions = (): Record<string, number> => Object.fromEntries(kept().map((name) => [name, statSync(join(cache, name)).ino]));
const textFile = (): string => join(dist, "sessiond-exit-codes.js");
const codeFile = (): string => join(cache, "sessiond-exit-codes.js.code");

test("a first start keeps its code, for this account alone; the next ones run it and write nothing", () => {
  const said = help();
  const first = versions();
  expect(Object.keys(first)).toContain("sessiond-exit-codes.js.code");
  expect(statSync(cache).mode & 0o777).toBe(0o700);
  expect(kept().map((name) => statSync(join(cache, name)).mode & 0o777)).toEqual(kept().map(() => 0o600));
  expect([help(), help()]).toEqual([said, said]);
  expect(versions()).toEqual(first);
});

test("what a bundle loads by a path that it finds out is loaded from kept code too: `up --foreground` becomes the daemon", () => {
  writeFileSync(join(home.env["XDG_CONFIG_HOME"] ?? "", "sessiond", "config.toml"), "[modell]\n");
  const words = [join(dist, "sessiond.js"), "up", "--foreground"];
  const [first, second] = [0, 1].map(() => spawnSync(process.execPath, words, { env: home.env, encoding: "utf8" }));
  expect(first?.stderr).toMatch(/config\.toml: .*modell/);
  expect([second?.status, second?.stderr]).toEqual([1, first?.stderr]);
});

test("a daemon keeps its own a moment after its start, while it works", async () => {
  await home.startByHand();
  await eventually("the daemon's code is kept", () => kept().includes("daemon-main.js.code"));
});

test("code of another text is not run, though the texts are of one length", () => {
  expect(help()).toContain("display help for command");
  const first = versions();
  const text = readFileSync(textFile(), "utf8");
  writeFileSync(textFile(), text.replaceAll("display help for command", "DISPLAY help for command"));
  expect(help()).toContain("DISPLAY help for command");
  expect(versions()["sessiond-exit-codes.js.code"]).not.toBe(first["sessiond-exit-codes.js.code"]);
  expect(help()).toContain("DISPLAY help for command");
});

test.each<readonly [how: string, wreck: (path: string, code: Buffer) => void]>([
  ["empty", (path) => truncateSync(path)],
  ["cut off", (path, code) => truncateSync(path, code.length >> 1)],
  ["all zeros", (path, code) => writeFileSync(path, Buffer.alloc(code.length))],
  ["changed in one bit", (path, code) => writeFileSync(path, code.with(code.length >> 1, (code[code.length >> 1] ?? 0) ^ 1))],
])("code that is %s is not run, and is there anew afterwards", (_how, wreck) => {
  const said = help();
  const code = readFileSync(codeFile());
  wreck(codeFile(), code);
  expect(help()).toBe(said);
  const mended = versions();
  expect(statSync(codeFile()).size).toBeGreaterThan(1_000);
  expect(help()).toBe(said);
  expect(versions()).toEqual(mended);
});

test("what could not be loaded is loaded when it can be: a part of the program is there whole, or not at all", () => {
  const fails = `try { require("./late.js"); } catch { require("node:fs").writeFileSync(__dirname + "/late.js", 'exports.word = "there";'); }`;
  writeFileSync(join(dist, "early.js"), `${fails} console.log(require("./late.js").word);`);
  const launched = ["-e", `require("./launch.js").launch(process.cwd(), "early.js", false)`];
  expect(spawnSync(process.execPath, launched, { cwd: dist, env: home.env, encoding: "utf8" }).stdout).toBe("there\n");
});

test("a directory that others may write in, or a link to one, is neither read nor written; one that cannot be is no reason to fail", () => {
  mkdirSync(cache, { recursive: true });
  chmodSync(cache, 0o777);
  const said = help();
  expect(kept()).toEqual([]);
  // Nothing can be written there, nor taken away.
  chmodSync(cache, 0o600);
  expect(help()).toBe(said);
  expect(kept()).toEqual([]);
  renameSync(cache, `${cache}-elsewhere`);
  chmodSync(`${cache}-elsewhere`, 0o700);
  symlinkSync(`${cache}-elsewhere`, cache);
  expect(help()).toBe(said);
  expect(kept()).toEqual([]);
  home.env["XDG_CACHE_HOME"] = "/dev/null";
  expect(help()).toBe(said);
  delete home.env["XDG_CACHE_HOME"];
  home.env["HOME"] = "";
  expect(help()).toBe(said);
  expect(existsSync(join(home.root, ".cache"))).toBe(false);
});

test("B9 where it lies is a directory of the daemon's own: no session works there", async () => {
  const host = await home.connect();
  await expect(host.sessionForWorkdir(cache)).rejects.toMatchObject({ code: "workdir_invalid" });
});
