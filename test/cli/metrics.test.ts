/** `sessiond status --metrics`: the daemon's figures on a terminal, or in a collector's pipe. */
import { afterAll, expect, test } from "vitest";
import { CommandHouse } from "../support/command.ts";
import { samplesOf, valueOf } from "../support/plain-http.ts";

const house = new CommandHouse();
afterAll(() => house.close());

test("status --metrics prints the figures and nothing else; where none runs it says so and starts none", async () => {
  const none = await house.run(house.root, "status", "--metrics");
  expect([none.code, none.stdout]).toEqual([4, ""]);
  const cwd = house.workdir("a");
  await house.run(cwd, "run", "say hello");
  const { code, stdout, stderr } = await house.run(cwd, "status", "--metrics");
  expect([code, stderr]).toEqual([0, ""]);
  expect(samplesOf(stdout).length).toBeGreaterThan(30);
  expect(valueOf(stdout, "sessiond_turns_ended_total", { stop_reason: "end_turn" })).toBe(1);
  expect(stdout).not.toContain(house.root);
});

test("status takes either --metrics or --json, and its help shows how", async () => {
  const both = await house.run(house.root, "status", "--metrics", "--json");
  expect([both.code, both.stdout]).toEqual([2, ""]);
  expect(both.stderr).toMatch(/'--metrics' cannot be used with.*'--json'/);
  expect((await house.run(house.root, "status", "--help")).stdout).toContain("$ sessiond status --metrics | grep");
});
