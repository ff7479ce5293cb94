// Measures sessiond against what its parts could do at most: bench/*.bench.ts and the processes beside them, bundled
// as the daemon is, so that both sides of a ratio are made alike.
//
//   npm run bench -- [name …] [--short] [--json] [--help]
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { rolldown } from "rolldown";
import { aliases } from "./aliases.mjs";

const root = resolve(import.meta.dirname, "..");
/** The command itself, and what it starts as processes of their own. */
const entries = { main: "bench/main.ts", "limit-daemon": "bench/limit/daemon.ts", viewers: "bench/viewers.ts", model: "bench/model.ts" };

/** A bundle is one file elsewhere: what a module says of its own place must stay true of its source. */
const ownPlace = {
  name: "own-place",
  transform: (code, id) => (code.includes("import.meta.dirname") ? code.replaceAll("import.meta.dirname", JSON.stringify(dirname(id))) : null),
};

mkdirSync(join(root, ".tmp"), { recursive: true });
// Below the root, so that packages are found from there.
const dir = mkdtempSync(join(root, ".tmp/bench-"));
process.once("exit", () => rmSync(dir, { recursive: true, force: true }));
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
])
  process.once(signal, () => process.exit(code));

// One run a bundle: together they would share chunks, which the daemon's bundle does not either.
for (const [name, entry] of Object.entries(entries)) {
  const build = await rolldown({
    input: { [name]: join(root, entry) },
    cwd: root,
    platform: "node",
    tsconfig: false,
    external: ["fs-native-extensions", "bufferutil", "utf-8-validate"],
    resolve: { alias: aliases(root) },
    plugins: [ownPlace],
  });
  await build.write({ dir, format: "esm", entryFileNames: "[name].mjs", chunkFileNames: `${name}-[name].mjs`, minify: false });
  await build.close();
}
const { main } = await import(pathToFileURL(join(dir, "main.mjs")).href);
process.exit(await main(process.argv.slice(2), dir));
