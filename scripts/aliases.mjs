// Where `@sessiond/*` is found in the sources. tsconfig.json is the one place that says so;
// the bundler and the tests ask here.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** @returns {Record<string, string>} package specifier → absolute path of its source entry */
export function aliases(root = resolve(import.meta.dirname, "..")) {
  const { paths } = JSON.parse(readFileSync(join(root, "tsconfig.json"), "utf8")).compilerOptions;
  return Object.fromEntries(Object.entries(paths).map(([name, [path]]) => [name, join(root, path)]));
}
