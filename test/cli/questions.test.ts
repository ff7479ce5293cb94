/** A question at a terminal: one key an answer, what each remembers, and what happens beside it. Real terminals, the built command. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sessionFromToken } from "@sessiond/client/node";
import { afterAll, describe, expect, test } from "vitest";
import { CommandHouse } from "../support/command.ts";
import { hasTmux, Terminals } from "../support/terminals.ts";

const house = new CommandHouse();
const terminals = new Terminals(house.root, house.env);
afterAll(async () => {
  terminals.close();
  await house.close();
});

const open = (cwd: string, ...args: readonly string[]) => terminals.open(cwd, house.command(...args));

describe.skipIf(!hasTmux)("in terminals", () => {
  test("B25 B29 each answer has a key, what it counts for is shown first, and what was remembered is not asked again", async () => {
    const cwd = house.workdir("keys");
    const ada = open(cwd, "run");
    await ada.shows(/^>$/m);
    ada.line("run echo x >> ran.txt");
    await ada.shows(
      / {2}y once · t this turn · s this session · a always here · n no · N never\n {2}t, s, a, N count for exactly this command in \S+keys: echo x >> ran\.txt/,
    );
    await ada.shows("Allow this? [y/t/s/a/n/N/?]");
    ada.line("?");
    await ada.shows(/ {2}t {2}Allowed until this turn ends: /);
    ada.line("x");
    ada.line("s");
    await ada.shows(/ {2}allowed\n(?:.*\n)*?> ?$/);
    expect(ada.screen()).toContain("  remembered this session: allow shell: echo x >> ran.txt");
    ada.line("run echo x >> ran.txt then say all-done");
    const screen = await ada.shows(/^all-done\n>$/m);
    expect(screen.match(/asks for permission/g)).toHaveLength(1);
    ada.press("C-d");
    expect(await ada.ended()).toBe(0);
  });

  test("B25 at a question the wheel can still be given away: it stays open, and the new driver is asked", async () => {
    const cwd = house.workdir("given");
    const ada = open(cwd, "run");
    await ada.shows(/^>$/m);
    ada.line("run echo x > ran.txt");
    await ada.shows("Allow this?");
    const bo = open(cwd, "take", "--ask", "--label", "bo");
    await ada.shows("! bo asks for the wheel: /yield gives it");
    // The question's prompt stands below what came.
    expect(ada.screen()).toMatch(/Allow this\? \[y\/t\/s\/a\/n\/N\/\?\]$/);
    ada.line("/yield");
    await bo.shows("Allow this?");
    expect(existsSync(join(cwd, "ran.txt"))).toBe(false);
    bo.line("n");
    await bo.shows("Why not?");
    bo.line("use the script");
    await ada.shows("  refused by bo: use the script");
    expect(existsSync(join(cwd, "ran.txt"))).toBe(false);
  });

  test("B25 a line that was half typed when a question came is no answer to it, and is there again afterwards", async () => {
    const cwd = house.workdir("typed");
    const ada = open(cwd, "run");
    await ada.shows(/^>$/m);
    ada.line("wait 1200 then run echo x > ran.txt");
    await ada.shows(/^> wait 1200/m);
    ada.keys("yes please");
    await ada.shows("Allow this?");
    expect(existsSync(join(cwd, "ran.txt"))).toBe(false);
    ada.line("n");
    await ada.shows("Why not?");
    ada.press("Enter");
    await ada.shows(/^> yes please$(?![^]*\S)/m);
    expect(existsSync(join(cwd, "ran.txt"))).toBe(false);
  });

  test("B19 text that is typed while a turn runs is queued, /steer joins the turn, and neither tears what is shown", async () => {
    const cwd = house.workdir("beside");
    const ada = open(cwd, "run");
    await ada.shows(/^>$/m);
    ada.line("wait 1500 then say over");
    await ada.shows(/^> wait 1500/m);
    ada.line("/steer say steered");
    await ada.shows("— it joins the running turn before the agent's next step");
    ada.line("say queued");
    await ada.shows("— queued; it runs when the turns before it have ended");
    await ada.shows(/^queued\n>$/m);
    expect(ada.screen()).toMatch(/^steered$[^]*^queued$/m);
    ada.line("/nothing");
    await ada.shows("sessiond: There is no /nothing; /help lists what there is.");
    ada.line("/help");
    await ada.shows(/ {2}\/steer TEXT +into the running turn/);
    for (const line of ada
      .screen()
      .split("\n")
      .filter((each) => each.startsWith("  /")))
      expect(line.length).toBeLessThanOrEqual(80);
    ada.line("/title the parser");
    await ada.shows("— you set the title: the parser");
    ada.line("/note look here");
    await ada.shows("# look here (you)");
  });

  test("B29 an answer that the token may not give is refused in the daemon's words, and the question stays", async () => {
    const cwd = house.workdir("child");
    await house.run(cwd, "run", "say hello");
    const { stdout } = await house.run(cwd, "token", "mint", "--control");
    const parent = await sessionFromToken(stdout.trim(), { env: house.env, clientName: "the test" });
    const { token } = await parent.mintToken({ right: "control", label: "child" });
    writeFileSync(join(cwd, "token"), token, { mode: 0o600 });
    const guest = open(cwd, "attach", "--token-file", "token");
    await guest.shows(/^>$/m);
    guest.line("run echo x > ran.txt");
    await guest.shows("Allow this?");
    guest.line("a");
    await guest.shows(/^sessiond: .*(?:host key|right).*\n(?:.*\n)* {2}Allow this\? \[y\/t\/s\/a\/n\/N\/\?\]$/m);
    expect(existsSync(join(cwd, "ran.txt"))).toBe(false);
    expect((await house.run(cwd, "rules", "list")).stdout).toBe("");
    guest.line("y");
    await guest.shows(/ {2}allowed\n/);
    await parent.close();
  });
});
