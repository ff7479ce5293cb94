/** docs/editors.md and docs/agents.md: each example is whole, each command and flag in them exists. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { knownAgents } from "../packages/daemon/src/agents/acp/known-agents.ts";
import { readConfig } from "../packages/daemon/src/config.ts";
import { fenced, luaStrings, parseJsonWithComments, unbalanced } from "./support/snippets.ts";

const root = resolve(import.meta.dirname, "..");
const pages = ["docs/editors.md", "docs/agents.md"].map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));
const page = (path: string): string => pages.find((each) => each.path === path)?.text ?? "";
const editors = page("docs/editors.md");
const command = "/home/me/.local/bin/sessiond";

/** What `sessiond … --help` prints. */
const help = async (...words: readonly string[]): Promise<string> =>
  (await promisify(execFile)(process.execPath, [join(root, "packages/cli/dist/sessiond.js"), ...words, "--help"])).stdout;

test("the JSON of each editor is JSON, and starts `sessiond acp` by its path with nothing but words", () => {
  const parsed = fenced(editors, "json").map(parseJsonWithComments) as {
    agent_servers: Record<string, { command: string; args: string[]; env: object; type?: string }>;
  }[];
  expect(parsed).toHaveLength(2);
  const servers = parsed.flatMap(({ agent_servers }) => Object.values(agent_servers));
  expect(servers).toHaveLength(3);
  for (const server of servers) expect(server).toMatchObject({ command, env: {}, args: expect.arrayContaining(["acp"]) as string[] });
  // Zed tells its own kinds apart; JetBrains knows no such field.
  expect(servers.map(({ type }) => type)).toEqual(["custom", "custom", undefined]);
});

test("the Lua and the Emacs Lisp are whole, and start the same", () => {
  const [lua, elisp] = [fenced(editors, "lua"), fenced(editors, "elisp")];
  expect([lua.length, elisp.length]).toEqual([2, 1]);
  expect([...lua.map((text) => unbalanced(text, "lua")), ...elisp.map((text) => unbalanced(text, "elisp"))]).toEqual([null, null, null]);
  for (const text of [...lua, ...elisp]) expect(luaStrings(text)).toEqual(expect.arrayContaining([command, "acp"]));
});

test("what is not whole is found", () => {
  for (const [text, language] of [
    ['f({ "a", { "b" })', "lua"],
    ["f = function() return 1", "lua"],
    ['f("a', "lua"],
    ["(a (b)", "elisp"],
    ["(a))", "elisp"],
    ['(a "b)', "elisp"],
  ] as const)
    expect([text, unbalanced(text, language)]).toEqual([text, expect.any(String) as string]);
  expect(unbalanced('f(")", function() -- }\n end)', "lua")).toBe(null);
  expect(unbalanced('(a ")" ; (\n b)', "elisp")).toBe(null);
  expect(() => parseJsonWithComments('{ "a": 1, }')).toThrow();
  expect(parseJsonWithComments('{ "a": "http://b" } // c')).toEqual({ a: "http://b" });
});

test("every command and option in the two pages exists", { timeout: 60_000 }, async () => {
  const known = new Set([...(await help()).matchAll(/^ {2}(\w+) {2,}/gm)].map(([, name = ""]) => name));
  const typed = pages.flatMap(({ text }) => [...fenced(text, "sh"), ...[...text.matchAll(/`(sessiond [^`]+)`/g)].map(([, line = ""]) => line)]);
  const calls = typed.flatMap((text) => [...text.matchAll(/(?:^|[$;|] ?)sessiond ([a-z]+)([^\n;#]*)/gm)]).map(([, name = "", rest = ""]) => ({ name, rest }));
  expect(calls.length).toBeGreaterThan(20);
  for (const { name, rest } of calls.filter((call) => call.name !== "acp")) {
    expect([...known], `sessiond ${name}${rest}`).toContain(name);
    const words = [...(/^(?: [a-z]+)*/.exec(rest)?.[0] ?? "").matchAll(/\S+/g)].map(([word]) => word);
    const options = [...rest.replaceAll(/"[^"]*"/g, "").matchAll(/--[a-z-]+/g)].map(([option]) => option);
    if (options.length === 0) continue;
    const text = await help(name, ...(name === "token" || name === "key" ? words.slice(0, 1) : []));
    for (const option of options) expect(text, `sessiond ${name}${rest}`).toContain(option);
  }
});

test("the configuration of agents is one that the daemon takes, and its entries are what the page says of them", async () => {
  const home = mkdtempSync(join(tmpdir(), "ssd-docs-"));
  try {
    const [text = "", ...others] = fenced(page("docs/agents.md"), "toml");
    expect(others).toEqual([]);
    mkdirSync(join(home, "config/sessiond"), { recursive: true });
    writeFileSync(join(home, "config/sessiond/config.toml"), text, { mode: 0o600 });
    const { agents } = readConfig({ HOME: home, XDG_CONFIG_HOME: join(home, "config") }, []);
    expect(agents).toMatchObject([
      { name: "gemini", command: "gemini", args: ["--acp"], env: { GEMINI_API_KEY: "…" } },
      { name: "opencode-work", command: join(home, ".opencode/bin/opencode"), cwd: "/home/me/work" },
      { name: "mine", command: "/home/me/bin/my-agent", args: [], env: {} },
    ]);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});

test("the table of agents has each that is known, with the command that is run and how to log in", () => {
  const rows = [...page("docs/agents.md").matchAll(/^\| `(\w+)` \| (.*?) \| `([^`]+)` \| (.*?) \|/gm)].map(([, name, install = "", command, login = ""]) => ({
    name,
    install,
    command,
    login,
  }));
  expect(rows.map(({ name, command }) => [name, command])).toEqual(knownAgents.map(({ name, command, args }) => [name, [command, ...args].join(" ")]));
  for (const [at, { install = "", login = "" }] of knownAgents.entries()) {
    // The page names a package where the entry names a page, too.
    if (install.startsWith("npm")) expect(rows[at]?.install).toContain(install.split(" (")[0]);
    for (const [, typed = ""] of login.matchAll(/`([^`]+)`/g)) expect(rows[at]?.login).toContain(typed);
  }
});

test("the flags of `sessiond acp` in the page are those that it has", async () => {
  const flags = (text: string): string[] => [...new Set([...text.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([flag]) => flag))].toSorted();
  const table = [...editors.matchAll(/^\| `(--[^`]+)` \|/gm)].map(([, row = ""]) => row).join("\n");
  const options = (await help("acp"))
    .split("\n")
    .filter((line) => line.startsWith("  -"))
    .join("\n");
  expect(flags(table)).toEqual(flags(options).filter((flag) => flag !== "--help"));
  // … and whatever an example gives it.
  const given = [...fenced(editors, "json"), ...fenced(editors, "lua"), ...fenced(editors, "elisp")].join("\n");
  expect(flags(given).filter((flag) => !flags(options).includes(flag))).toEqual([]);
});

test("links lead somewhere", () => {
  for (const { path, text } of pages)
    for (const [, link = ""] of text.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g))
      expect([path, link, existsSync(join(root, dirname(path), link))]).toEqual([path, link, true]);
});
