import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { House, played } from "../support/built-in-session.ts";
import { bubblewrapWorks } from "../support/sandboxed.ts";

/** Of two sessions, one of which works above the other: what is put in a workdir's place, and how the session goes on. */
vi.setConfig({ testTimeout: 240_000 });
const houses: House[] = [];
afterEach(async () => {
  await Promise.all(houses.splice(0).map((house) => house.close()));
});

async function opened(): Promise<House> {
  const house = await House.open();
  houses.push(house);
  return house;
}

test.skipIf(!bubblewrapWorks)(
  "B46 a sandboxed session that replaces the directory of another gets it neither out of its sandbox nor to the host key",
  async () => {
    const house = await opened();
    const [outer, sub, priv] = [house.workdir("r"), house.workdir("r/sub"), house.workdir("priv")];
    writeFileSync(join(priv, "diary"), "THE-SECRET");
    const start = (workdir: string) => house.start({ sandbox: "no_network" }, workdir).then((started) => house.driver(started));
    const [attacker, victim] = [await start(outer), await start(sub)];
    expect(await played(victim, "run pwd")).toEqual([`${sub}\n[exit code 0]`]);
    // The daemon's own state is a place to lead to as well.
    for (const target of [priv, join(house.daemon.root, "state/sessiond")]) {
      expect(await played(attacker, `run mv sub sub.old && ln -s ${target} sub`)).toEqual(["(no output)\n[exit code 0]"]);
      for (const request of ["read diary", "list", "write planted: x", "run cat diary host-key host.key; echo h > planted"])
        expect(await played(victim, request), request).toEqual([expect.stringMatching(/^The working directory is not where it was: /)]);
      expect(await played(attacker, "run rm sub && mv sub.old sub && ls sub; ls -a sub | wc -l")).toEqual(["2\n[exit code 0]"]);
    }
    expect(readFileSync(join(priv, "diary"), "utf8")).toBe("THE-SECRET");
    expect(await played(victim, "write done: x then read done")).toEqual(["Created done (1 bytes).", "x"]);
  },
);

test("B46 B11 a session whose directory was made anew is refused until its next life, which has its whole conversation", async () => {
  const house = await opened();
  const started = await house.start();
  const { session_id, workdir } = started.session;
  const driver = await house.driver(started);
  expect(await played(driver, "write old: x")).toEqual(["Created old (1 bytes)."]);
  // Kept beside, so that its number is not given to the new one.
  renameSync(workdir, `${workdir}.old`);
  mkdirSync(workdir);
  const [refused] = await played(driver, "list");
  expect(refused).toMatch(/is another directory by now\. .* stop the session and start it again: its conversation stays\.$/);
  await house.daemon.call("stop", { session_id }, { token: started.token });
  const again = await house.start();
  expect(again.session).toMatchObject({ session_id, life: 2 });
  expect(await played(await house.driver(again), "write new: x then list")).toEqual(["Created new (1 bytes).", "new"]);
  const { frames } = await house.daemon.call("session_data", { session_id }, house.owner);
  expect(JSON.stringify(frames)).toContain("Created old");
});

test("B46 B9 what leads by a link to where a session works is no other place to work in, also after a restart", async () => {
  const house = await opened();
  const started = await house.start();
  const { workdir } = started.session;
  const first = await house.driver(started);
  await played(first, "list");
  await first.detach();
  await house.restart();
  renameSync(workdir, `${workdir}.old`);
  symlinkSync(house.workdir("elsewhere"), workdir);
  const driver = await house.driver(started, "again");
  expect(await played(driver, "write planted: x")).toEqual([expect.stringMatching(/^The working directory is not where it was: /)]);
  rmSync(workdir);
  renameSync(`${workdir}.old`, workdir);
  expect(await played(driver, "write planted: x")).toEqual(["Created planted (1 bytes)."]);
});
