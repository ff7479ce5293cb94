import { chmodSync, chownSync, lchownSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test as anywhere } from "vitest";
import { systemProgram, systemProgramDirs } from "../../packages/daemon/src/system-program.ts";
import { tempDir } from "../support/agent-driver.ts";

/** Which programs the daemon takes for the system's: those that none but root can replace. */
const test = anywhere.skipIf(process.getuid?.() !== 0);
const nobody = 65_534;
const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

/** A program `bin/it`, and a directory beside it that is another account's. */
function place() {
  const root = tempDir();
  directories.push(root);
  const at = (path: string): string => join(root, path);
  for (const dir of ["bin", "real", "foreign"]) mkdirSync(at(dir));
  for (const path of ["bin/it", "real/it"]) {
    writeFileSync(at(path), "#!/bin/sh\n");
    chmodSync(at(path), 0o755);
  }
  chownSync(at("foreign"), nobody, nobody);
  return { at, found: () => systemProgram("it", [at("bin")]).then((path) => path === at("bin/it")) };
}
type Place = ReturnType<typeof place>;

const leadsTo = ({ at }: Place, target: string): void => {
  rmSync(at("bin/it"));
  symlinkSync(target, at("bin/it"));
};

const taken: Readonly<Record<string, (place: Place) => void>> = {
  "as it is": () => undefined,
  "a link of root's to another of root's": (place) => leadsTo(place, place.at("real/it")),
  "a link that is not absolute": (place) => leadsTo(place, "../real/it"),
  "a directory that is a link": ({ at }) => (rmSync(at("bin"), { recursive: true }), symlinkSync("real", at("bin"))),
  "in a directory that all may write, and only the owner may move things in": ({ at }) => chmodSync(at("bin"), 0o1777),
};
const passedOver: Readonly<Record<string, (place: Place) => void>> = {
  "not there": ({ at }) => rmSync(at("bin/it")),
  "not to be run": ({ at }) => chmodSync(at("bin/it"), 0o644),
  "a directory": ({ at }) => (rmSync(at("bin/it")), mkdirSync(at("bin/it"))),
  "another account's": ({ at }) => chownSync(at("bin/it"), nobody, nobody),
  "for its group to write": ({ at }) => chmodSync(at("bin/it"), 0o775),
  "for all to write": ({ at }) => chmodSync(at("bin/it"), 0o757),
  "in another account's directory": ({ at }) => chownSync(at("bin"), nobody, nobody),
  "in a directory for a group to write": ({ at }) => chmodSync(at("bin"), 0o775),
  "below another account's directory": ({ at }) => chownSync(at("."), nobody, nobody),
  "another account's link to root's": (place) => {
    leadsTo(place, "/usr/bin/true");
    lchownSync(place.at("bin/it"), nobody, nobody);
  },
  "root's link to what lies in another account's directory": (place) => {
    writeFileSync(place.at("foreign/it"), "#!/bin/sh\n", { mode: 0o755 });
    leadsTo(place, place.at("foreign/it"));
  },
  "root's link by way of another account's directory": (place) => {
    symlinkSync(place.at("real/it"), place.at("foreign/it"));
    leadsTo(place, place.at("foreign/it"));
  },
  "a link that leads nowhere": (place) => leadsTo(place, "/nowhere"),
  "a link to itself": (place) => leadsTo(place, "it"),
};

for (const [what, make] of Object.entries(taken))
  test(`B46 a program that is ${what} is the system's`, async () => {
    const there = place();
    make(there);
    expect(await there.found()).toBe(true);
  });

for (const [what, make] of Object.entries(passedOver))
  test(`B46 a program that is ${what} is not the system's`, async () => {
    const there = place();
    make(there);
    expect(await there.found()).toBe(false);
  });

anywhere("B46 programs of the system are looked for in fixed places, none of them a home's, and found there", async () => {
  expect(systemProgramDirs.filter((dir) => !dir.startsWith("/") || /home|root|tmp/.test(dir))).toEqual([]);
  expect(await systemProgram("env", systemProgramDirs)).toMatch(/^(\/usr\/bin|\/bin|\/run\/current-system\/sw\/bin)\/env$/);
  expect(await systemProgram("no-such-program", systemProgramDirs)).toBe(null);
});
