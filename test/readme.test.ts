import { execFile } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DaemonHome } from "./support/daemon-home.ts";

/** What README.md shows is what is there: examples are files that run, transcripts are what the command prints. */
const root = resolve(import.meta.dirname, "..");
const readme = readFileSync(join(root, "README.md"), "utf8");
const command = join(root, "packages/cli/dist/sessiond.js");

let home: DaemonHome;
let env: NodeJS.ProcessEnv;
beforeEach(() => {
  home = new DaemonHome("");
  cpSync(join(root, "examples/tiny-project"), home.workdir, { recursive: true });
  const bin = join(home.root, "bin");
  mkdirSync(bin);
  symlinkSync(command, join(bin, "sessiond"));
  // npm would ask a registry for a newer npm.
  writeFileSync(join(home.root, "home/.npmrc"), "update-notifier=false\n");
  env = { ...home.env, PATH: `${bin}:${home.env["PATH"]}` };
});
afterEach(() => home.close());

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(file: string, args: readonly string[]): Promise<Ended> {
  return new Promise((done) => {
    const child = execFile(file, args, { cwd: home.workdir, env }, (error, stdout, stderr) =>
      done({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
    // As in a script: nobody sits there.
    child.stdin?.end();
  });
}

const fenced = (language: string): string[] => [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, "gm"))].map((match) => match[1] ?? "");
const examples = [...readme.matchAll(/^<!-- example: (\S+) -->\n```\w+\n([^]*?)^```$/gm)].map(([, path = "", text = ""]) => ({ path, text }));
const fileOf = (path: string): string => readFileSync(join(root, path), "utf8");

test("README's examples are the files that they name, byte for byte", () => {
  expect(examples.map(({ path }) => path).toSorted()).toEqual(["examples/nightly.sh", "examples/rename-flag.mjs"]);
  for (const { path, text } of examples) expect(text, path).toBe(fileOf(path));
});

test("README's library example starts a daemon, has the file written and leaves; the session stays", async () => {
  const { code, stdout, stderr } = await run(process.execPath, [join(root, "examples/rename-flag.mjs")]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  expect(stdout.trimEnd()).toBe("end_turn read: --colour");
  expect(readFileSync(join(home.workdir, "flag.txt"), "utf8")).toBe("--colour");
  const host = await home.connect({ autoStart: false });
  expect((await host.listSessions()).sessions).toMatchObject([{ workdir: home.workdir, stable: true, seats: 0 }]);
});

test("README's script runs the tests of the project, keeps the events and shows the session", async () => {
  const { code, stdout, stderr } = await run("/bin/sh", [join(root, "examples/nightly.sh")]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  const lines = readFileSync(join(home.workdir, "events.jsonl"), "utf8").trimEnd().split("\n");
  const events = lines.map(
    (line) => JSON.parse(line) as { type: string; session_id?: string; frame?: { event: { type: string; cause?: string; result?: string } } },
  );
  expect(events.at(-1)).toMatchObject({ type: "result", stop_reason: "end_turn", exit_code: 0 });
  const frames = events.flatMap(({ frame }) => (frame === undefined ? [] : [frame.event]));
  expect(frames.filter(({ type }) => type === "approval_resolved")).toMatchObject([{ cause: "answer" }]);
  expect(frames.find(({ result }) => result !== undefined)?.result).toMatch(/pass 2\b/);
  expect(stdout).toContain(home.workdir);
  expect(stdout).toContain(events.at(-1)?.session_id?.slice(0, 12));
});

const transcripts = fenced("console");
/** Ids and directories are another's. */
const anyones = (text: string): string => text.replaceAll(/\b(apr|ses)_\w+/g, "$1_…").replaceAll(home.workdir, "/home/me/app");

/** But for what a person is asked and types, and what is left out. */
const linesOf = (transcript = ""): string[] =>
  transcript
    .split("\n")
    .filter((line) => line !== "" && !/^(\$ |…| {2}Allow this\?| {2}y once · | {2}t, s, a, N )/.test(line))
    .map(anyones);

test("README's transcript is what the command prints", async () => {
  const shown = linesOf(transcripts[0]);
  const { code, stdout, stderr } = await run(command, ["run", "--model", "practice", "--approve", "edit notes.txt: red => green then run npm test"]);
  expect(code).toBe(0);
  const printed = anyones(`${stdout}${stderr}`).split("\n");
  expect(shown.length).toBeGreaterThan(10);
  expect(shown.filter((line) => !printed.includes(line))).toEqual([]);
});

test("B37 README's second transcript: after kill -9 of the daemon the same question is shown to whoever attaches", async () => {
  const first = await run(command, ["run", "--model", "practice", "run npm test"]);
  const [question = "none"] = /apr_\w+/.exec(first.stderr) ?? [];
  expect(first).toMatchObject({ code: 3 });
  await home.kill(await home.daemon());
  const { code, stdout } = await run(command, ["attach"]);
  // Nobody sits there to answer, so it stays open.
  expect(code).toBe(3);
  expect(stdout).toContain(question);
  const shown = linesOf(transcripts[1]);
  const printed = anyones(stdout).split("\n");
  expect(shown.length).toBeGreaterThan(3);
  expect(shown.filter((line) => !printed.includes(line))).toEqual([]);
});

test("the commands and options in README exist, and every command of `sessiond --help` is named there", async () => {
  const { stdout: help } = await run(command, ["--help"]);
  const commands = [...help.matchAll(/^ {2}(\w+) {2,}/gm)].map(([, name]) => name).filter((name) => name !== undefined);
  expect(commands).toContain("run");
  expect(commands.filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);

  const typed = [...transcripts, ...fenced("sh")].flatMap((text) => [...text.matchAll(/(?:^|[$:&] )sessiond (\w+)([^\n]*)/gm)]);
  expect(typed.length).toBeGreaterThanOrEqual(4);
  for (const [line, name = "", rest = ""] of typed) {
    expect(commands, line).toContain(name);
    // What stands before the first option: a part of the command, and names.
    const words = [...(/^(?: [a-z][\w-]*)*/.exec(rest)?.[0] ?? "").matchAll(/\S+/g)].map(([word]) => word);
    const { stdout: options } = await run(command, [name, ...words, "--help"]);
    for (const [option] of rest.replaceAll(/"[^"]*"/g, "").matchAll(/--[\w-]+/g)) expect(options, line).toContain(option);
  }
});

test("README says the exit codes as the help does", async () => {
  const { stdout } = await run(command, ["--help"]);
  const [, codes = ""] = /Exit codes: ([^]*)/.exec(stdout) ?? [];
  expect(codes).toContain("130 interrupted");
  expect(readme).toContain(codes.replaceAll(/\s+/g, " ").trim());
});

test("the npm commands in README are scripts of the workspace", () => {
  const { scripts } = JSON.parse(fileOf("package.json")) as { scripts: Record<string, string> };
  const named = [...readme.matchAll(/\bnpm (?:run )?(\w+)/g)].map(([, name = ""]) => name);
  expect(named).toContain("demo");
  expect(named.filter((name) => !(name in scripts))).toEqual([]);
});
