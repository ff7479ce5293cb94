/** What a script relies on: the exit code of each way a command can end. The built command, as processes. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { CommandHouse } from "../support/command.ts";

const house = new CommandHouse();
afterAll(() => house.close());

const oneLine = /^sessiond: [^\n]+[.!?]\n$/;

test("4: a command that only looks starts no daemon, and says what does", async () => {
  const cwd = house.workdir("looking");
  for (const args of [["ls"], ["status"], ["status", "--json"], ["down"]]) {
    const { code, stdout, stderr } = await house.run(cwd, ...args);
    expect([code, stdout, stderr]).toEqual([4, "", "sessiond: No daemon runs. `sessiond up` starts one; so does `sessiond run`.\n"]);
  }
  expect(existsSync(join(house.root, "run", "sessiond"))).toBe(false);
});

test("0: a turn that ended; stdout has the agent's words and nothing else", async () => {
  const { code, stdout, stderr } = await house.run(house.workdir("a"), "run", "think hm then list then say all is well");
  expect(code).toBe(0);
  expect(stdout).toMatch(/all is well\n$/);
  expect(stdout).not.toContain("hm");
  expect(stderr).toContain("● list");
});

test("1: a turn that failed, told in one line", async () => {
  const { code, stderr } = await house.run(house.workdir("a"), "run", "fail");
  expect(code).toBe(1);
  expect(stderr).toMatch(/^sessiond: The turn failed: [^\n]+\n$/);
});

test("2: what cannot be meant is told in one line with the next step, never a stack", async () => {
  const cwd = house.workdir("a");
  const wrong = [
    ["frobnicate"],
    ["run", "--frobnicate", "x"],
    ["run", "--approve", "--reject", "x"],
    ["run", "--timeout", "soon", "x"],
    ["attach", "ses_nobody"],
    ["run", "-C", "/nowhere", "x"],
    ["token", "mint", "--ttl", "5y"],
    ["approve"],
    ["queue", "withdraw", "prm_x"],
  ];
  for (const { code, stderr } of await Promise.all(wrong.map((args) => house.run(cwd, ...args)))) {
    expect(code).toBe(2);
    expect(stderr).toMatch(oneLine);
  }
});

test("3: with --reject what the agent asks for is refused and not run; with --approve it runs", async () => {
  const cwd = house.workdir("asked");
  const refused = await house.run(cwd, "run", "--reject", "write made.txt: no");
  expect(refused.code).toBe(3);
  expect(existsSync(join(cwd, "made.txt"))).toBe(false);
  const allowed = await house.run(cwd, "run", "--approve", "write made.txt: yes");
  expect(allowed.code).toBe(0);
  expect(existsSync(join(cwd, "made.txt"))).toBe(true);
});

test("B25 3: a question that nobody is here to answer stays open, survives `down`, and is answered by its id from anywhere", async () => {
  const cwd = house.workdir("open");
  const left = await house.run(cwd, "run", "write later.txt: x");
  expect(left.code).toBe(3);
  const id = /`sessiond approve (apr_\w+)`/.exec(left.stderr)?.[1] ?? "";
  expect(existsSync(join(cwd, "later.txt"))).toBe(false);
  // Nothing is sent behind a question that this command would not answer unseen.
  const second = await house.run(cwd, "run", "--approve", "say more");
  expect([second.code, second.stdout]).toEqual([3, ""]);
  expect((await house.run(cwd, "down")).code).toBe(0);
  const host = await house.host();
  const session = await host.sessionForWorkdir(cwd);
  const seat = await session.attach({ as: "viewer" });
  const answered = await house.run(house.workdir("elsewhere"), "approve", id);
  expect([answered.code, answered.stdout.includes("+x")]).toEqual([0, true]);
  while (seat.state.turn !== null && seat.connection !== "ended") await seat.changed();
  expect(existsSync(join(cwd, "later.txt"))).toBe(true);
  await host.close();
});

test("B14 5: the seat is taken: nothing is sent, the holder is named, and --when-driven wait waits for it", async () => {
  const cwd = house.workdir("driven");
  const session = await (await house.host()).sessionForWorkdir(cwd);
  const seat = await session.attach({ as: "driver", label: "Ada at her desk" });
  for (const { code, stderr } of await Promise.all([
    house.run(cwd, "run", "say x"),
    house.run(cwd, "send", "say x"),
    house.run(cwd, "attach"),
    house.run(cwd, "queue", "release"),
  ])) {
    expect(code).toBe(5);
    expect(stderr).toContain("Ada at her desk");
    expect(stderr).toMatch(oneLine);
  }
  expect(seat.state.turns).toBe(0);
  const waiting = house.start(cwd, ["run", "--when-driven", "wait", "say at last"]);
  await waiting.said("waiting for the driver's seat");
  await seat.detach();
  expect(await waiting.done).toMatchObject({ code: 0, stdout: "at last\n" });
});

test("6: a token that is none, or is revoked, or may only look, opens nothing more", async () => {
  const cwd = house.workdir("a");
  const { stdout: token } = await house.run(cwd, "token", "mint", "--view", "--label", "phone");
  const file = join(house.root, "token");
  const { writeFileSync } = await import("node:fs");
  writeFileSync(file, token, { mode: 0o600 });
  const driving = await house.run(cwd, "attach", "--token-file", file);
  expect([driving.code, driving.stderr]).toEqual([6, "sessiond: This credential has not the right for that: control is needed.\n"]);
  const watching = house.start(cwd, ["attach", "--view", "--token-file", file]);
  await watching.said("— watching");
  const id = /(tok_\w+) .*phone/.exec((await house.run(cwd, "token", "list")).stdout)?.[1] ?? "";
  expect((await house.run(cwd, "token", "revoke", id)).stdout).toBe(`revoked ${id}\n`);
  expect((await watching.done).code).toBe(6);
  writeFileSync(file, "not a token");
  expect((await house.run(cwd, "attach", "--view", "--token-file", file)).code).toBe(6);
});

test("7: --timeout ends the waiting, not the turn; `interrupt` does", async () => {
  const cwd = house.workdir("slow");
  expect((await house.run(cwd, "run", "--timeout", "50", "wait 60000")).code).toBe(7);
  expect((await house.run(cwd, "interrupt")).stdout).toMatch(/^interrupted ses_/);
  expect((await house.run(cwd, "interrupt")).stdout).toMatch(/^nothing was running/);
});

test("130: Ctrl-C interrupts the turn, and the command ends when it has", async () => {
  const cwd = house.workdir("slow");
  const running = house.start(cwd, ["run", "say now then wait 60000"]);
  await running.said("now");
  running.signal("SIGINT");
  expect((await running.done).code).toBe(130);
  const { stdout } = await house.run(cwd, "ls", "--json");
  expect(stdout).toContain(`"workdir":"${cwd}","stable":true,"life_state":"live"`);
  expect(stdout).not.toContain("thinking");
});

test("a daemon killed while `run` waits is started again, the person is told, and the turn's end is told truly", async () => {
  const cwd = house.workdir("slow");
  const running = house.start(cwd, ["run", "say now then wait 60000"]);
  await running.said("now");
  const { pid } = JSON.parse((await house.run(cwd, "status", "--json")).stdout) as { pid: number };
  process.kill(pid, "SIGKILL");
  const { code, stderr } = await running.done;
  expect(code).toBe(1);
  expect(stderr).toContain("… reconnecting");
  expect(stderr).toContain("cut off by a restart");
});

test("B40 `down` returns when the process is gone", async () => {
  const { pid } = JSON.parse((await house.run(house.root, "status", "--json")).stdout) as { pid: number };
  expect(await house.run(house.root, "down")).toEqual({ code: 0, stdout: `down, pid ${pid} is gone\n`, stderr: "" });
  expect((await house.run(house.root, "status")).code).toBe(4);
});
