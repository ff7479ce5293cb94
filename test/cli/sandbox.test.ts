import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test as anywhere, vi } from "vitest";
import { CommandHouse } from "../support/command.ts";
import { bubblewrapWorks } from "../support/sandboxed.ts";

/** The sandbox as a person at a terminal meets it. */
// Where much else runs, a process takes its time.
vi.setConfig({ testTimeout: 240_000 });
const test = anywhere.skipIf(!bubblewrapWorks);
const house = new CommandHouse();
afterAll(() => house.close());

test("B46 run --sandbox begins a life in it, the question says so, info tells, and who asks for another is told", async () => {
  const cwd = house.workdir("confined");
  const asked = await house.run(cwd, "run", "--sandbox", "no_network", "run cat /proc/1/cmdline | head -c 14");
  // Nobody is at the terminal: the question stays open, and is shown.
  expect(asked.code).toBe(3);
  expect(asked.stderr).toContain("in a sandbox without network, in which only this directory can be written");
  expect((await house.run(cwd, "info")).stdout).toMatch(/^sandbox +no_network: commands write in the workdir alone, and reach no network$/m);
  expect(JSON.parse((await house.run(cwd, "info", "--json")).stdout)).toMatchObject({ sandbox: "no_network" });
  const other = await house.run(cwd, "run", "--sandbox", "off", "say hi");
  expect(other.code).toBe(2);
  expect(other.stderr).toContain("This session's life began with sandbox no_network and keeps it. `sessiond stop` ends that life");
  await house.run(cwd, "stop");
  expect((await house.run(cwd, "run", "--sandbox", "off", "say hi")).code).toBe(0);
  expect((await house.run(cwd, "info")).stdout).toMatch(/^sandbox +off: commands run as the account that owns the daemon$/m);
});

test("B46 run --sandbox is no part of a life without one: it begins the next where nothing was done in that, and else says what to do", async () => {
  const cwd = house.workdir("late");
  expect((await house.run(cwd, "send", "--sandbox", "off", "say hi")).code).toBe(0);
  expect((await house.run(cwd, "wait")).code).toBe(0);
  const late = await house.run(cwd, "run", "--sandbox", "no_network", "run touch ran");
  expect(late.code).toBe(2);
  expect(late.stderr).toContain("This session's life began with sandbox off and keeps it. `sessiond stop` ends that life");
  expect(existsSync(join(cwd, "ran"))).toBe(false);
  const unused = house.workdir("unused");
  const host = await house.host();
  await host.sessionForWorkdir(unused, { model: "practice", sandbox: "off" });
  expect((await house.run(unused, "run", "--sandbox", "no_network", "say hi")).code).toBe(0);
  expect((await house.run(unused, "info")).stdout).toMatch(/^sandbox +no_network/m);
});

test("B46 send --sandbox too; what is none is refused with those that are", async () => {
  const cwd = house.workdir("sent");
  expect((await house.run(cwd, "send", "--sandbox", "network", "say hi")).code).toBe(0);
  expect((await house.run(cwd, "info")).stdout).toMatch(/^sandbox +network: commands write in the workdir alone$/m);
  const wrong = await house.run(cwd, "run", "--sandbox", "on", "say hi");
  expect(wrong.code).toBe(2);
  expect(wrong.stderr).toMatch(/off, no_network, network/);
});
