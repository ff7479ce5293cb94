/** `sessiond audit`: what was called and how it ended, from the files themselves, for people and programs. */
import { spawn } from "node:child_process";
import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";
import { CommandHouse } from "../support/command.ts";
import { eventually } from "../support/eventually.ts";
import { isAlive, processesWith } from "../support/processes.ts";

const house = new CommandHouse();
afterAll(() => house.close());
const path = join(house.env["XDG_STATE_HOME"] ?? "", "sessiond", "audit.jsonl");

const at = "2026-05-06T07:08:09.000Z";
const line = (about: object): string => `${JSON.stringify({ at, verb: "stop", outcome: "ok", ms: 1, ...about })}\n`;
const sessionOf = (letter: string): string => `ses_${letter.repeat(22)}`;
const entries = (text: string): Record<string, unknown>[] =>
  text
    .split("\n")
    .filter(Boolean)
    .map((each) => JSON.parse(each) as Record<string, unknown>);

beforeEach(() => {
  mkdirSync(join(path, ".."), { recursive: true, mode: 0o700 });
  for (const number of [1, 2]) writeFileSync(`${path}.${number}`, "");
  writeFileSync(path, "");
});

test("B8 audit shows who called what and how it ended, refusals too, of all sessions or of one, and no secret", { timeout: 120_000 }, async () => {
  const cwd = house.workdir("one");
  const host = await house.host();
  await house.run(cwd, "run", "say hi");
  const { stdout: minted } = await house.run(cwd, "token", "mint", "--view");
  const viewer = minted.trim();
  writeFileSync(join(house.root, "token"), viewer);
  await house.run(cwd, "take", "--force", "--json");
  const other = await host.sessionForWorkdir(house.workdir("two"));
  await expect(host.session(sessionOf("Z")).stop()).rejects.toMatchObject({ code: "not_found" });
  const [session] = await host.listSessions({ workdir: cwd }).then(({ sessions }) => sessions);
  const id = session?.session_id ?? "";
  const all = await house.run(cwd, "audit");
  expect([all.code, all.stderr]).toEqual([0, ""]);
  const rows = all.stdout.split("\n").filter(Boolean);
  expect(rows[0]).toMatch(/^TIME +VERB +OUTCOME +MS +SESSION +BY$/);
  expect(all.stdout).toMatch(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}send_prompt +ok +\d+ +ses_\w{8} +seat_\w{7}, tok_\w{8}/);
  expect(all.stdout).toMatch(/ stop +not_found +\d+ +ses_ZZZZZZZZ/);
  const json = await house.run(cwd, "audit", "--json");
  expect(entries(json.stdout)).toEqual(entries(readFileSync(path, "utf8")).slice(0, entries(json.stdout).length));
  expect(entries(json.stdout).length).toBe(rows.length - 1);
  // By a unique beginning with and without its prefix, and by a directory.
  for (const name of [id.slice(0, 14), id.slice(4, 14), "./"]) {
    const { stdout, code } = await house.run(cwd, "audit", "--json", "--session", name);
    expect([code, new Set(entries(stdout).map((each) => each["session"]))], name).toEqual([0, new Set([id])]);
    expect(entries(stdout).map(({ verb }) => verb)).toContain("send_prompt");
  }
  expect((await house.run(cwd, "audit", "--json", "-s", other.id)).stdout).not.toContain(id);
  for (const each of house.printed) if (each.args[0] === "audit") expect(`${each.stdout}${each.stderr}`).not.toContain(viewer.slice(-38));
});

test(
  "B8 audit reads the older files first, tells of torn lines and leaves them out, and shows what it does not know by its name",
  { timeout: 120_000 },
  async () => {
    const id = sessionOf("A");
    writeFileSync(`${path}.2`, line({ ms: 1, session: id }));
    writeFileSync(`${path}.1`, `${line({ ms: 2 })}{"verb":"sto`);
    writeFileSync(path, `garbage\n\n${line({ ms: 3, key: "key_BBBBBBBBBBBBBBBBBBBBBB", peer: "192.0.2.7:4711", later: { a: 1 }, count: 5 })}{"verb":`);
    const { code, stdout, stderr } = await house.run(house.root, "audit", "--json");
    expect([code, entries(stdout).map(({ ms }) => ms)]).toEqual([0, [1, 2, 3]]);
    expect(stderr.split("\n").filter(Boolean)).toEqual([
      "sessiond: line 2 of audit.jsonl.1 is torn and left out",
      "sessiond: line 1 of audit.jsonl is torn and left out",
      "sessiond: line 4 of audit.jsonl is torn and left out",
    ]);
    const rows = (await house.run(house.root, "audit")).stdout.split("\n");
    expect(rows[3]).toMatch(/ stop +ok +3 +- +key_BBBBBBBB, peer 192\.0\.2\.7:4711, later \{"a":1\}, count 5$/);
  },
);

test("B8 B25 a line of the audit file gives no orders to the terminal, for people and as JSON", { timeout: 120_000 }, async () => {
  const hostile = "\u001b]52;c;eA==\u0007\u009b2J\u202e\u{e0041}\r";
  writeFileSync(path, line({ verb: hostile, peer: hostile, outcome: hostile, [hostile]: hostile }));
  for (const args of [["audit"], ["audit", "--json"]]) {
    const { stdout, stderr } = await house.run(house.root, ...args);
    expect(`${stdout}${stderr}`).not.toMatch(/[^\n\x20-\x7e…]/);
    if (args.length > 1) expect(entries(stdout)).toEqual(entries(readFileSync(path, "utf8")));
  }
});

test(
  "B8 audit --follow goes on across files that move on, without any daemon; Ctrl-C ends it quietly, and nothing of it is left",
  { timeout: 120_000 },
  async () => {
    await house.run(house.root, "down", "--wait", "0");
    for (const number of [1, 2]) writeFileSync(`${path}.${number}`, "");
    writeFileSync(path, line({ ms: 1 }));
    const mark = `AUDIT_FOLLOWED=${process.pid}`;
    house.env["AUDIT_FOLLOWED"] = String(process.pid);
    const following = house.start(house.root, ["audit", "--follow", "--json"]);
    delete house.env["AUDIT_FOLLOWED"];
    await following.said('"ms":1}');
    appendFileSync(path, line({ ms: 2 }));
    await following.said('"ms":2}');
    renameSync(`${path}.1`, `${path}.2`);
    renameSync(path, `${path}.1`);
    writeFileSync(path, line({ ms: 3 }));
    await following.said('"ms":3}');
    expect(processesWith(mark)).toHaveLength(2);
    following.signal("SIGINT");
    const { code, stdout, stderr } = await following.done;
    expect([code, stderr, entries(stdout).map(({ ms }) => ms)]).toEqual([0, "", [1, 2, 3]]);
    await eventually("its process has gone", () => processesWith(mark).length === 0);
  },
);

test("B8 a reader of audit that has enough is no failure, and one that was killed leaves no process behind", { timeout: 120_000 }, async () => {
  writeFileSync(path, Array.from({ length: 5_000 }, (_, ms) => line({ ms })).join(""));
  const command = house.command("audit", "--follow").map((word) => `'${word}'`);
  const shell = spawn("bash", ["-c", `${command.join(" ")} 2>err | head -2; echo "\${PIPESTATUS[0]}"`], { cwd: house.root, env: house.env });
  let out = "";
  shell.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  await new Promise((resolve) => shell.once("close", resolve));
  expect(out.split("\n").slice(-2)).toEqual(["0", ""]);
  expect(readFileSync(join(house.root, "err"), "utf8")).toBe("");

  house.env["AUDIT_KILLED"] = String(process.pid);
  const following = house.start(house.root, ["audit", "--follow"]);
  delete house.env["AUDIT_KILLED"];
  // From then on it says nothing, and so does not notice that nobody reads.
  await following.said(" 4999 ");
  const mine = processesWith(`AUDIT_KILLED=${process.pid}`).map(({ pid }) => pid);
  process.kill(following.pid, "SIGKILL");
  await eventually("both are gone", () => mine.length === 2 && mine.every((pid) => !isAlive(pid)), 8_000);
});

test(
  "B8 audit names no session that it cannot tell, and says so without repeating a secret; where there is nothing yet it says that",
  { timeout: 120_000 },
  async () => {
    // So many letters that no session of chance begins with them.
    writeFileSync(path, ["AAAA", "AAAAb"].map((letters) => line({ session: `ses_${letters}${"c".repeat(22 - letters.length)}` })).join(""));
    const ambiguous = await house.run(house.root, "audit", "--session", "AAAA");
    expect([ambiguous.code, ambiguous.stderr]).toEqual([2, expect.stringContaining("2 sessions' ids begin with ses_AAAA; give more of it") as string]);
    const unknown = await house.run(house.root, "audit", "--session", "ses_QQQQ");
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining("No session's id begins with ses_QQQQ") as string]);
    // Deleted long ago: the audit file alone knows it.
    expect(entries((await house.run(house.root, "audit", "--json", "-s", "AAAAb")).stdout)).toHaveLength(1);
    const secret = `ssd_c_${sessionOf("S")}_${"s".repeat(38)}`;
    const wrong = await house.run(house.root, "audit", "--session", secret);
    expect([wrong.code, wrong.stdout]).toEqual([2, ""]);
    expect(wrong.stderr).not.toContain("ssss");
    writeFileSync(path, "");
    const nothing = await house.run(house.root, "audit");
    expect([nothing.code, nothing.stdout, nothing.stderr]).toEqual([0, "", "sessiond: nothing has been written to the audit file yet\n"]);
  },
);
