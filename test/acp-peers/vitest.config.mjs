import { join, resolve } from "node:path";
import { defineConfig } from "vitest/config";
import { aliases } from "../../scripts/aliases.mjs";

// Real agents, installed by scripts/acp-peers.mjs: `npm run test:acp`, never `npm test`.
const root = resolve(import.meta.dirname, "../..");

export default defineConfig({
  root,
  resolve: { alias: Object.entries(aliases(root)).map(([name, replacement]) => ({ find: new RegExp(`^${name}$`), replacement })) },
  cacheDir: join(root, ".tmp/vite-acp"),
  test: {
    include: ["test/acp-peers/**/*.test.ts"],
    pool: "forks",
    // Each of them is several hundred megabytes of program; a slow start is no failure.
    maxWorkers: 1,
    testTimeout: 120_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
  },
});
