// Asks the test files that failed once more, one at a time with nothing beside them, and says so: on a busy machine
// of two cores a suite of real processes can run out of its waits. What fails twice has failed.
//
//   node scripts/ask-again.mjs report.json     vitest's report, changed in place; ends with 0 when nothing failed twice
//
// More files than a busy machine explains are not asked again.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { runCommand } from "./run-command.mjs";

const root = resolve(import.meta.dirname, "..");
const filesMax = 5;
const timeoutMs = 900_000;

const path = process.argv[2];
const report = JSON.parse(readFileSync(path, "utf8"));
const failed = report.testResults.filter(({ status }) => status !== "passed");
if (failed.length === 0 || failed.length > filesMax) process.exit(1);

for (const file of failed) {
  const name = relative(root, file.name);
  const againPath = `${path}.again`;
  rmSync(againPath, { force: true });
  console.log(`\n== again, alone: ${name}`);
  const { output } = await runCommand(process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), "run", name], {
    cwd: root,
    env: { ...process.env, SESSIOND_TEST_REPORT: againPath },
    timeoutMs,
  });
  console.log(output);
  try {
    const again = JSON.parse(readFileSync(againPath, "utf8")).testResults.find((one) => one.name === file.name);
    if (again?.status === "passed") report.testResults[report.testResults.indexOf(file)] = again;
  } catch {
    // No report: it stays failed.
  }
}

const tests = report.testResults.flatMap(({ assertionResults }) => assertionResults);
report.numPassedTests = tests.filter(({ status }) => status === "passed").length;
report.numFailedTests = tests.filter(({ status }) => status === "failed").length;
writeFileSync(path, JSON.stringify(report));
const left = report.testResults.filter(({ status }) => status !== "passed");
const told = failed.map(({ name }) => relative(root, name)).join(", ");
console.log(`\nfailed beside the others: ${told}; alone ${left.length === 0 ? "all passed" : `${left.length} failed again`}`);
process.exit(left.length === 0 ? 0 : 1);
