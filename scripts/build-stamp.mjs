// What the build was made from, as one hash. Contents, not times: a checkout sets times as it likes.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const inputs = ["package-lock.json", "tsconfig.json", "scripts/build.mjs"];
const outputs = ["packages/cli/dist/sessiond.js", "packages/cli/dist/daemon.js", "packages/shared/dist/index.js", "packages/client/dist/index.js"];
const stampPath = (root) => join(root, ".tmp", "built");

/** @returns {string} hash over everything that the build reads */
export function sourceHash(root) {
  const packages = readdirSync(join(root, "packages")).sort();
  const sources = packages.flatMap((name) => [
    `packages/${name}/package.json`,
    `packages/${name}/tsconfig.build.json`,
    ...filesBelow(root, `packages/${name}/src`),
  ]);
  const hash = createHash("sha256").update(process.versions.modules);
  for (const path of [...inputs, ...sources]) {
    const full = join(root, path);
    if (existsSync(full)) hash.update(`\0${path}\0`).update(readFileSync(full));
  }
  return hash.digest("hex");
}

function filesBelow(root, dir) {
  if (!existsSync(join(root, dir))) return [];
  return readdirSync(join(root, dir), { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => (entry.isDirectory() ? filesBelow(root, `${dir}/${entry.name}`) : [`${dir}/${entry.name}`]));
}

export const isBuilt = (root) =>
  outputs.every((path) => existsSync(join(root, path))) && existsSync(stampPath(root)) && readFileSync(stampPath(root), "utf8") === sourceHash(root);

/** @param hash  taken before the build began: what changed meanwhile is built next time */
export const markBuilt = (root, hash) => writeFileSync(stampPath(root), hash);
