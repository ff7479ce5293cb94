import { expect } from "vitest";
import type { AgentDriver, DrivenTurn, DriverOptions } from "./agent-driver.ts";
import { eventually } from "./eventually.ts";
import { isUp, nobodyWorksIn } from "./hard-children.ts";

/** How a command's call is ended from outside. */
export const ways: Readonly<Record<string, (driver: AgentDriver, turn: DrivenTurn) => Promise<unknown>>> = {
  "an interrupt": async (_driver, turn) => (turn.interrupt(), turn.ended),
  "the time limit": (_driver, turn) => turn.ended,
  "closing the agent": async (driver, turn) => (await driver.agent.close(), turn.ended),
};

/**
 * Runs all commands at once, each until it is up, and ends their calls that way.
 *
 * @param commands  by name
 * @returns names of those of which something is left
 */
export async function leftWhenEnded(
  way: string,
  commands: Readonly<Record<string, string>>,
  driverOf: (options: DriverOptions) => AgentDriver,
): Promise<string[]> {
  const limits = { kill_wait_ms: 300, ...(way === "the time limit" && { shell_ms_max: 4_000 }) };
  const players = Object.entries(commands).map(([name, command]) => {
    const driver = driverOf({ limits });
    return { name, driver, turn: driver.prompt(`run ${command}`) };
  });
  await Promise.all(players.map(({ name, driver, turn }) => Promise.race([eventually(`what ${name} is up`, () => isUp(driver.workdir)), turn.ended])));
  const left = await Promise.all(
    players.map(async ({ name, driver, turn }) => {
      await ways[way]?.(driver, turn);
      expect(turn.results).toMatchObject([{ status: "failed", result: expect.stringMatching(/\[ended: (interrupted|it ran longer than 4000 ms)\]$/) }]);
      return (await nobodyWorksIn(driver.workdir)) ? [] : [name];
    }),
  );
  return left.flat();
}
