/** What the command prints: JSON that parses, help with examples, no secrets, no orders to the terminal. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { CommandHouse, jsonLines } from "../support/command.ts";

const house = new CommandHouse();
afterAll(() => house.close());

test("every command's help has an example, and fits 80 columns", async () => {
  const top = await house.run(house.root, "--help");
  const names = [...top.stdout.matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name = ""]) => name);
  expect(names).toEqual(
    "run attach send wait approve interrupt stop take yield queue rules set note token key ls info watch acp agents status doctor verify audit up down".split(
      " ",
    ),
  );
  const parts = [
    ["queue", "list"],
    ["queue", "edit"],
    ["queue", "withdraw"],
    ["queue", "release"],
    ["rules", "list"],
    ["rules", "forget"],
    ["token", "mint"],
    ["token", "list"],
    ["token", "revoke"],
    ["key", "create"],
    ["key", "ls"],
    ["key", "rotate"],
    ["key", "revoke"],
    ["key", "rm"],
    ["key", "rotate-host"],
  ];
  const pages = await Promise.all(
    [...names.map((name) => [name]), ...parts].map(async (path) => ({ path, ...(await house.run(house.root, ...path, "--help")) })),
  );
  for (const { path, code, stdout } of pages) {
    expect(code, path.join(" ")).toBe(0);
    // But for what is typed as it stands.
    expect(stdout.split("\n").filter((line) => line.length > 80 && !line.startsWith("  $ "))).toEqual([]);
    expect(stdout, path.join(" ")).toMatch(new RegExp(`Examples:\\n(?:.*\\n)*  \\$ .*sessiond ${path.join(" ")}`));
  }
});

test("run --json prints a snapshot, then frames, then one result, each a line; ls, status, send, queue and token list too", async () => {
  const cwd = house.workdir("a");
  const run = await house.run(cwd, "run", "--json", "list then say done");
  const events = jsonLines(run.stdout);
  expect(events[0]).toMatchObject({ type: "snapshot", state: { workdir: cwd } });
  expect(new Set(events.slice(1, -1).map(({ type }) => type))).toEqual(new Set(["frame"]));
  expect(events.at(-1)).toMatchObject({ type: "result", stop_reason: "end_turn", exit_code: 0, text: expect.stringContaining("done") as string });
  const failed = jsonLines((await house.run(cwd, "run", "--json", "fail")).stdout).at(-1);
  expect(failed).toMatchObject({ type: "result", stop_reason: "failed", exit_code: 1, error: { code: expect.any(String) as string } });
  expect(jsonLines((await house.run(cwd, "send", "--json", "wait 60000")).stdout)).toMatchObject([{ became: "started" }]);
  expect(jsonLines((await house.run(cwd, "send", "--json", "say 2")).stdout)).toMatchObject([{ became: "queued" }]);
  expect(jsonLines((await house.run(cwd, "queue", "list", "--json")).stdout)).toMatchObject([{ held: false }]);
  await house.run(cwd, "interrupt");
  expect(jsonLines((await house.run(cwd, "queue", "list", "--json")).stdout)).toMatchObject([{ held: true }]);
  expect(jsonLines((await house.run(cwd, "ls", "--json")).stdout)).toMatchObject([{ workdir: cwd, stable: true }]);
  expect(jsonLines((await house.run(cwd, "status", "--json")).stdout)).toMatchObject([{ sessions: { live: 1 } }]);
});

test("B25 what a model or a tool says gives no orders to the terminal", async () => {
  const cwd = house.workdir("escape");
  const { stdout, stderr } = await house.run(cwd, "run", "--approve", "say \u001b[2Jgone \u202egnp then run printf '\\033[2Jtool\\n'");
  expect(stdout).toContain("\\u{1b}[2Jgone \\u{202e}gnp");
  expect(stderr).toContain("\\u{1b}[2Jtool");
  expect(`${stdout}${stderr}`).not.toMatch(/[\u001b\u202e]/);
});

test("a reader that has enough is no failure: the command goes quietly and leaves the seat", async () => {
  const cwd = house.workdir("pipe");
  const { spawn } = await import("node:child_process");
  const command = `node "${join(import.meta.dirname, "../../packages/cli/dist/sessiond.js")}" run "stream 2000 every 2" 2>err | head -c 5; echo " \${PIPESTATUS[0]}"`;
  const shell = spawn("bash", ["-c", command], { cwd, env: house.env });
  let out = "";
  shell.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  await new Promise((resolve) => shell.once("close", resolve));
  expect(out).toBe("1 2 3 0\n");
  expect(readFileSync(join(cwd, "err"), "utf8")).toBe("");
  const [listing] = jsonLines((await house.run(cwd, "ls", "--json")).stdout).filter(({ workdir }) => workdir === cwd);
  expect(listing).toMatchObject({ seats: 0 });
});

test("a first try without a model does not bind the session: the next one names it", async () => {
  const bare = new CommandHouse();
  delete bare.env["SESSIOND_MODEL"];
  try {
    const cwd = bare.workdir("first");
    const first = await bare.run(cwd, "run", "say hi");
    expect([first.code, first.stderr]).toEqual([1, expect.stringContaining("--model practice") as string]);
    expect(await bare.run(cwd, "run", "--model", "practice", "say hi")).toMatchObject({ code: 0, stdout: "hi\n" });
    const other = await bare.run(cwd, "run", "--model", "another", "say hi");
    expect([other.code, other.stdout]).toEqual([2, ""]);
    expect(other.stderr).toContain("`sessiond stop`");
  } finally {
    await bare.close();
  }
});

test("B2 of everything printed here only `token mint` printed a token, alone on stdout, and none a host key", async () => {
  const cwd = house.workdir("a");
  await house.run(cwd, "token", "mint", "--control", "--ttl", "1h");
  await house.run(cwd, "token", "list", "--json");
  await house.run(cwd, "attach", "--json");
  for (const { args, stdout, stderr } of house.printed) {
    const mints = args[0] === "token" && args[1] === "mint" && !args.includes("--help");
    expect(stderr).not.toMatch(/ssdh?_/);
    if (mints) expect(stdout).toMatch(/^ssd_c_ses_\w+\n$/);
    else expect(stdout, args.join(" ")).not.toMatch(/ssdh?_/);
  }
});
