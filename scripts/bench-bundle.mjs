// The bundles of a bench: its command and what that starts as processes of their own, made as the daemon's is, in a
// directory that lives as long as this process.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { rolldown } from "rolldown";
import { aliases } from "./aliases.mjs";
import { written } from "./bundle-form.mjs";

const root = resolve(import.meta.dirname, "..");

/** A bundle is one file elsewhere: what a module says of its own place must stay true of its source. */
const ownPlace = {
  name: "own-place",
  transform: (code, id) => (code.includes("import.meta.dirname") ? code.replaceAll("import.meta.dirname", JSON.stringify(dirname(id))) : null),
};

/**
 * @param {Record<string, string>} entries  name of the bundle → source, from the root
 * @returns {Promise<string>} the directory in which they lie, each as `<name>.mjs`
 */
export async function benchBundle(entries) {
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
    await build.write({ dir, format: "esm", entryFileNames: "[name].mjs", chunkFileNames: `${name}-[name].mjs`, ...written });
    await build.close();
  }
  return dir;
}
