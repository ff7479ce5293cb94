import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { aliases } from "./scripts/aliases.mjs";

// Tests run the sources, not the build; only process-level tests start the bundles.
// Exact matches, or `@sessiond/client` would swallow `@sessiond/client/node`.
const alias = Object.entries(aliases(import.meta.dirname)).map(([name, replacement]) => ({ find: new RegExp(`^${name}$`), replacement }));

// `.ci/run` takes the counts from a file; the last lines on the screen stay vitest's own.
const report = process.env["SESSIOND_TEST_REPORT"];

export default defineConfig({
  resolve: { alias },
  // Not in node_modules: mutants run in copies that share it.
  cacheDir: ".tmp/vite",
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    // Most of a test's time is waiting; but the whole of the long suites measures, and is given the machine for itself.
    maxWorkers: process.env["SESSIOND_WHOLE"] === "1" ? 1 : Math.max(2, availableParallelism() - 1),
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
  },
});
