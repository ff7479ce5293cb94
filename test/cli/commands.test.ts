/** Commands around a session: wait, watch, send and its ways to wait, queue, rules, set, note, agents, info, stop. The built command, as processes. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { CommandHouse, jsonLines } from "../support/command.ts";

const house = new CommandHouse();
afterAll(() => house.close());

const text = expect.any(String) as string;

test("commands that only look start no daemon: wait, watch, info and agents end with 4", async () => {
  const cwd = house.workdir("nobody");
  for (const args of [["wait"], ["watch"], ["info"], ["agents"]]) {
    const { code, stdout, stderr } = await house.run(cwd, ...args);
    expect([code, stdout, stderr]).toEqual([4, "", "sessiond: No daemon runs. `sessiond up` starts one; so does `sessiond run`.\n"]);
  }
});

test("2: what cannot be meant is told in one line, and nothing is done", async () => {
  const cwd = house.workdir("wrong");
  await house.run(cwd, "run", "say hi");
  const before = (await house.run(cwd, "info", "--json")).stdout;
  const wrong = [
    ["wait", "forever", "ses_x"],
    ["wait", "--timeout", "soon"],
    ["watch", "ses_nobody"],
    ["send", "--steer", "--queue", "x"],
    ["send", "--reject", "--when-busy", "steer", "x"],
    ["run", "--interrupt", "--steer", "x"],
    ["approve", "--always", "--never"],
    ["queue", "edit", "prm_x", "text"],
    ["queue", "edit", "prm_x", " "],
    ["rules", "forget", "rul_x"],
    ["set"],
    ["set", "--star", "--unstar"],
    ["set", "--policy", "whatever"],
    ["run", "--policy", "reject-after", "x"],
    ["note", " "],
    ["stop", "--workdir", "/nowhere"],
    ["info", "ses_nobody"],
    ["run", "--title", "another", "x"],
  ];
  for (const args of wrong) {
    const { code, stderr } = await house.run(cwd, ...args);
    expect([args.join(" "), code]).toEqual([args.join(" "), 2]);
    expect(stderr).toMatch(/^sessiond: [^\n]+[.!?]\n$/);
  }
  const turns = (info: string): unknown => (JSON.parse(info) as { turns: number }).turns;
  expect(turns((await house.run(cwd, "info", "--json")).stdout)).toBe(turns(before));
});

test("B28 wait: idle, a question, the end of a life; 7 when it does not come, and nothing is changed by waiting", async () => {
  const cwd = house.workdir("wait");
  await house.run(cwd, "send", "wait 5000 then run echo asked > asked.txt then say ok");
  const late = await house.run(cwd, "wait", "--timeout", "100");
  expect([late.code, late.stderr]).toEqual([7, "sessiond: Not idle within 100 ms; it is thinking. Nothing was changed.\n"]);
  const asked = await house.run(cwd, "wait", "approval", "--timeout", "20s");
  expect([asked.code, asked.stdout]).toEqual([0, expect.stringMatching(/^approval apr_\w+ shell\n$/) as string]);
  expect(jsonLines((await house.run(cwd, "wait", "approval", "--json")).stdout)).toMatchObject([
    { status: "awaiting_approval", approvals: [{ tool: "shell", asked_at: expect.any(Number) as number }] },
  ]);
  const [, , , id = ""] = /(approval) (?:(apr)_)(\w+)/.exec(asked.stdout) ?? [];
  const idle = house.start(cwd, ["wait"]);
  expect((await house.run(cwd, "approve", `apr_${id}`)).code).toBe(0);
  expect(await idle.done).toMatchObject({ code: 0, stdout: "idle\n" });
  expect(existsSync(join(cwd, "asked.txt"))).toBe(true);
  const stopped = house.start(cwd, ["wait", "stopped", cwd]);
  expect((await house.run(cwd, "stop", "--workdir", ".")).stdout).toMatch(/^stopped ses_\w+; its conversation is kept\n$/);
  expect(await stopped.done).toMatchObject({ code: 0, stdout: "stopped\n" });
});

test("watch: first what there is, then a line an event without what was said, until Ctrl-C; --json in the wire's names", async () => {
  const cwd = house.workdir("watched");
  await house.run(cwd, "run", "say before");
  const [person, program, other] = [
    house.start(cwd, ["watch"]),
    house.start(cwd, ["watch", "--json", "--workdir", "."]),
    house.start(cwd, ["watch", "--json", "-C", "/"]),
  ];
  await Promise.all([person.said(cwd), program.said('"list"'), other.said('"list"')]);
  await house.run(cwd, "run", "--approve", "say a-word-said then write made.txt: a-line-written");
  await house.run(cwd, "set", "--title", "the parser", "--star");
  await Promise.all([person.said("★ “the parser”"), program.said("the parser")]);
  for (const each of [person, program, other]) each.signal("SIGINT");
  const [shown, told, elsewhere] = await Promise.all([person.done, program.done, other.done]);
  expect([shown.code, told.code, elsewhere.code]).toEqual([0, 0, 0]);
  expect(shown.stdout).toMatch(/^\d\d:\d\d:\d\d {2}ses_\w{8} {2}write asks \(apr_\w+\)/m);
  expect(shown.stdout).toMatch(/ {2}edit .*made\.txt/);
  const events = jsonLines(told.stdout);
  expect(events[0]).toMatchObject({ type: "list", sessions: [{ workdir: cwd }] });
  const types = events.slice(1).map((event) => (event as { frame: { event: { type: string } } }).frame.event.type);
  expect(new Set(types)).toEqual(new Set(["driver_changed", "status_changed", "approval_pending", "approval_closed", "file_touched", "session_configured"]));
  expect(jsonLines(elsewhere.stdout)).toEqual([{ type: "list", sessions: [] }]);
  expect(`${shown.stdout}${told.stdout}`).not.toMatch(/a-word-said|a-line-written/);
});

test("B19 send: --reject leaves nothing behind while a turn runs, --steer joins it, --interrupt ends it and runs next", async () => {
  const cwd = house.workdir("busy");
  await house.run(cwd, "send", "say begun then wait 1500 then say over");
  const refused = await house.run(cwd, "send", "--reject", "say rejected");
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("A turn is running") as string]);
  const steered = await house.run(cwd, "run", "--steer", "--json", "say steered");
  expect(steered.code).toBe(0);
  expect(jsonLines(steered.stdout).at(-1)).toMatchObject({ type: "result", stop_reason: "end_turn", text: expect.stringContaining("steered") as string });
  await house.run(cwd, "send", "wait 60000");
  expect((await house.run(cwd, "send", "say later")).stdout).toMatch(/^queued prm_/);
  expect((await house.run(cwd, "send", "--json", "--interrupt", "say first")).stdout).toContain('"became":"queued"');
  expect((await house.run(cwd, "wait")).code).toBe(0);
  const { stdout } = await house.run(cwd, "attach");
  expect(stdout).not.toContain("rejected");
  const [first, later] = [stdout.search(/^> say first/m), stdout.search(/^> say later/m)];
  expect([first > 0, later > first]).toEqual([true, true]);
});

test("B23 queue: how each prompt waits and since when; edited, it runs as it was edited", async () => {
  const cwd = house.workdir("queue");
  await house.run(cwd, "send", "wait 60000");
  const { stdout: sent } = await house.run(cwd, "send", "say wrong");
  const id = /prm_\w+/.exec(sent)?.[0] ?? "";
  expect((await house.run(cwd, "queue", "edit", id.slice(0, 12), "say right")).stdout).toBe(`edited ${id}\n`);
  expect((await house.run(cwd, "queue", "list")).stdout).toMatch(new RegExp(`^${id} {2}waits {3}\\d+ m?s +say right\\n$`));
  await house.run(cwd, "interrupt");
  expect((await house.run(cwd, "queue", "list")).stdout).toMatch(/^prm_\w+ {2}held /);
  expect((await house.run(cwd, "queue", "release")).stdout).toBe(`released ${id}\n`);
  expect((await house.run(cwd, "wait")).code).toBe(0);
  const { stdout } = await house.run(cwd, "attach");
  expect(stdout).toMatch(/^right$/m);
  expect(stdout).not.toContain("wrong");
  const gone = await house.run(cwd, "queue", "edit", id, "say again");
  expect([gone.code, gone.stderr]).toEqual([2, expect.stringContaining("may have run already") as string]);
});

test("B29 an answer with a scope is remembered, listed, and asked again once it is forgotten", async () => {
  const cwd = house.workdir("rules");
  const ask = "run echo x >> ran.txt";
  expect((await house.run(cwd, "run", ask)).code).toBe(3);
  const answered = await house.run(cwd, "approve", "--for-session", "--yes");
  expect([answered.code, answered.stdout]).toEqual([0, expect.stringMatching(/ {2}allowed\n {2}remembered this session: .*echo x >> ran\.txt\n$/) as string]);
  await house.run(cwd, "wait");
  const again = await house.run(cwd, "run", ask);
  expect(again.code).toBe(0);
  const { stdout: listed } = await house.run(cwd, "rules", "list");
  expect(listed).toMatch(/^RULE .*\nrul_\w{8} {2}this session .* ago {2}.*allow shell: echo x >> ran\.txt, in /);
  expect(jsonLines((await house.run(cwd, "rules", "list", "--json")).stdout)).toMatchObject([
    { effect: "allow", scope: "session", pattern: { command: "echo x >> ran.txt" } },
  ]);
  const id = /rul_\w+/.exec(listed)?.[0] ?? "";
  expect((await house.run(cwd, "rules", "forget", id)).stdout).toMatch(new RegExp(`^forgotten ${id}\\w*: allow shell: `));
  expect((await house.run(cwd, "run", ask)).code).toBe(3);
  expect(await house.run(cwd, "rules", "list")).toMatchObject({ code: 0, stdout: "", stderr: "sessiond: nothing is remembered; every question is asked\n" });
  const never = await house.run(cwd, "approve", "--never", "--reason", "not here");
  expect([never.code, never.stdout]).toEqual([0, expect.stringContaining("remembered never: ") as string]);
  await house.run(cwd, "wait");
  expect((await house.run(cwd, "rules", "list")).stdout).toContain("always here");
});

test("set prints the values there are then, ls and info show them; title and policy are given at the start as well", async () => {
  const cwd = house.workdir("set");
  expect((await house.run(cwd, "run", "--title", "first", "--policy", "reject-after=1h", "say hi")).code).toBe(0);
  expect((await house.run(cwd, "info")).stdout).toMatch(/^title +first\n(?:.*\n)*policy +reject-after 1 h\n/m);
  expect((await house.run(cwd, "set", "--star", "--title", "the parser")).stdout).toBe(
    "title    the parser\nstarred  yes\nmodel    practice\npolicy   reject-after 1 h\n",
  );
  expect((await house.run(cwd, "ls")).stdout).toContain(`★ ${cwd}  “the parser”`);
  const { stdout } = await house.run(cwd, "set", "--no-title", "--unstar", "--policy", "hold", "--json");
  expect(jsonLines(stdout)).toEqual([{ session_id: text, title: null, starred: false, model: "practice", policy: { type: "hold" }, mode: null, options: {} }]);
});

test("B28 a question under reject_after shows from outside how long it still has, and is refused when that has passed", async () => {
  const cwd = house.workdir("deadline");
  expect((await house.run(cwd, "run", "--policy", "reject-after=1h", "write made.txt: x")).code).toBe(3);
  expect((await house.run(cwd, "info")).stdout).toMatch(
    /^questions +apr_\w+ {2}write, asked .* ago; nobody drives: refused in (?:1 h|59 min( \d+ s)?) unless answered$/m,
  );
  expect((await house.run(cwd, "attach")).stdout).toMatch(/ {2}(?:1 h|59 min( \d+ s)?) left to answer; the clock stands while a driver is here/);
  await house.run(cwd, "set", "--policy", "reject-after=300ms");
  expect((await house.run(cwd, "wait", "--timeout", "20s")).code).toBe(0);
  expect(existsSync(join(cwd, "made.txt"))).toBe(false);
  expect((await house.run(cwd, "info", "--json")).stdout).toContain('"approvals":[]');
});

test("note, info and agents: what was left is shown, everything is there, and as JSON", async () => {
  const cwd = house.workdir("facts");
  await house.run(cwd, "run", "--approve", "write made.txt: x");
  expect((await house.run(cwd, "note", "look here first")).stdout).toBe("noted\n");
  expect((await house.run(cwd, "attach")).stdout).toMatch(/^# look here first \(sessiond note, pid \d+\)$/m);
  const { stdout } = await house.run(cwd, "info", cwd);
  for (const name of [
    "session",
    "title",
    "workdir",
    "agent",
    "state",
    "tool",
    "turns",
    "tokens",
    "policy",
    "questions",
    "queue",
    "seats",
    "asking",
    "rules",
    "files",
    "cursor",
    "created",
  ])
    expect(stdout).toMatch(new RegExp(`^${name} +\\S`, "m"));
  expect(stdout).toMatch(/^files +made\.txt, .* ago$/m);
  expect(jsonLines((await house.run(cwd, "info", "--json")).stdout)).toMatchObject([
    { workdir: cwd, turns: 1, files: [{ path: "made.txt" }], usage: { input_tokens: expect.any(Number) as number } },
  ]);
  expect(jsonLines((await house.run(cwd, "agents", "--json")).stdout)).toMatchObject([{ name: "openai", default_model: "practice" }]);
  expect((await house.run(cwd, "agents")).stdout).toMatch(/^AGENT .*\nopenai +built-in +practice/);
});

test("B2 nothing that was printed here holds a token or a key", () => {
  for (const { args, stdout, stderr } of house.printed) expect(`${stdout}${stderr}`, args.join(" ")).not.toMatch(/ssdh?_/);
});
