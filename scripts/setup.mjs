// Makes a checkout ready to run: packages installed, bundles built. Does nothing, in a few
// milliseconds and without network, when both are up to date. Plain Node: it runs before anything is installed.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import { onlyOne } from "./only-one.mjs";
import { runCommand, tail } from "./run-command.mjs";

const root = resolve(import.meta.dirname, "..");
const stampPath = join(root, "node_modules", ".sessiond-setup");
const textOf = (path) => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
};

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  fail(`set-up: Node ${process.versions.node} is too old; sessiond needs Node 20.19 or newer (https://nodejs.org)`);
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/** Prints `what … done in 21 s`, or the end of the output and ends. */
async function step(what, command, args) {
  process.stdout.write(`set-up: ${what} … `);
  const { ok, output, seconds } = await runCommand(command, args, { cwd: root });
  if (ok) return void process.stdout.write(`done in ${seconds} s\n`);
  process.stdout.write("failed\n");
  // After what went wrong npm prints how it is called; that is no help.
  throw new Error(tail(output.split(/^npm error (?:Usage|Clean install a project)/m)[0].trimEnd()));
}

async function install() {
  const lockText = textOf(join(root, "package-lock.json"));
  const wanted = createHash("sha256").update(lockText).digest("hex");
  if (textOf(stampPath) === wanted) return;
  const count = Object.keys(JSON.parse(lockText).packages).filter((path) => path.includes("node_modules/")).length;
  rmSync(stampPath, { force: true });
  await step(`installing ${count} packages`, "npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
  writeFileSync(stampPath, wanted);
}

async function build() {
  // Imported only now: it needs installed packages.
  const { isBuilt } = await import("./build-stamp.mjs");
  if (isBuilt(root)) return;
  await step("building", process.execPath, [join(root, "scripts", "build.mjs"), "--locked"]);
}

checkNode();
try {
  await onlyOne(root, async () => {
    await install();
    await build();
  });
} catch (error) {
  fail(error.message);
}
