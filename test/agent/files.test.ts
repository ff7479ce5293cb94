import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { AgentDriver, allow } from "../support/agent-driver.ts";
import type { DriverOptions, Judge } from "../support/agent-driver.ts";
import type { ModelServer } from "../support/model-server.ts";
import { startModelServer } from "../support/model-server.ts";

const servers: ModelServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

/** Runs one tool call, whatever its arguments. */
async function call(tool: string, input: object, { files = {}, ...options }: DriverOptions & { files?: Record<string, string | Buffer> } = {}) {
  const server = await startModelServer([(reply) => (reply.call(0, tool, input), reply.finish("tool_calls")), (reply) => (reply.text("ok"), reply.finish())]);
  servers.push(server);
  const driver = new AgentDriver({ baseURL: server.baseURL, named: "m", ...options });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(driver.workdir, name), content);
  const turn = driver.prompt("go");
  await turn.ended;
  const [update] = turn.results;
  return {
    workdir: driver.workdir,
    status: update?.status,
    result: update?.result ?? "",
    preview: turn.questions[0]?.preview ?? "",
    file: (name: string) => readFileSync(join(driver.workdir, name), "utf8"),
  };
}

/** Changes the file while the question is open, then allows. */
const meanwhile =
  (change: (path: string) => void, driver: () => string): Judge =>
  (question) => (change(join(driver(), String(question.input["path"]))), allow(question));

test("B26 a write, an edit and a new file are not done when the file changed since it was shown", async () => {
  for (const request of ["write a: new", "edit a: old => new", "write fresh: new"]) {
    const driver: AgentDriver = new AgentDriver({
      judge: meanwhile(
        (path) => writeFileSync(path, "old, and somebody's work"),
        () => driver.workdir,
      ),
    });
    writeFileSync(join(driver.workdir, "a"), "old");
    const turn = driver.prompt(request);
    await turn.ended;
    expect(turn.results).toMatchObject([{ status: "failed", result: expect.stringContaining("changed since it was shown") }]);
    expect(readFileSync(join(driver.workdir, request.includes("fresh") ? "fresh" : "a"), "utf8")).toBe("old, and somebody's work");
  }
});

test("B26 an answer to another question runs nothing", async () => {
  const judge: Judge = () => ({ allowed: true, digest: "0".repeat(64) });
  const driver = new AgentDriver({ judge });
  await driver.prompt("together: run touch ran & write a: X").ended;
  expect(readdirSync(driver.workdir)).toEqual([]);
});

test("B26 of two edits to one file in one step the second is not done, since the first changed the file", async () => {
  const driver = new AgentDriver();
  writeFileSync(join(driver.workdir, "a"), "one two");
  const turn = driver.prompt("together: edit a: one => 1 & edit a: two => 2");
  await turn.ended;
  expect(turn.results.map((update) => update.status)).toEqual(["completed", "failed"]);
  expect(readFileSync(join(driver.workdir, "a"), "utf8")).toBe("1 two");
});

test("B25 the preview of a change is a diff in which nothing is left out", async () => {
  const lines = Array.from({ length: 3_000 }, (_, at) => `line ${at}`);
  const { preview } = await call(
    "write",
    { path: "a", content: [...lines.slice(0, 5), ...lines.slice(5, 2_000).map((line) => `${line}!`), ...lines.slice(2_000), ""].join("\n") },
    { files: { a: `${lines.join("\n")}\n` } },
  );
  expect(preview.split("\n").slice(0, 7)).toEqual(["--- a", "+++ a", "@@ -3,2001 +3,2001 @@", " line 2", " line 3", " line 4", "-line 5"]);
  expect(preview.split("\n").filter((line) => line.startsWith("+line"))).toHaveLength(1_995);
  expect((await call("write", { path: "new", content: "x\ny" })).preview).toBe(
    "--- (no such file)\n+++ new\n@@ -0,0 +1,2 @@\n+x\n+y\n\\ No newline at end of file",
  );
});

test("write keeps the mode, makes directories, follows a link inside, and leaves no temporary file", async () => {
  const driver = new AgentDriver();
  writeFileSync(join(driver.workdir, "run.sh"), "old");
  chmodSync(join(driver.workdir, "run.sh"), 0o755);
  symlinkSync("run.sh", join(driver.workdir, "link"));
  await driver.prompt("write link: new then write deep/er/x: y").ended;
  expect([readFileSync(join(driver.workdir, "run.sh"), "utf8"), statSync(join(driver.workdir, "run.sh")).mode & 0o777]).toEqual(["new", 0o755]);
  expect(readdirSync(driver.workdir).sort()).toEqual(["deep", "link", "run.sh"]);
  expect(readdirSync(join(driver.workdir, "deep/er"))).toEqual(["x"]);
});

test("edit wants the old text exactly once, and takes the new text as it stands", async () => {
  expect((await call("edit", { path: "a", old_text: "x", new_text: "y" }, { files: { a: "x x" } })).result).toMatch(/more than once/);
  expect((await call("edit", { path: "a", old_text: "aa", new_text: "y" }, { files: { a: "aaa" } })).result).toMatch(/more than once/);
  expect((await call("edit", { path: "a", old_text: "z", new_text: "y" }, { files: { a: "x" } })).result).toMatch(/does not occur/);
  expect((await call("edit", { path: "b", old_text: "z", new_text: "y" })).result).toMatch(/no file b/);
  expect((await call("edit", { path: "a", old_text: "x", new_text: "$& $1" }, { files: { a: "<x>" } })).file("a")).toBe("<$& $1>");
  const binary = Buffer.from([0xff, 0xfe, 0x78]);
  expect((await call("edit", { path: "a", old_text: "x", new_text: "y" }, { files: { a: binary } })).result).toMatch(/not a UTF-8 text/);
});

test("read gives whole lines up to its bound, and says where to go on", async () => {
  const a = Array.from({ length: 40 }, (_, at) => `line ${at + 1}ä`).join("\n");
  expect((await call("read", { path: "a" }, { files: { a } })).result).toBe(a);
  expect((await call("read", { path: "a", offset: 3, limit: 2 }, { files: { a } })).result).toBe("line 3ä\nline 4ä\n… there is more; go on with offset 5.");
  const first = await call("read", { path: "a" }, { files: { a }, limits: { tool_read_bytes_max: 20 } });
  expect(first.result).toBe("line 1ä\nline 2ä\n… there is more; go on with offset 3.");
  expect((await call("read", { path: "a", offset: 39 }, { files: { a } })).result).toBe("line 39ä\nline 40ä");
  expect((await call("read", { path: "a", offset: 99 }, { files: { a } })).result).toMatch(/has no line 99/);
  const long = await call("read", { path: "a" }, { files: { a: "x".repeat(500) }, limits: { tool_read_bytes_max: 20 } });
  expect(long.result).toBe(`${"x".repeat(20)}\n… there is more; go on with offset 2.`);
  expect(await call("read", { path: "a" }, { files: { a: Buffer.from([1, 0, 2]) } })).toMatchObject({
    status: "failed",
    result: "a is a binary file of 3 bytes.",
  });
});

test("a named pipe and a directory are refused, not waited for", async () => {
  const driver = new AgentDriver();
  execFileSync("mkfifo", [join(driver.workdir, "pipe")]);
  const turn = driver.prompt("together: read pipe & read . & write pipe: X & read nothing");
  await turn.ended;
  expect(turn.results.map((update) => update.result)).toEqual([
    expect.stringContaining("not a regular file"),
    expect.stringContaining("not a regular file"),
    expect.stringContaining("not a regular file"),
    "There is no such file or directory.",
  ]);
});

test("search finds text and expressions, skips .git, node_modules, binaries, and is bounded", async () => {
  const driver = new AgentDriver({ limits: { tool_search_matches_max: 2 } });
  for (const dir of [".git", "node_modules", "src"]) mkdirSync(join(driver.workdir, dir));
  for (const name of [".git/x", "node_modules/x", "src/a"]) writeFileSync(join(driver.workdir, name), "one\nneedle (1)\n");
  writeFileSync(join(driver.workdir, "bin"), Buffer.from("needle\0"));
  const turn = driver.prompt("search needle (1)");
  await turn.ended;
  expect(turn.results[0]?.result).toBe("src/a:2: needle (1)");
  writeFileSync(join(driver.workdir, "src/b"), "needle\n".repeat(50));
  const many = driver.prompt("search needle");
  await many.ended;
  expect(many.results[0]?.result).toBe("src/a:2: needle (1)\nsrc/b:1: needle\n… stopped after 2 matches.");
  expect((await call("search", { pattern: "^n.+\\d", regex: true }, { files: { a: "x\nno 1\n" } })).result).toBe("a:2: no 1");
  expect((await call("search", { pattern: "(", regex: true })).result).toMatch(/Not a regular expression/);
});

test("B24 a pattern that backtracks without end is cut off and holds nobody up", async () => {
  const begun = performance.now();
  const { status, result } = await call("search", { pattern: "(a+)+$", regex: true }, { files: { a: `${"a".repeat(40)}b` } });
  expect([status, result]).toEqual(["failed", expect.stringContaining("takes too long")]);
  expect(performance.now() - begun).toBeLessThan(5_000);
});

test("list marks directories and links, and is bounded", async () => {
  const driver = new AgentDriver({ limits: { tool_list_entries_max: 3 } });
  mkdirSync(join(driver.workdir, "dir"));
  symlinkSync("dir", join(driver.workdir, "link"));
  for (const name of ["a", "z"]) writeFileSync(join(driver.workdir, name), "");
  const turn = driver.prompt("list");
  await turn.ended;
  expect(turn.results[0]?.result).toBe("a\ndir/\nlink@\n… 1 more entries left out.");
});
