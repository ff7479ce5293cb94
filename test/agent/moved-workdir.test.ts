import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, expect, test as anywhere, vi } from "vitest";
import type { AgentDriver } from "../support/agent-driver.ts";
import { amount, whole } from "../support/amount.ts";
import { BetweenCalls } from "../support/between-calls.ts";
import { bubblewrapWorks } from "../support/sandboxed.ts";
import { putBack, Street, swapped, swaps } from "../support/street.ts";

/** Whoever may write above a session's workdir puts something else in its place: between two calls, and in the middle of one. */
vi.setConfig({ testTimeout: 240_000 });
const inSandbox = anywhere.skipIf(!bubblewrapWorks);
const running: { end(): void }[] = [];
afterEach(() => {
  for (const each of running.splice(0)) each.end();
});

const requests = [
  "read diary",
  "list",
  "search SECRET",
  "write planted: x",
  "write new/er/planted: x",
  "edit diary: THE => NOT",
  "run cat diary host-key; echo h > planted",
];

/** @returns what the calls of one request were told, and were asked about */
async function told(driver: AgentDriver, request: string): Promise<string> {
  const turn = driver.prompt(request);
  await turn.ended;
  expect(turn.questions.map(({ preview }) => preview).join()).not.toContain("SECRET");
  return turn.results.map(({ status, result }) => `${status}: ${result}`).join("\n");
}

for (const sandbox of ["off", "no_network"] as const)
  for (const [what, { command, says }] of Object.entries(swaps))
    inSandbox(
      `B46 with sandbox ${sandbox} no tool reads, writes or runs anything when a command of another session has put ${what} in the workdir's place`,
      async () => {
        const street = new Street();
        const driver = street.driver({ sandbox });
        expect(await told(driver, "read diary")).toBe("completed: MINE");
        const other = street.driver({ workdir: street.outer, sandbox: "no_network" });
        expect(await told(other, `run ${command}`)).toMatch(/^completed/);
        const before = what === "another directory" ? [] : street.outside();
        for (const request of requests) {
          const turn = driver.prompt(request);
          await turn.ended;
          expect(turn.questions, request).toEqual([]);
          expect(turn.results, request).toMatchObject([
            {
              status: "failed",
              result: expect.stringMatching(`^The working directory is not where it was: .* ${says}.*\\. Nothing was read, written or run\\.`),
            },
          ]);
        }
        for (const path of ["home/r/pk/sub/planted", "home/r/pk/old/planted", "home/r/old/sub/planted"]) expect(existsSync(street.at(path)), path).toBe(false);
        if (what !== "another directory") expect(street.outside()).toEqual(before);
      },
    );

anywhere("B46 what was moved away is worked in again when it is back, and what was made anew by the next life", async () => {
  const street = new Street();
  const driver = street.driver();
  expect(await told(driver, "read diary")).toBe("completed: MINE");
  renameSync(street.workdir, street.at("home/r/pk/old"));
  mkdirSync(street.workdir);
  writeFileSync(join(street.workdir, "diary"), "ANEW");
  expect(await told(driver, "read diary")).toMatch(/to work in the one that is there now, stop the session and start it again: its conversation stays\.$/);
  expect(await told(street.driver(), "read diary")).toBe("completed: ANEW");
  putBack(street);
  expect(await told(driver, "read diary then run cat diary")).toBe("completed: MINE\ncompleted: MINE\n[exit code 0]");
});

for (const { place, target } of [
  { place: "home/r/pk/sub", target: "home/priv" },
  { place: "home/r/pk", target: "home/priv" },
])
  anywhere(`B46 a life that begins with a link in the place of ${place} does nothing there, and works when the directory is back`, async () => {
    const street = new Street();
    renameSync(street.at(place), street.at("home/r/old"));
    symlinkSync(street.at(target), street.at(place));
    const driver = street.driver();
    for (const request of requests) expect(await told(driver, request), request).toMatch(/^failed: The working directory is not where it was/);
    expect(street.outside().join()).not.toContain("planted");
    rmSync(street.at(place));
    renameSync(street.at("home/r/old"), street.at(place));
    expect(await told(driver, "read diary")).toBe("completed: MINE");
  });

anywhere("B46 a life that begins without its workdir works in it once it is there, and in no other after that", async () => {
  const street = new Street();
  renameSync(street.workdir, street.at("home/r/pk/old"));
  const driver = street.driver();
  expect(await told(driver, "list")).toMatch(/^failed: The working directory is not where it was: .* is no directory/);
  putBack(street);
  expect(await told(driver, "read diary")).toBe("completed: MINE");
  renameSync(street.workdir, street.at("home/r/pk/old"));
  mkdirSync(street.workdir);
  expect(await told(driver, "list")).toMatch(/is another directory by now/);
});

// --- In the middle of a call ------------------------------------------------------------------------------------

/** One request, and the swap just before the n-th call of the system that it makes. @returns null when it made fewer */
async function tried(request: string, swap: (street: Street) => void, when: (name: string, count: number) => boolean, sandbox: "off" | "no_network" = "off") {
  const street = new Street();
  const driver = street.driver({ sandbox });
  expect(await told(driver, "list")).toMatch(/^completed/);
  const before = street.outside();
  let done = false;
  const between = new BetweenCalls((name, count) => {
    if (done || !when(name, count)) return;
    done = true;
    swap(street);
  });
  running.push(between);
  const result = await told(driver, request);
  between.end();
  expect(result).not.toContain("SECRET");
  expect(street.outside()).toEqual(before);
  await driver.agent.close();
  rmSync(street.root, { recursive: true });
  return done ? result : null;
}

let moments = 0;
const inside = ["read deep/diary", "list deep", "search E", "write deep/planted: x", "write deep/er/planted: x", "edit deep/diary: MINE => NOT"];
/** Of them, for each swap. */
const sampled = [[0], [5], [4], [1, 2]];
/** Looks come before these. */
const uses = ["open", "mkdir", "readdir", "chmod", "rename", "spawn"];

/** True for the n-th of them. */
function nth(at: number): (name: string) => boolean {
  let seen = 0;
  return (name) => uses.includes(name) && seen++ === at;
}

for (const [index, [what, swap]] of Object.entries(swapped).entries())
  anywhere(`B46 ${what} is exchanged for a link just before each use that a file tool makes of a name: nothing outside is read or written`, async () => {
    for (const request of inside.filter((_, each) => whole || sampled[index]?.includes(each)))
      for (let at = 0; (await tried(request, swap, nth(at))) !== null; at += 1) moments += 1;
  });

for (const [what, swap] of Object.entries(swapped).filter(([name]) => name !== "a directory in it")) {
  anywhere(`B46 ${what} is exchanged for a link just before a command is started: it runs where it was to run`, async () => {
    const isStart = (name: string): boolean => name === "spawn";
    expect(await tried("run cat diary; echo h > planted; cat planted", swap, isStart)).toMatch(/^completed: MINEh\n/);
  });
  inSandbox(`B46 ${what} is exchanged for a link just before a sandbox is made: its command runs where it was to run`, async () => {
    const isStart = (name: string): boolean => name === "spawn";
    expect(await tried("run cat diary; echo h > planted; cat planted", swap, isStart, "no_network")).toMatch(/^completed: MINEh\n/);
  });
  inSandbox(`B46 ${what} is exchanged for a link at other moments of a sandbox's start: nothing outside is seen`, async () => {
    const request = "run cat diary host-key; echo h > planted";
    for (let at = 0; (await tried(request, swap, nth(at), "no_network")) !== null; at += whole ? 2 : 9) moments += 1;
  });
}

inSandbox("B46 a program directory that is exchanged for a link just before a sandbox is made shows nothing of what that leads to", async () => {
  const street = new Street();
  const bin = street.at("home/r/tools/bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, "tool"), "");
  const childEnv = { PATH: `${bin}:${process.env["PATH"]}`, HOME: street.at("home") };
  const driver = street.driver({ sandbox: "no_network", childEnv });
  expect(await told(driver, `run ls ${bin}`)).toBe("completed: tool\n[exit code 0]");
  const between = new BetweenCalls((name) => {
    if (name !== "spawn") return;
    renameSync(bin, `${bin}.old`);
    symlinkSync(street.at("home/priv"), bin);
  });
  running.push(between);
  expect(await told(driver, `run ls ${bin}`)).toBe("completed: tool\n[exit code 0]");
});

// --- All the time ------------------------------------------------------------------------------------------------

const renameat2 = { x64: 316, arm64: 276 }[process.arch as string];
const exchanging = (from: string, to: string): string =>
  `perl -e '$| = 1; print "up\\n"; my ($from, $to) = ("${from}", "${to}"); until (-e "enough") { syscall(${renameat2}, -100, $from, -100, $to, 2) == 0 or die $!; select(undef, undef, undef, 0.001 * rand(3)) }'`;
const counts = { done: 0, refused: 0 };

for (const [what, places] of Object.entries({
  "the workdir": { link: "../../priv", at: "pk/link", place: "pk/sub" },
  "a directory above it": { link: "../priv", at: "link", place: "pk" },
}))
  anywhere.skipIf(!bubblewrapWorks || renameat2 === undefined)(
    `B46 while a command of another session exchanges ${what} for a link all the time nothing outside is read or written, by files or commands`,
    async () => {
      const street = new Street();
      const drivers = [street.driver(), street.driver({ sandbox: "no_network" })];
      for (const driver of drivers) expect(await told(driver, "list then run true")).toMatch(/^completed/);
      symlinkSync(places.link, join(street.outer, places.at));
      const before = street.outside();
      const other = street.driver({ workdir: street.outer, sandbox: "no_network" });
      const loop = other.prompt(`run ${exchanging(places.place, places.at)}`);
      running.push({ end: () => loop.interrupt() });
      await Promise.race([loop.until((all) => all.text("tool_call_chunk").includes("up")), loop.ended]);
      const play = async (driver: AgentDriver | undefined, request: string): Promise<void> => {
        if (driver === undefined) return;
        const result = await told(driver, request);
        expect(result).not.toContain("SECRET");
        counts[result.startsWith("completed") ? "done" : "refused"] += 1;
      };
      const files = ["read diary", "list deep", "search SECRET", "write planted: x", "write new/planted: x", "edit deep/diary: MINE => MINE"];
      for (let round = 0; round < amount(6, 40); round += 1) for (const request of files) await play(drivers[0], request);
      for (let round = 0; round < amount(4, 40); round += 1) for (const driver of drivers) await play(driver, "run cat diary host-key; echo h > planted");
      writeFileSync(join(street.outer, "enough"), "");
      await loop.ended;
      expect(loop.results).toMatchObject([{ status: "completed" }]);
      expect(street.outside()).toEqual(before);
    },
  );

afterAll(() =>
  console.log(`B46: a workdir's place: ${moments} moments of a call tried one by one; in the loop ${counts.done} calls done, ${counts.refused} refused`),
);
