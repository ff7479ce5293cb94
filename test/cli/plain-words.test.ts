/** What the command says stays plain: JSON without orders to a terminal, no false news at the end, no bug where none is. */
import { afterAll, expect, test } from "vitest";
import { CommandHouse, jsonLines } from "../support/command.ts";

const house = new CommandHouse();
afterAll(() => house.close());

test("B25 JSON gives a terminal no orders either, and says the same", { timeout: 120_000 }, async () => {
  const hostile = "\u009b2J \u202egnp \u{e0041} \u007f";
  const { stdout } = await house.run(house.workdir("json"), "run", "--json", `say ${hostile}`);
  expect(stdout).not.toMatch(/[^\n\P{C}]/u);
  expect(jsonLines(stdout).at(-1)).toMatchObject({ type: "result", text: hostile });
});

test("who leaves a view with Ctrl-C is not told that the session is stopped", { timeout: 120_000 }, async () => {
  const cwd = house.workdir("view");
  await house.run(cwd, "run", "say hi");
  const view = house.start(cwd, ["attach", "--view"]);
  await view.said("hi");
  view.signal("SIGINT");
  const { code, stdout, stderr } = await view.done;
  expect([code, stderr]).toEqual([0, ""]);
  expect(stdout).not.toContain("stopped");
});

test("what can be no name of a file is no bug: the command says that no session is called so", { timeout: 120_000 }, async () => {
  for (const name of ["x".repeat(300), "\u001b[2J".repeat(100)]) {
    const { code, stderr } = await house.run(house.root, "info", name);
    expect([code, stderr]).toEqual([2, expect.stringContaining("No session's id begins with ses_") as string]);
  }
});
