import { availableParallelism } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { aliases } from "./scripts/aliases.mjs";

// Tests run the sources, not the build; only process-level tests start the bundles.
// Exact matches, or `@sessiond/client` would swallow `@sessiond/client/node`.
const alias = Object.entries(aliases(import.meta.dirname)).map(([name, replacement]) => ({ find: new RegExp(`^${name}$`), replacement }));

const whole = process.env["SESSIOND_WHOLE"] === "1";

/** Of the whole: what measures memory or ratios, or floods the machine, is given it for itself, when all else is done. */
const alone = ["test/peers/**/*.test.ts", "test/endurance/events.test.ts", "test/attack/wire*.test.ts", "test/process/herd.test.ts"];
const everything = ["test/**/*.test.ts"];
/** `npm run test:acp` has programs of others installed, and a configuration of its own. */
const elsewhere = ["test/acp-peers/**"];
const groups = [
  { include: everything, exclude: [...alone, ...elsewhere], maxWorkers: 2 },
  { include: alone, maxWorkers: 1 },
].map((group, index) => ({ extends: true as const, test: { name: index === 0 ? "side by side" : "alone", ...group, sequence: { groupOrder: index } } }));

// `.ci/run` takes the counts from a file; the last lines on the screen stay vitest's own.
const report = process.env["SESSIOND_TEST_REPORT"];

export default defineConfig({
  resolve: { alias },
  // Not in node_modules: mutants run in copies that share it.
  cacheDir: ".tmp/vite",
  test: {
    // A group's list would be added to this one.
    ...(whole ? { projects: groups } : { include: everything, exclude: elsewhere }),
    pool: "forks",
    // Most of a test's time is waiting.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    // By what is in a file: the hundreds of runs of the mutants transform only what they change.
    experimental: { fsModuleCache: true, fsModuleCachePath: join(import.meta.dirname, ".tmp/vitest") },
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
  },
});
