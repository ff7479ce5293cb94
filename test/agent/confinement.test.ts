import { existsSync, linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { AgentDriver, allow, tempDir } from "../support/agent-driver.ts";

/** A workdir that holds the daemon's state directory, which holds a key: the worst case that a flag allows. */
function house(): { workdir: string; state: string; key: string } {
  const workdir = tempDir();
  const state = join(workdir, "state");
  mkdirSync(join(state, "sessions"), { recursive: true });
  writeFileSync(join(state, "host.key"), "THE-KEY");
  return { workdir, state, key: join(state, "host.key") };
}

/** Runs one request of the practice model; gives the results as the model was told them. */
async function told(driver: AgentDriver, request: string): Promise<string> {
  const turn = driver.prompt(request);
  await turn.ended;
  expect(turn.questions.map((question) => question.preview).join()).not.toContain("THE-KEY");
  return turn.results.map((update) => `${update.status}: ${update.result}`).join("\n");
}

const ways: readonly (readonly [string, (at: { workdir: string; state: string; key: string }) => { dir: string; file: string }])[] = [
  ["by its name", () => ({ dir: "state", file: "state/host.key" })],
  ["by its absolute name", ({ state, key }) => ({ dir: state, file: key })],
  ["by dots", () => ({ dir: "state/sessions/..", file: "state/sessions/../host.key" })],
  ["through a link to the directory", ({ workdir, state }) => (symlinkSync(state, join(workdir, "way")), { dir: "way", file: "way/host.key" })],
  [
    "through a link to a link",
    ({ workdir, state }) => (symlinkSync(state, join(workdir, "one")), symlinkSync("one", join(workdir, "two")), { dir: "two", file: "two/host.key" }),
  ],
  ["through a link to the file", ({ workdir, key }) => (symlinkSync(key, join(workdir, "innocent")), { dir: "state", file: "innocent" })],
  ["through a hard link to the file", ({ workdir, key }) => (linkSync(key, join(workdir, "innocent")), { dir: "state", file: "innocent" })],
];

for (const [way, make] of ways) {
  test(`B46 no file tool reaches the daemon's directory ${way}`, async () => {
    const at = house();
    const { dir, file } = make(at);
    const driver = new AgentDriver({ workdir: at.workdir, forbiddenDirs: [at.state] });
    expect(await told(driver, `read ${file}`)).toMatch(/^failed: .*belongs to sessiond/);
    expect(await told(driver, `write ${file}: X`)).toMatch(/^failed: .*belongs to sessiond/);
    expect(await told(driver, `edit ${file}: THE => X`)).toMatch(/^failed: .*belongs to sessiond/);
    expect(await told(driver, `list ${dir}`)).toMatch(/^failed: .*belongs to sessiond/);
    expect(await told(driver, "search THE-KEY")).toMatch(/^completed: No match/);
    expect(readFileSync(at.key, "utf8")).toBe("THE-KEY");
  });
}

test("B46 nothing new is written into the daemon's directory, also before it exists, also when it is named by a link", async () => {
  const { workdir, state } = house();
  symlinkSync(state, join(workdir, "named"));
  const driver = new AgentDriver({ workdir, forbiddenDirs: [join(workdir, "named"), join(workdir, "later")] });
  for (const path of ["state/new", "state/deep/er/new", "later/new", "later"])
    expect(await told(driver, `write ${path}: X`)).toMatch(/^failed: .*belongs to sessiond/);
  expect([existsSync(join(state, "new")), existsSync(join(state, "deep")), existsSync(join(workdir, "later"))]).toEqual([false, false, false]);
});

test("B46 a workdir inside the daemon's directory can be neither read nor written", async () => {
  const { state } = house();
  const driver = new AgentDriver({ workdir: join(state, "sessions"), forbiddenDirs: [state] });
  expect(await told(driver, "list")).toMatch(/^failed: .*belongs to sessiond/);
  expect(await told(driver, "write x: X")).toMatch(/^failed: .*belongs to sessiond/);
});

test("B46 a link that is put in place between question and answer opens no way", async () => {
  const { workdir, state, key } = house();
  mkdirSync(join(workdir, "sub"));
  const judge: typeof allow = (question) => (symlinkSync(state, join(workdir, "sub", "dir")), allow(question));
  const driver = new AgentDriver({ workdir, forbiddenDirs: [state], judge });
  expect(await told(driver, "write sub/dir/host.key: X")).toMatch(/^failed: .*belongs to sessiond/);
  expect(readFileSync(key, "utf8")).toBe("THE-KEY");
});

test("B46 commands get no key and no variable that leads into the daemon's directory", async () => {
  const { workdir, state } = house();
  const link = join(workdir, "link");
  symlinkSync(state, link);
  const childEnv = {
    PATH: `${process.env["PATH"]}:${state}/bin`,
    HOME: workdir,
    OPENAI_API_KEY: "THE-KEY",
    GH_TOKEN: "THE-KEY",
    client_secret: "THE-KEY",
    DB_PASSWORD: "THE-KEY",
    SESSIOND_BIN: "THE-KEY",
    RUNTIME: state,
    SOCKET: `unix:path=${state}/sock`,
    LINKED: `${link}/sessions`,
    LIST: `/usr:${state}`,
    NEAR: `${state}-not`,
    LANG: "C",
  };
  const result = await told(new AgentDriver({ workdir, forbiddenDirs: [state], childEnv }), "run env");
  expect(result).not.toContain("THE-KEY");
  for (const name of ["RUNTIME", "SOCKET", "LINKED", "LIST"]) expect(result).not.toMatch(new RegExp(`^${name}=`, "m"));
  expect(result).not.toContain(`${state}/bin`);
  expect(result).toMatch(/^LANG=C$/m);
  expect(result).toContain(`NEAR=${state}-not`);
  expect(result).toMatch(/^SESSIOND_MARK=ins\.boot\.call_/m);
});

test("files outside the working directory cannot be used, by dots, by name or by link", async () => {
  const outside = tempDir();
  writeFileSync(join(outside, "secret"), "TOP");
  const driver = new AgentDriver();
  symlinkSync(outside, join(driver.workdir, "way"));
  symlinkSync(join(outside, "secret"), join(driver.workdir, "file"));
  symlinkSync(join(outside, "not-yet"), join(driver.workdir, "dangling"));
  for (const path of ["../x", outside + "/secret", "way/secret", "file"]) {
    for (const request of [`read ${path}`, `write ${path}: X`, `edit ${path}: TOP => X`])
      expect(await told(driver, request)).toMatch(/^failed: .*outside the working directory/);
  }
  expect(await told(driver, "list way")).toMatch(/outside the working directory/);
  expect(await told(driver, "write dangling: X")).toMatch(/^failed: .*leads nowhere/);
  expect(await told(driver, "search TOP")).toMatch(/No match/);
  expect([readFileSync(join(outside, "secret"), "utf8"), existsSync(join(outside, "not-yet"))]).toEqual(["TOP", false]);
});
