// All checks, one line each; a failing one does not stop the others.
//
//   node scripts/check.mjs [name …]     only those steps
import { resolve } from "node:path";
import { runCommand, tail } from "./run-command.mjs";

const root = resolve(import.meta.dirname, "..");
const bin = (name) => resolve(root, "node_modules/.bin", name);

const steps = [
  { name: "format", command: [bin("oxfmt"), "--check"] },
  // Its configuration says which rules; `--type-aware` lets it follow promises across files.
  { name: "lint", command: [bin("oxlint"), "--type-aware", "--deny-warnings"] },
  { name: "types", command: [bin("tsc"), "-p", "tsconfig.json"] },
  { name: "dead code", command: [bin("knip"), "--no-progress", "--no-config-hints"] },
  { name: "walls", command: [bin("vitest"), "run", "test/walls.test.ts"] },
  { name: "docs", command: [process.execPath, "scripts/docs.mjs", "--check"] },
  { name: "lock", command: [process.execPath, "scripts/lock-platforms.mjs", "--check"] },
  { name: "names", command: [process.execPath, "scripts/names.mjs"] },
];

const asked = process.argv.slice(2);
const chosen = steps.filter(({ name }) => asked.length === 0 || asked.includes(name));
if (chosen.length === 0) {
  console.error(`check: no such step; there are: ${steps.map(({ name }) => name).join(", ")}`);
  process.exit(1);
}

const failed = [];
for (const { name, command } of chosen) {
  const [file, ...args] = command;
  const { ok, output, seconds } = await runCommand(file, args, { cwd: root });
  console.log(`${name.padEnd(10)} ${ok ? "ok" : "FAILED"} (${seconds} s)`);
  if (ok) continue;
  failed.push(name);
  console.log(
    tail(output, 200)
      .split("\n")
      .map((line) => `    ${line}`)
      .join("\n"),
  );
}

const all = `${chosen.length} step${chosen.length === 1 ? "" : "s"}`;
console.log(failed.length === 0 ? `check: ${all}, all ok` : `check: ${failed.length} of ${all} failed: ${failed.join(", ")}`);
process.exit(failed.length === 0 ? 0 : 1);
