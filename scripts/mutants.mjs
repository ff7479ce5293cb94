// Breaks the code on purpose, one patch at a time, and asks whether the test that guards the promise notices.
//
//   node scripts/mutants.mjs [text …]     only those whose file name contains one of the texts
//   SESSIOND_PASSED=report.json           vitest's report on this very tree, so that it is not tested again unbroken
//
// A patch in test/mutants begins with
//   # test: test/seats.test.ts -t second driver      (`-t` and a name pattern may be left out)
//   # B14: two drivers at once                       what it breaks
//   # build: yes                                     where the test starts the bundles
// Everything runs in copies of the tree, a few that are mended after each; the tree itself is never touched.
// Tests that never end have noticed too, as in Stryker. What breaks a race can get away by luck: who survives beside
// others is asked again at the end, alone, and named with how often it took.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { runCommand, tail } from "./run-command.mjs";

const root = resolve(import.meta.dirname, "..");
const patchDir = join(root, "test/mutants");
// Many wait for what never comes: more than two cores could run.
const atOnce = 3;
// The slowest, a suite of real processes that waits for what never comes, took 135 s on a busy machine.
const timeoutMs = 400_000;
const baselineTimeoutMs = 900_000;
// One that is noticed in half of its runs gets away once in 32.
const asksMax = 5;

// --- What there is -------------------------------------------------------------------------------

function readMutant(file) {
  const text = readFileSync(join(patchDir, file), "utf8");
  const head = text.split("\n").filter((line) => line.startsWith("# "));
  const test = head.map((line) => /^# test: (\S+)(?: -t (.+))?$/.exec(line.trimEnd())).find(Boolean);
  const promise = head.map((line) => /^# (B\d+): (.+)$/.exec(line)).find(Boolean);
  const name = basename(file, ".patch");
  if (!test || !promise) throw new Error(`mutants: ${file} needs the lines "# test: <file>" and "# B<number>: <what it breaks>" at its head`);
  const pattern = test[2]?.trim().replace(/^(["'])(.*)\1$/, "$2");
  return { name, patch: join(patchDir, file), test: test[1], pattern, promise: promise[1], build: head.includes("# build: yes") };
}

/** Files of the tree as a commit would see them. */
const treeFiles = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: root, encoding: "utf8", maxBuffer: 1 << 26 })
  .split("\0")
  .filter((path) => path !== "" && existsSync(join(root, path)));

// --- Copies ------------------------------------------------------------------------------------------

/**
 * A copy of the tree with its own `@sessiond/*`: packages are links to those of the root, the workspace's own are
 * links to the copy's. Otherwise a bundle or an example would run the code of the root, unbroken.
 */
function copyTree(to, bundlesFrom) {
  for (const path of treeFiles.filter((each) => existsSync(join(root, each)))) {
    mkdirSync(dirname(join(to, path)), { recursive: true });
    cpSync(join(root, path), join(to, path), { verbatimSymlinks: true });
  }
  for (const dir of ["node_modules", ...readdirSync(join(root, "packages")).map((name) => `packages/${name}/node_modules`)]) {
    if (existsSync(join(root, dir))) linkModules(dir, to);
  }
  if (bundlesFrom !== undefined) copyBundles(to, bundlesFrom);
}

function copyBundles(to, bundlesFrom) {
  for (const name of readdirSync(join(bundlesFrom, "packages"))) {
    const dist = join("packages", name, "dist");
    rmSync(join(to, dist), { recursive: true, force: true });
    if (existsSync(join(bundlesFrom, dist))) cpSync(join(bundlesFrom, dist), join(to, dist), { recursive: true });
  }
}

function linkModules(dir, to) {
  mkdirSync(join(to, dir), { recursive: true });
  for (const name of readdirSync(join(root, dir))) {
    if (name === "@sessiond") {
      mkdirSync(join(to, dir, name));
      for (const own of readdirSync(join(root, dir, name))) symlinkSync(join(to, "packages", own), join(to, dir, name, own));
    } else if (name === "sessiond") symlinkSync(join(to, "packages/cli"), join(to, dir, name));
    else if (name === ".bin" || !name.startsWith(".")) symlinkSync(join(root, dir, name), join(to, dir, name));
  }
}

/** The files that a mutant has changed are as they were again, and so are the bundles. */
function mend(mutant, dir, baseline) {
  for (const [, path] of readFileSync(mutant.patch, "utf8").matchAll(/^[+-]{3} [ab]\/(\S+)/gm)) {
    rmSync(join(dir, path), { force: true });
    if (existsSync(join(baseline, path))) cpSync(join(baseline, path), join(dir, path));
  }
  if (mutant.build) copyBundles(dir, baseline);
}

const build = (dir) => runCommand(process.execPath, [join(dir, "scripts/build.mjs")], { cwd: dir, timeoutMs });

/** @returns {Promise<{report: object | null, output: string}>}  vitest's report on those test files, null when it made none */
async function runTests(dir, files, { pattern, limitMs, seed = 1 }) {
  const reportPath = join(dir, ".tmp/mutant.json");
  // Many a mutant shows as a wait without end; tests that need longer than this say so themselves.
  rmSync(reportPath, { force: true });
  const args = ["run", ...files, "--testTimeout=10000", "--reporter=json", `--outputFile=${reportPath}`, ...(pattern === undefined ? [] : ["-t", pattern])];
  // npm's own variables name the root; the copy must not learn of it.
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("npm_") && name !== "SESSIOND_TEST_REPORT");
  // Nobody reads the shortest steps that fail.
  const env = { ...Object.fromEntries(own), SESSIOND_SEED: String(seed), SESSIOND_SHRINK: "0" };
  const { output, timedOut } = await runCommand(process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), ...args], {
    cwd: dir,
    env,
    timeoutMs: limitMs,
  });
  const report = existsSync(reportPath) ? JSON.parse(readFileSync(reportPath, "utf8")) : null;
  return { report, timedOut, output: timedOut ? `no end within ${limitMs / 1000} s\n${output}` : output };
}

const countOf = (report, status) => report.testResults.flatMap((file) => file.assertionResults).filter((test) => test.status === status).length;

// --- One mutant --------------------------------------------------------------------------------------

/** @returns {Promise<{verdict: "caught" | "SURVIVED" | "stale" | "broken", why?: string}>} */
async function tryMutant(mutant, dir, seed) {
  // The ceiling: should the temporary directory lie in some repository, git would apply nothing and say ok.
  const apply = await runCommand("git", ["apply", "--whitespace=nowarn", mutant.patch], {
    cwd: dir,
    env: { ...process.env, GIT_CEILING_DIRECTORIES: dirname(dir) },
  });
  if (!apply.ok) return { verdict: "stale", why: tail(apply.output, 5) };
  if (mutant.build) {
    const built = await build(dir);
    if (!built.ok) return { verdict: "broken", why: `does not build\n${tail(built.output, 15)}` };
  }
  const { report, timedOut, output } = await runTests(dir, [mutant.test], { pattern: mutant.pattern, limitMs: timeoutMs, seed });
  if (report === null && timedOut) return { verdict: "caught", why: `its tests had no end within ${timeoutMs / 1000} s` };
  if (report === null) return { verdict: "broken", why: `vitest made no report\n${tail(output, 15)}` };
  if (countOf(report, "failed") > 0) return { verdict: "caught" };
  if (countOf(report, "passed") > 0) return { verdict: "SURVIVED", why: `${mutant.promise}: ${mutant.test} does not notice` };
  // A file that does not even load proves nothing about the promise.
  const message = report.testResults.map((file) => file.message).find(Boolean);
  return {
    verdict: "broken",
    why: message ? `the test file does not load\n${tail(message, 10)}` : `no test in ${mutant.test} matches ${JSON.stringify(mutant.pattern)}`,
  };
}

/**
 * Runs the tests that the mutants name on an unbroken copy.
 *
 * @returns {Promise<Map<string, string>>}  test files that fail by themselves, and why
 */
async function findBroken(dir, files) {
  copyTree(dir);
  // Bundles for tests that start them. Where they do not build those tests fail here; the others can be asked all the same.
  const built = await build(dir);
  if (!built.ok) console.log(`the unbroken tree does not build: ${tail(built.output, 5)}`);
  const passed = process.env.SESSIOND_PASSED;
  const { report, output } =
    passed === undefined
      ? await runTests(dir, files, { limitMs: baselineTimeoutMs })
      : { report: existsSync(passed) ? JSON.parse(readFileSync(passed, "utf8")) : null, output: `no report at ${passed}` };
  if (report === null) throw new Error(`mutants: vitest made no report on the unbroken tree\n${tail(output)}`);
  const results = new Map(report.testResults.map((file) => [file.name, file]));
  // One that failed beside all the others is asked once more by itself: here it only stands for what is not broken.
  for (const path of files) {
    const [name, file] = [...results].find(([each]) => each.endsWith(`/${path}`)) ?? [];
    if (file === undefined || file.status === "passed") continue;
    const again = await runTests(dir, [path], { limitMs: timeoutMs });
    if (again.report !== null) results.set(name, again.report.testResults[0] ?? file);
    remarkable.push(`${path} failed once without any mutant`);
  }
  const broken = new Map();
  for (const path of files) {
    const result = [...results].find(([name]) => name.endsWith(`/${path}`))?.[1];
    if (result === undefined) broken.set(path, "there is no such test file");
    else if (result.status !== "passed")
      broken.set(path, result.assertionResults.find((test) => test.status === "failed")?.fullName ?? tail(result.message, 5));
  }
  return broken;
}

// --- All of them -------------------------------------------------------------------------------------

const counts = { caught: 0, SURVIVED: 0, stale: 0, broken: 0 };
/** Said again at the end, where it is looked for. */
const remarkable = [];

async function main(scratch) {
  const all = existsSync(patchDir)
    ? readdirSync(patchDir)
        .filter((file) => file.endsWith(".patch"))
        .sort()
        .map(readMutant)
    : [];
  const asked = process.argv.slice(2);
  const chosen = all.filter(({ name }) => asked.length === 0 || asked.some((text) => name.includes(text)));
  if (asked.length > 0 && chosen.length === 0) throw new Error(`mutants: none of ${all.length} is called like ${asked.join(", ")}`);
  if (chosen.length > 0) {
    const baseline = join(scratch, "baseline");
    const broken = await findBroken(baseline, [...new Set(chosen.map(({ test }) => test))]);
    const waiting = [...chosen];
    const survivors = [];
    const worker = async (_, index) => {
      const dir = join(scratch, `copy-${index}`);
      copyTree(dir, baseline);
      for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
        if ((await judge(mutant, dir, broken)) === "SURVIVED") survivors.push(mutant);
        mend(mutant, dir, baseline);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    for (const mutant of survivors) {
      for (let asks = 2, verdict = "SURVIVED"; asks <= asksMax && verdict === "SURVIVED"; asks++) {
        const dir = join(scratch, "copy-0");
        verdict = await judge(mutant, dir, broken, asks);
        mend(mutant, dir, baseline);
      }
    }
  }
  if (asked.length === 0) listUncovered(new Set(all.map(({ promise }) => promise)));
}

async function judge(mutant, dir, broken, asks = 1) {
  const begun = performance.now();
  const reason = broken.get(mutant.test);
  let { verdict, why } = reason === undefined ? await tryMutant(mutant, dir, asks) : { verdict: "broken", why: `${mutant.test} fails without it: ${reason}` };
  if (asks > 1 && verdict === "caught") why = `only when asked ${asks} times`;
  // Who survives is counted when it is asked no more.
  const last = verdict !== "SURVIVED" || asks === asksMax;
  if (last) counts[verdict]++;
  const line = `${verdict} ${mutant.name} (${((performance.now() - begun) / 1000).toFixed(1)} s)${why ? `: ${why.replaceAll("\n", "\n    ")}` : ""}`;
  console.log(line);
  if (last && why !== undefined) remarkable.push(line);
  return verdict;
}

/** For information: promises that some test names and no mutant tries. */
function listUncovered(covered) {
  const tests = treeFiles.filter((path) => path.startsWith("test/") && path.endsWith(".test.ts") && statSync(join(root, path)).isFile());
  const named = new Set(tests.flatMap((path) => readFileSync(join(root, path), "utf8").match(/\bB\d+\b/g) ?? []));
  const without = [...named].filter((promise) => !covered.has(promise)).sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
  if (without.length > 0) console.log(`promises with a test and without a mutant: ${without.join(", ")}`);
}

const scratch = mkdtempSync(join(tmpdir(), "sessiond-mutants-"));
const tidy = () => rmSync(scratch, { recursive: true, force: true });
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    tidy();
    process.exit(130);
  });
}
let failure = null;
try {
  await main(scratch);
} catch (error) {
  failure = error;
  console.error(error.message);
} finally {
  tidy();
}
if (remarkable.length > 0) console.log(`\n${remarkable.join("\n")}`);
const extra = counts.broken > 0 ? `, ${counts.broken} broken` : "";
console.log(`mutants: ${counts.caught} caught, ${counts.SURVIVED} survived, ${counts.stale} stale${extra}`);
process.exit(failure === null && counts.SURVIVED + counts.stale + counts.broken === 0 ? 0 : 1);
