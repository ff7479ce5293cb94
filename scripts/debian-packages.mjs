// Installs Debian packages that tests of the whole suite need and that npm does not have: a real browser, bubblewrap.
// What is there already is left alone; without apt or without the right to use it, it says what to do and fails.
//
//   node scripts/debian-packages.mjs chromium bubblewrap
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { runCommand, tail } from "./run-command.mjs";

/** The program by which a package is known to be there, where that is not its name. */
const programs = { bubblewrap: "bwrap" };
const tries = 3;

const isThere = (name) =>
  (process.env.PATH ?? "").split(delimiter).some((dir) => {
    try {
      accessSync(join(dir, programs[name] ?? name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

const missing = process.argv.slice(2).filter((name) => !isThere(name));
if (missing.length > 0) {
  process.stdout.write(`set-up: installing ${missing.join(", ")} … `);
  let last = { ok: false, output: "this is no Debian, or not its administrator: install them by hand", seconds: 0 };
  const mayInstall = process.getuid?.() === 0 && isThere("apt-get");
  for (let round = 0; mayInstall && !last.ok && round < tries; round += 1) {
    last = await runCommand("apt-get", ["update", "-qq"], { timeoutMs: 120_000 });
    if (last.ok)
      last = await runCommand("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...missing], {
        timeoutMs: 300_000,
        env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
      });
  }
  console.log(last.ok ? `done in ${last.seconds} s` : `failed\n${tail(last.output)}`);
  if (!last.ok) process.exit(1);
}
