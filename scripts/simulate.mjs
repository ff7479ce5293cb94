// Plays clients and faults against the daemon's core in one process: test/simulation, bundled, so that it
// runs without a test runner for as long as somebody wants.
//
//   npm run simulate -- [--seed N] [--steps M] [--help]
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { rolldown } from "rolldown";
import { aliases } from "./aliases.mjs";

const root = resolve(import.meta.dirname, "..");
mkdirSync(join(root, ".tmp"), { recursive: true });
// Below the root, so that packages are found from there.
const dir = mkdtempSync(join(root, ".tmp/simulate-"));
let code = 1;
try {
  const build = await rolldown({
    input: { command: join(root, "test/simulation/command.ts") },
    cwd: root,
    platform: "node",
    tsconfig: false,
    external: ["fs-native-extensions"],
    resolve: { alias: aliases(root) },
  });
  await build.write({ dir, format: "esm", entryFileNames: "[name].mjs", sourcemap: true });
  await build.close();
  const { main } = await import(pathToFileURL(join(dir, "command.mjs")).href);
  code = await main(process.argv.slice(2));
} finally {
  rmSync(dir, { recursive: true, force: true });
}
process.exit(code);
