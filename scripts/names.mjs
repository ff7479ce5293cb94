// Looks at names: files that say nothing about what they hold, and paths or hosts of one machine
// that slipped into the repository. Prints what it finds; exits 1 if anything.
import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { basename, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const emptyNames = ["utils", "util", "helpers", "helper", "manager", "service", "common", "misc"];
// Put together here, so that this file does not find itself. `/home/me` is the reader's, in examples.
const machinePath = new RegExp(`(?<![\\w.~$}/-])/(?:${["work", "home"].join("|")})/(?!me\\b)`);
const registry = new RegExp(["registry", "(?:npmjs|yarnpkg|npmmirror)", "\\w+"].join("[.]"));
const resolvedUrl = new RegExp(`"${"resolved"}": "https?:`);

const listed = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: root, encoding: "utf8", maxBuffer: 1 << 26 });
const files = listed.split("\0").filter((path) => path !== "" && statSync(resolve(root, path), { throwIfNoEntry: false })?.isFile());

const found = [];
for (const path of files) {
  const words = basename(path).toLowerCase().split(/[.-]/);
  if (words.some((word) => emptyNames.includes(word))) found.push(`${path}: name it by what it holds`);
  const text = readFileSync(resolve(root, path), "utf8");
  if (text.includes("\0")) continue; // not a text
  for (const [index, line] of text.split("\n").entries()) {
    const at = `${path}:${index + 1}`;
    if (machinePath.test(line)) found.push(`${at}: a path of one machine: ${line.trim().slice(0, 120)}`);
    if (registry.test(line) || resolvedUrl.test(line)) found.push(`${at}: a package registry's host: ${line.trim().slice(0, 120)}`);
  }
}

for (const line of found) console.log(line);
process.exit(found.length > 0 ? 1 : 0);
